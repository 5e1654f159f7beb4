"""Ways to keep a budget, behind one face: may this request leave, and it is over. Money is in dollars.

Ours is the real thing (testing/budget_town.py). The others are what peers do, each at its best: no other fault than the
one that its design has.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.budget.schedule import AWAY_SECONDS, Ask, Schedule, Trouble
from forebay.rules.budget.picodollars import DOLLAR
from testing.budget_town import Door, Town, policy_of


class Way(Protocol):
    """One fleet with one way. `running` are its gateways; requests go to one of them."""

    def run(self, until: float) -> None:
        """Let time pass."""

    def begin(self, ask: Ask) -> object | None:
        """Send a request, or None: refused."""

    def end(self, sent: object, ask: Ask) -> None:
        """It is over."""

    def trouble(self, kind: Trouble, where: float) -> None:
        """Something happens."""


@dataclass
class Forebay:
    """Leases, reservations, journals."""

    schedule: Schedule
    folder: Path
    town: Town = field(init=False)
    _away: float = 0.0
    _cut_off: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.town = Town(policy_of(amount=f"{self.schedule.amount:.2f}", period="Day"), self.folder)
        self.town.add(self.schedule.gateways)
        self.town.run(8)
        self.began = self.town.now

    def run(self, until: float) -> None:
        while self.town.now - self.began < until - 0.01:
            self.town.operator = self.town.now >= self._away
            for door in self.town.doors:
                door.heard = self.town.now >= self._cut_off.get(door.name, 0.0)
            self.town.run(0.2)

    def _doors(self) -> list[Door]:
        return [door for door in self.town.doors if door.running]

    def begin(self, ask: Ask) -> object | None:
        doors = self._doors()
        if not doors:
            return None
        door = doors[int(ask.where * len(doors))]
        number = self.town.send(door, int(ask.worst * DOLLAR), int(ask.cost * DOLLAR), request=str(ask.at))
        return (door, number, door.budgets) if number else None

    def end(self, sent: object, ask: Ask) -> None:
        door, number, budgets = sent  # type: ignore[misc]
        if door.budgets is budgets and number in door.open:
            self.town.settle(door, number)

    def trouble(self, kind: Trouble, where: float) -> None:
        doors = [door for door in self._doors() if door.there]
        door = doors[int(where * len(doors))] if doors else None
        back = self.town.now + AWAY_SECONDS.get(kind, 0.0)
        if kind is Trouble.OPERATOR:
            self._away = max(self._away, back)
        elif kind is Trouble.FORGET:
            self.town.memory = type(self.town.memory)()
        elif door is None:
            return
        elif kind is Trouble.KILL:
            self.town.kill(door)
        elif kind is Trouble.CUT_OFF:
            self._cut_off[door.name] = back
        else:
            if kind is Trouble.DRAIN:
                self.town.drain(door)
            else:
                self.town.lose(door, lives_on=kind is Trouble.GHOST)
            self.town.add()


@dataclass
class SharedCounter:
    """One counter that every gateway reads before and charges after: nothing of what is under way is in it."""

    schedule: Schedule
    spent: float = 0.0

    def run(self, until: float) -> None:
        """Nothing happens by itself."""

    def begin(self, ask: Ask) -> object | None:
        return ask if self.spent < self.schedule.amount else None

    def end(self, sent: object, ask: Ask) -> None:
        self.spent += ask.cost

    def trouble(self, kind: Trouble, where: float) -> None:
        """The counter outlives everything, and what is under way is charged all the same: it is played at its best."""


@dataclass
class Parts:
    """A part of the amount for each gateway, in its memory, charged after. `share` 1: each has the whole cap."""

    schedule: Schedule
    share: float
    spent: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.spent = [0.0] * self.schedule.gateways

    def run(self, until: float) -> None:
        """Nothing happens by itself."""

    def begin(self, ask: Ask) -> object | None:
        which = int(ask.where * len(self.spent))
        return [which] if self.spent[which] < self.schedule.amount * self.share else None

    def end(self, sent: object, ask: Ask) -> None:
        self.spent[sent[0]] += ask.cost  # type: ignore[index]

    def trouble(self, kind: Trouble, where: float) -> None:
        """Whoever begins anew has spent nothing."""
        if kind in ENDS:
            self.spent[int(where * len(self.spent))] = 0.0


ENDS = (Trouble.KILL, Trouble.LOSE, Trouble.GHOST, Trouble.DRAIN)
WAYS: dict[str, Callable[[Schedule, Path], Way]] = {
    "forebay": Forebay,
    "shared counter, charged at the end": lambda schedule, _: SharedCounter(schedule),
    "static split": lambda schedule, _: Parts(schedule, 1 / schedule.gateways),
    "cap in each gateway's memory": lambda schedule, _: Parts(schedule, 1.0),
}
