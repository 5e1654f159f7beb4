"""A budget under kill and partition schedules, beside other ways to keep one. Simulated time, exact for a seed."""
