"""Ways to choose a replica: forebay's rule, and what it is measured against. All of them see the same free slots."""

import random
from dataclasses import dataclass
from typing import Protocol

from bench.affinity.trace import Request
from forebay.rules.affinity import Choice, Sessions


@dataclass(slots=True)
class View:
    """What a gateway knows of the replicas: names, and by name free slots and prompt tokens that wait."""

    serving_names: tuple[str, ...]
    free: dict[str, int]
    ahead: dict[str, int]


class Placement(Protocol):
    """One gateway's way to choose."""

    queues: bool
    """Whether requests for which no slot is free wait at the gateway for any replica, or for one replica only."""

    def choose(self, request: Request, view: View, now: float, patient: bool) -> Choice:
        """A replica, or one to wait for."""

    def home(self, request: Request, view: View, now: float) -> str:
        """In a queue: the replica whose slots it would rather have, if any."""

    def served(self, request: Request, replica: str, now: float) -> None:
        """It was served there."""


class Forebay:
    """The rules of this repository."""

    queues = True

    def __init__(self, _: random.Random) -> None:
        self.sessions = Sessions()

    def choose(self, request: Request, view: View, now: float, patient: bool) -> Choice:
        free, ahead = view.free.__getitem__, view.ahead.__getitem__
        return self.sessions.choose(request.session, request.prompt, view.serving_names, free, ahead, now, patient)

    def home(self, request: Request, view: View, now: float) -> str:
        return self.sessions.homes(request.session, view.serving_names, now)[0]

    def served(self, request: Request, replica: str, now: float) -> None:
        self.sessions.serve(request.session, replica, request.prompt, now)


class Random:
    """Any replica that has a slot."""

    queues = True

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def choose(self, request: Request, view: View, now: float, patient: bool) -> Choice:
        able = [name for name in view.serving_names if view.free[name] > 0]
        return Choice(self.rng.choice(able)) if able else Choice()

    def home(self, request: Request, view: View, now: float) -> str:
        return ""

    def served(self, request: Request, replica: str, now: float) -> None:
        """Nothing is remembered."""


class LeastLoaded(Random):
    """The replica with most free slots."""

    def choose(self, request: Request, view: View, now: float, patient: bool) -> Choice:
        able = [name for name in view.serving_names if view.free[name] > 0]
        return Choice(max(able, key=lambda name: (view.free[name], self.rng.random()))) if able else Choice()


class ClientIP(Random):
    """A Service with session affinity: an address keeps the replica that it got by chance, and nobody else serves it.

    `addresses` None: every session comes from its own.
    """

    queues = False

    def __init__(self, rng: random.Random, addresses: int | None) -> None:
        super().__init__(rng)
        self.addresses = addresses
        self.kept: dict[int, str] = {}

    def choose(self, request: Request, view: View, now: float, patient: bool) -> Choice:
        address = request.session if self.addresses is None else request.session % self.addresses
        kept = self.kept.get(address)
        if kept is None:
            kept = self.kept[address] = self.rng.choice(view.serving_names)
        return Choice(kept) if view.free[kept] > 0 else Choice(home=kept, wait_seconds=float("inf"))


class LeastWaiting(Random):
    """The replica with fewest prompt tokens that wait for their first token: forebay's count without its memory."""

    def choose(self, request: Request, view: View, now: float, patient: bool) -> Choice:
        able = [name for name in view.serving_names if view.free[name] > 0]
        return Choice(min(able, key=lambda name: (view.ahead[name], self.rng.random()))) if able else Choice()
