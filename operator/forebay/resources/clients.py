"""The Secret `forebay-clients`: who may call, and the most that each may ask for."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from forebay.resources.reasons import Priority
from forebay.resources.terms import CloudUse

_RANK: Final = {Priority.LOW: 0, Priority.NORMAL: 1, Priority.HIGH: 2}


class Client(Struct, frozen=True, rename="camel"):
    """One client, as routers remember it: without its key."""

    name: Annotated[str, Meta(description="how logs, metrics and bills call it")]
    max_priority: Annotated[Priority, Meta(description="the highest priority that counts when it asks for one")] = (
        Priority.NORMAL
    )
    cloud: Annotated[CloudUse, Meta(description="`Never` keeps its requests local, whatever a policy allows")] = (
        CloudUse.ALLOWED
    )
    max_in_flight: Annotated[
        int | None, Meta(description="requests that one gateway serves for it at a time; no limit where absent")
    ] = None

    def priority(self, asked: Priority) -> Priority:
        """What was asked for, or the most that is allowed."""
        return asked if _RANK[asked] <= _RANK[self.max_priority] else self.max_priority


class ClientEntry(Client, frozen=True, rename="camel", kw_only=True):
    """One client as the Secret has it."""

    key: Annotated[str, Meta(description="what it sends as `Authorization: Bearer …`; without one the entry is void")]


class ClientsDocument(Struct):
    """The whole file, `{"clients": [...]}`."""

    clients: list[ClientEntry] = []
