"""Money as a budget counts it: whole picodollars."""

from decimal import ROUND_CEILING, Decimal
from typing import Final

DOLLAR: Final = 10**12


def picodollars(dollars: Decimal | str) -> int:
    """US dollars, never rounded down: what is below a picodollar counts as one."""
    return int((Decimal(dollars) * DOLLAR).to_integral_value(ROUND_CEILING))


def in_dollars(amount: int) -> Decimal:
    """As a decimal without needless zeros."""
    return Decimal(amount) / DOLLAR


def dollars_text(amount: int) -> str:
    """As status and messages say it: rounded up to a cent, but for less than a dollar."""
    value = in_dollars(amount)
    places = Decimal("0.01") if abs(value) >= 1 else Decimal("0.0001")
    return format(value.quantize(places, ROUND_CEILING), "f")
