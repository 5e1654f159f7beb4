"""forebay: inference fleets, local-first."""

__version__ = "0.1.0"
