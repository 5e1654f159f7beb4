"""What a person asks of a running fleet: `status`, `top`, `explain`, and what they (and `cost`) read it with.

`cluster` reads the API server; `fleet`, `journeys` and `summary` make values of what it says; `advice` and `story` are
pure.
"""
