"""What one namespace's trouble costs the others."""
