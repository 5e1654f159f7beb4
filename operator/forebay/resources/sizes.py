"""Bounds on bytes that routers keep to and that the operator plans for."""

from typing import Final

BODIES_HELD: Final = 256 * 1024 * 1024
"""Bytes of request bodies that one router holds at a time."""
