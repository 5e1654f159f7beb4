"""How many examples a property is tried with: a multiple of what the loaded profile says (tests/conftest.py)."""

from hypothesis import settings


def examples(times: float, **more: int) -> settings:
    """So many times the profile's number of examples; `more` as in hypothesis.settings."""
    return settings(max_examples=max(1, round(times * settings().max_examples)), **more)  # type: ignore[arg-type]
