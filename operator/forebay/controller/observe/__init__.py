"""What there is: a fleet as a frozen value, and what is remembered of it between two passes."""
