"""The LoRA adapters of one engine, kept as the routing table wants them: loaded and unloaded while it serves.

One at a time. The engine's own list says what it has, so that nothing is remembered that a restart would make wrong.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from msgspec import UNSET, DecodeError, Struct
from msgspec.json import Decoder
from msgspec.json import encode as json_encode

from forebay.resources.report import AdapterReport
from forebay.resources.table import AdapterEntry
from forebay.router import metrics
from forebay.router.engine_monitor import EngineMonitor
from forebay.router.ids_in_flight import IdsInFlight
from forebay.rules.adapters import AdapterView, Departure, RefusedAdapter, Step, next_step, refused
from forebay.rules.admission import Admission

LOAD_SECONDS: Final = 600.0
"""An adapter may have to be downloaded first."""
UNLOAD_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.5
PAUSE_SECONDS: Final = 0.2
"""Until the engine has read what it was sent before a name goes and comes back."""
WORDS_LENGTH: Final = 500


class EngineAdapters:
    """Keeps one engine's adapters. Their requests go nowhere else: see `names`."""

    def __init__(
        self, engine: EngineMonitor, running: IdsInFlight, admission: Admission, on_change: Callable[[], None]
    ) -> None:
        self.engine = engine
        self.running = running
        self.admission = admission
        self.on_change = on_change
        self.names: tuple[str, ...] = ()
        """The names that requests may be sent for: those that the engine lists, less adapters that are to go, and one
        that is being replaced, whose requests wait."""
        self._refused: dict[AdapterEntry, RefusedAdapter] = {}
        self._departures: dict[str, Departure] = {}
        self._shown: dict[str, tuple[str, str]] = {}  # by name: the source that it was loaded from, and as it is listed
        self._replaced: tuple[str, ...] = ()  # gone for the moment, while another source is loaded
        self._changed = asyncio.Event()

    @property
    def view(self) -> AdapterView | None:
        """What is wanted and what is there; None where they are not ours to change."""
        entry = self.engine.entry
        if entry is None or entry.adapters is UNSET:
            return None
        loaded = {name: self._source(name, shown) for name, shown in self.engine.listed.adapters}
        return AdapterView(entry.adapters, loaded, self._refused)

    def _source(self, name: str, shown: str) -> str:
        """Where an adapter that the engine lists came from: an engine may write that in another way."""
        source, as_listed = self._shown.get(name, (shown, shown))
        return source if shown == as_listed else shown

    @property
    def tried(self) -> bool:
        """Whether each that is wanted is loaded, or was refused: nobody need wait for one."""
        return (view := self.view) is None or view.tried

    def look(self) -> None:
        """Something has changed: compare again."""
        leaving = frozenset() if (view := self.view) is None else view.leaving
        listed = dict.fromkeys((*self.engine.names, *self._replaced))
        self.names = tuple(name for name in listed if name not in leaving)
        self._changed.set()

    async def keep(self) -> None:
        """Load and unload for ever."""
        while True:
            self._changed.clear()
            before = self.tried
            busy = await self._look()
            if before is not self.tried:
                self.on_change()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS if busy else None):
                    await self._changed.wait()

    def report(self) -> tuple[AdapterReport, ...]:
        """Each adapter that is wanted, for the operator."""
        view = self.view
        if view is None:
            return ()
        missing = frozenset(view.missing)
        return tuple(
            AdapterReport(
                name=adapter.name,
                source=adapter.source,
                loaded=adapter not in missing,
                problem=self._refused[adapter].words if adapter in self._refused else "",
            )
            for adapter in view.wanted
        )

    async def _look(self) -> bool:
        """Do what there is to do. Whether there may be more without anybody saying so."""
        if not self.engine.up:  # the next one that answers may be another
            self._refused.clear()
            self._departures.clear()
            self._shown.clear()
            return False
        while (view := self.view) is not None:
            missing = frozenset(view.missing)
            for adapter in [known for known in self._refused if known not in missing]:
                del self._refused[adapter]
            now = asyncio.get_running_loop().time()
            step = next_step(view, self._over(view.leaving, now), now)
            if step is None or not await self._take(step):
                return bool(missing or self._departures)
        return False

    def _over(self, leaving: frozenset[str], now: float) -> list[str]:
        """Names that nothing uses any more."""
        before, open_ids = self._departures, self.running.open
        self._departures = {name: before.get(name, Departure(now)).look(open_ids, now) for name in leaving}
        longest = self.engine.entry.drain_seconds if self.engine.entry is not None else 0
        return [name for name, departure in self._departures.items() if departure.over(now, longest)]

    async def _take(self, step: Step) -> bool:
        """Take a step. False where the engine is not to be asked anything else for now."""
        replaces = bool(step.unload) and step.load is not None
        try:
            if replaces:  # for want of a slot requests wait; for want of a name they would be refused
                self._replaced = (step.unload,)
                self.look()
                self.admission.pause(True)
                await asyncio.sleep(PAUSE_SECONDS)
            if step.unload and not await self._unload(step):
                return False
            if step.load is not None:
                await self._load(step.load)
            else:
                await self.engine.probe()
        finally:
            self._replaced = ()
            self.look()
            self.admission.pause(False)
        self.on_change()
        return self.engine.up

    async def _load(self, adapter: AdapterEntry) -> None:
        body = json_encode({"lora_name": adapter.name, "lora_path": adapter.source})
        words = await self._tell("Load", self.engine.dialect.adapter_routes.load, body, LOAD_SECONDS)
        await self.engine.probe()
        shown = dict(self.engine.listed.adapters).get(adapter.name)
        if words or shown is None:
            self._refuse(adapter, words or "the engine took it and does not list it")
        else:
            self._shown[adapter.name] = adapter.source, shown

    async def _unload(self, step: Step) -> bool:
        body = json_encode({"lora_name": step.unload})
        words = await self._tell("Unload", self.engine.dialect.adapter_routes.unload, body, UNLOAD_SECONDS)
        if words and step.load is not None:
            self._refuse(step.load, words)
        elif words:  # it is routed no more, and does no harm where it is: after another drain it is tried again
            self._departures[step.unload] = Departure(asyncio.get_running_loop().time() + self._patience())
        return not words

    def _patience(self) -> float:
        return float(self.engine.entry.drain_seconds) if self.engine.entry is not None else 0.0

    def _refuse(self, adapter: AdapterEntry, words: str) -> None:
        now = asyncio.get_running_loop().time()
        self._refused[adapter] = refused(self._refused.get(adapter), words, now)

    async def _tell(self, change: str, path: str, body: bytes, seconds: float) -> str:
        """The engine's refusal, in its words; empty for none."""
        status, answer = await self.engine.tell(path, body, seconds)
        words = "" if status == 200 else refusal(path, status, answer)
        metrics.ADAPTER_CHANGES.labels(change, "Refused" if words else "Done").inc()
        return words


class _Error(Struct):
    message: str = ""


class _Refusal(Struct):
    error: _Error | None = None
    detail: Any = None


_decode = Decoder(_Refusal).decode


def refusal(path: str, status: int, answer: bytes) -> str:
    """What an engine says that does not load or unload an adapter."""
    if not status:
        return f"no answer to {path}"
    try:
        said = _decode(answer)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        said = _Refusal()
    if status == 404 and said.error is None:
        return f"the engine has no {path}: it was started without leave to load adapters as it runs"
    words = " ".join(said.error.message.split()) if said.error is not None else ""
    return (words or f"{path} was answered {status}")[:WORDS_LENGTH]
