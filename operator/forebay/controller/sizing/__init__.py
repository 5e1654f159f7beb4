"""How large each pool should be, and why: load, starts, capacity, the scaling rule, who gets scarce GPUs."""
