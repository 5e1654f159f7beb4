"""What a person asks of a running fleet: `status`, `top`, `explain`, and what they (and `cost`) read it with.

`cluster` reads the API server; `fleet_objects`, `request_trace` and `summary_reader` make values of what it says;
`advice` and `timeline` are pure.
"""
