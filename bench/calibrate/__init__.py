"""How near the simulated engine comes to real ones: recorded vLLM runs played through it, and its defaults fitted."""
