"""`kubectl forebay cost`: what a running fleet cost over a period, and what else it could have cost.

`period` is what was counted, from the operator (`counted`) or from Prometheus (`history`); `bill` is the arithmetic.
"""
