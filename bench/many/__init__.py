"""What a thousand pools cost the operator: a real API server, pods as objects, routers as one local server."""
