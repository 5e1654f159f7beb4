"""How long a slot stands idle while somebody waits, and in which order waiters are served across gateways."""
