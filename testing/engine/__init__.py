"""A real vLLM for tests: what is installed (locks), how (install), and the model that it serves (tiny_model)."""
