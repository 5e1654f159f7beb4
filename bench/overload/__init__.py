"""Ten times the load that the fleet can carry: what becomes of High, and what the others are told."""
