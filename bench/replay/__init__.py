"""How far a replay can be believed: against the real router, and against the simulator's own engine."""
