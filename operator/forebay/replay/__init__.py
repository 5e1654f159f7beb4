"""What would have happened: a trace through the very rules of router and operator, over simulated engines."""
