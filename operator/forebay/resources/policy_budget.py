"""The budget of a `CloudFallbackPolicy`: what its requests may cost at providers in a day, a week or a month."""

from typing import Annotated, ClassVar

from pydantic import Field

from forebay.resources.fields import LIST_SET, Resource, Rule, says
from forebay.resources.terms import BudgetPeriod, Enforcement, Weekday

AMOUNT = r"^\d{1,6}(\.\d{1,9})?$"
ZONE = r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}$"


class BudgetPacing(Resource):
    """How a budget is spread over its period."""

    burst_percent: Annotated[int, Field(ge=0, le=100)] = 20
    """Part of the amount that may be spent at any time, in percent. The rest becomes available evenly over the period;
    what is not used stays available."""


class BudgetLease(Resource):
    """What one gateway is granted of a budget at a time."""

    seconds: Annotated[int, Field(ge=60, le=86_400)] = 1800
    """How long a gateway can go on at its present rate with what it was granted, without the operator, in seconds. What
    a gateway holds that is lost with its node counts as spent."""


class PolicyBudget(Resource):
    """The most that requests of a policy may cost at its providers in a period, at the prices of their models."""

    amount: Annotated[
        str,
        Field(
            max_length=20,
            pattern=AMOUNT,
            json_schema_extra=says(AMOUNT, 'write US dollars below a million as a decimal in quotes, such as "500"'),
        ),
    ]
    """US dollars for one period, as a decimal string. "0": nothing may be spent."""
    period: BudgetPeriod = BudgetPeriod.MONTH
    """Calendar day, week or month, after which the whole amount is available again."""
    time_zone: Annotated[
        str,
        Field(
            min_length=1,
            max_length=64,
            pattern=ZONE,
            json_schema_extra=says(ZONE, "name a time zone of the IANA data base, such as UTC or Europe/Berlin"),
        ),
    ] = "UTC"
    """IANA time zone in which days begin. Providers bill in UTC."""
    week_start: Weekday | None = None
    """First day of a week, with `period: Week`. Empty: Monday."""
    reserved_for_high_percent: Annotated[int, Field(ge=0, le=90)] = 0
    """Part of the amount that only High requests use, once the other part has no room for them, in percent."""
    enforcement: Enforcement = Enforcement.ENFORCED
    """Enforced: a request that may cost more than there is stays local. Advisory: costs are counted and told, and no
    request is refused."""
    pacing: BudgetPacing | None = None
    """Spreads the amount over the period, but for what is reserved for High. Empty: it may be spent at any time."""
    lease: BudgetLease = BudgetLease()
    """What one gateway is granted at a time."""
    alert_percents: Annotated[
        list[Annotated[int, Field(ge=1, le=100)]], Field(max_length=8, json_schema_extra=LIST_SET)
    ] = [50, 80, 100]
    """Parts of the amount whose spending is told by an Event, once in a period, in percent."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.weekStart) || self.?period.orValue('Month') == 'Week'",
            "weekStart says when a week begins: set period: Week, or remove weekStart",
        ),
    )


class BudgetForecast(Resource):
    """When the part of a budget that all requests use is spent, if days go on as the last ones went. Days are those of
    UTC, such as 2027-01-19; an empty one is not before the period's end."""

    likely: Annotated[str, Field(max_length=10)] = ""
    """Day on which it is about spent. Empty: it lasts until the period's end."""
    earliest: Annotated[str, Field(max_length=10)] = ""
    """Day by which it is spent in one case of ten."""
    latest: Annotated[str, Field(max_length=10)] = ""
    """Day after which it is spent in one case of ten."""
    days: int = 0
    """Whole days that this rests on, 28 at most."""


class BudgetStatus(Resource):
    """How a policy's budget stands in the period that runs. Money is in US dollars, as decimal strings."""

    period_start: str = ""
    """First instant of the period, in UTC."""
    period_end: str = ""
    """First instant of the next period, in UTC."""
    amount: str = "0"
    """What may be spent in the period."""
    spent: str = "0"
    """What requests have cost, as gateways have told."""
    in_flight: str = "0"
    """What requests that are at providers now may cost at most."""
    leased: str = "0"
    """What gateways were granted and have not spent."""
    lost: str = "0"
    """What gateways that are gone may have spent beyond what they told. It counts as spent."""
    left: str = "0"
    """What no gateway holds."""
    committed: str = "0"
    """What is spent, leased or lost, without the part that is reserved for High."""
    committed_high: str = "0"
    """The same of the part that is reserved for High."""
    forecast: BudgetForecast | None = None
    """When it will be spent. Empty: fewer than three whole days are known, it is spent, or pacing spreads it."""
    closed: str = "0"
    """What of `committed` gateways that are gone have spent, or may have."""
    closed_high: str = "0"
    """The same of the part that is reserved for High."""
