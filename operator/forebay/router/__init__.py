"""What carries requests: gateway and sidecar, one program."""
