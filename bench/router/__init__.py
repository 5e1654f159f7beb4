"""What a router costs: forebay's beside Envoy, vllm-router, sglang-router and LiteLLM, in one run."""
