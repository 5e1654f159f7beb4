"""Closed lists that a user may write in the custom resources, but for types of engines (see engines). Free of pydantic,
so that routers stay small."""

from forebay.word_enum import WordEnum


class Task(WordEnum):
    """What API a model speaks. Pools of different tasks never stand in for each other."""

    GENERATE = "Generate"
    EMBED = "Embed"
    SCORE = "Score"
    TRANSCRIBE = "Transcribe"


class Api(WordEnum):
    """A dialect that a provider's model speaks."""

    CHAT_COMPLETIONS = "ChatCompletions"
    COMPLETIONS = "Completions"
    RESPONSES = "Responses"
    EMBEDDINGS = "Embeddings"
    MESSAGES = "Messages"
    RERANK = "Rerank"


USUAL_APIS = (Api.CHAT_COMPLETIONS, Api.COMPLETIONS, Api.EMBEDDINGS, Api.RESPONSES)
"""What a model is taken to speak whose entry does not say: OpenAI's API, as far as its task goes."""


class Modality(WordEnum):
    """What kind of input a model takes."""

    TEXT = "Text"
    IMAGE = "Image"
    AUDIO = "Audio"


class ScalingMode(WordEnum):
    """Who decides the number of replicas."""

    AUTOMATIC = "Automatic"
    ADVISORY = "Advisory"
    MANUAL = "Manual"


class Permission(WordEnum):
    """Allowed or Denied."""

    ALLOWED = "Allowed"
    DENIED = "Denied"


class CloudUse(WordEnum):
    """Whether requests may leave the cluster."""

    ALLOWED = "Allowed"
    NEVER = "Never"


class TaskSource(WordEnum):
    """Where the classifier looks for what a request asks for."""

    ANYWHERE = "Anywhere"
    USER = "User"


class RetentionPolicy(WordEnum):
    """What becomes of claims that no replica uses, in the words of a StatefulSet."""

    RETAIN = "Retain"
    DELETE = "Delete"


class AdoptRouter(WordEnum):
    """When replicas take over a newer router."""

    ON_NEXT_CHANGE = "OnNextChange"
    ALWAYS = "Always"


class WakeAfter(WordEnum):
    """What wakes a pool that has scaled to zero."""

    FIRST_REQUEST = "FirstRequest"
    SUSTAINED = "Sustained"
    BREAK_EVEN = "BreakEven"


class Transport(WordEnum):
    """How a provider is reached."""

    HTTPS = "HTTPS"
    HTTP = "HTTP"


class OnDisconnect(WordEnum):
    """What a provider does with a stream whose connection is closed."""

    STOPS = "Stops"
    CONTINUES = "Continues"


class BudgetPeriod(WordEnum):
    """What a budget is for: a calendar day, week or month."""

    DAY = "Day"
    WEEK = "Week"
    MONTH = "Month"


class Enforcement(WordEnum):
    """What becomes of a request that may cost more than is left of a budget."""

    ENFORCED = "Enforced"
    ADVISORY = "Advisory"


class Weekday(WordEnum):
    """The day that a week begins with."""

    MONDAY = "Monday"
    TUESDAY = "Tuesday"
    WEDNESDAY = "Wednesday"
    THURSDAY = "Thursday"
    FRIDAY = "Friday"
    SATURDAY = "Saturday"
    SUNDAY = "Sunday"


class Tier(WordEnum):
    """Which ordered list of provider models (`tiers.py` knows its fields)."""

    PRIMARY = "Primary"
    SECONDARY = "Secondary"


class OverflowTo(WordEnum):
    """Where a request goes when local is full."""

    PRIMARY = "Primary"
    SECONDARY = "Secondary"
    QUEUE = "Queue"

    @property
    def tier(self) -> Tier | None:
        """The tier of the same name; None where requests wait."""
        return None if self is OverflowTo.QUEUE else Tier(self.value)


class FullWhen(WordEnum):
    """What counts as full for requests that go to the secondary."""

    ALL_POOLS_FULL = "AllPoolsFull"
    CAPABLE_POOLS_FULL = "CapablePoolsFull"


class GapAction(WordEnum):
    """What happens to a request that no local pool can serve at all."""

    CLOUD = "Cloud"
    QUEUE = "Queue"
    REJECT = "Reject"


class MaxTokensField(WordEnum):
    """Name of the token limit in a provider's API."""

    MAX_TOKENS = "max_tokens"
    MAX_COMPLETION_TOKENS = "max_completion_tokens"
