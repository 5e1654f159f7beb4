"""A vLLM and a cloud provider that need no GPU: the same protocol, metrics and behaviour under load."""
