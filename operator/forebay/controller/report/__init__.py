"""What people are told: conditions, Events, statuses, metrics, the summary."""
