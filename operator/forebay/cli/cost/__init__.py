"""`kubectl forebay cost`: what a running fleet cost over a period, and what else it could have cost.

`period` is what was counted, from the operator (`from_summary`) or from Prometheus (`from_prometheus`); `bill` is the
arithmetic.
"""
