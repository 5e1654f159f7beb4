"""What one client's requests, which no engine survives, cost all others."""
