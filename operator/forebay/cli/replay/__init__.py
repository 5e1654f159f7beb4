"""`kubectl forebay replay`: what a pool would have done with a trace."""
