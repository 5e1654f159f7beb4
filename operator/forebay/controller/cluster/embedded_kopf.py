"""One `kopf.operator` for one scope, in a loop that is not kopf's alone.

`kopf.operator` is `spawn_tasks` and `run_tasks`, and takes the loop and the process for its own: when it ends it
cancels every task that began after it, it answers signals, and it has the process killed that does not end with it.
Here it ends by itself, leaves none of its tasks behind, and touches nobody else's.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Generator, Iterator
from contextvars import ContextVar
from typing import Any, Final, cast

import kopf

Tasks = set[asyncio.Task[Any]]
Work = Coroutine[Any, Any, Any] | Generator[Any, None, Any]

BACKOFFS: Final = (0.5, 1, 2)
"""Seconds between tries of a request: an API server that is back is not kept waiting, and a right that is gone ends
kopf within seconds, which is how that is told."""


async def run_kopf(
    registry: kopf.OperatorRegistry, namespace: str, stop: asyncio.Event, take_signals: Callable[[], None]
) -> None:
    """Run until `stop` is set, or raise what kopf ends with. An empty namespace is the whole cluster.

    `take_signals` is called once kopf has taken the process's signals.
    """
    asyncio.get_running_loop().set_task_factory(_noted)
    mine: Tasks = set()
    token = _MINE.set(mine)
    roots: Collection[asyncio.Task[Any]] = ()

    @kopf.on.cleanup(registry=registry, id="cleanup")
    async def _(**_: Any) -> None:
        """A watch that outlives the one that failed would open another session once this one is closed."""
        await _cancel(mine.difference(roots, [asyncio.current_task()]))

    try:
        roots = await kopf.spawn_tasks(
            registry=registry,
            settings=watch_settings(),
            standalone=True,
            clusterwide=not namespace,
            namespaces=(namespace,) if namespace else (),
            stop_flag=stop,
        )
        take_signals()
        await kopf.run_tasks(roots, ignored=_Everything())
    finally:
        _MINE.reset(token)
        await _cancel(mine)


async def _cancel(tasks: Tasks) -> None:
    left = tuple(tasks)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def new_registry() -> kopf.OperatorRegistry:
    """A registry that knows how to log in."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry, id="login")(_login)
    return registry


def watch_settings() -> kopf.OperatorSettings:
    """Kopf as a watcher: no Events, no peering, no annotations, and time limits on everything."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.process.ultimate_exiting_timeout = None  # the process does not end with one of its scopes
    settings.watching.server_timeout = 240
    settings.watching.client_timeout = 300
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = 75  # bookmarks come every minute: a watch without any is dead
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.networking.error_backoffs = BACKOFFS
    settings.queueing.exit_timeout = 1
    # A worker does nothing but put one object into the cache: at the start a thousand of them need not wait side by
    # side, each for five seconds, whether another event comes.
    settings.queueing.worker_limit = 64
    settings.queueing.idle_timeout = 0.05
    return settings


async def _login(**kwargs: Any) -> Any:  # a plain function would have a thread in each scope
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


class _Everything(Collection[asyncio.Task[Any]]):
    """The tasks that kopf leaves alone at its end."""

    def __contains__(self, _: object) -> bool:
        return True

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        return iter(())

    def __len__(self) -> int:
        return 0


_MINE: ContextVar[Tasks | None] = ContextVar("_MINE", default=None)
"""Unfinished tasks of the kopf that this code runs in."""


def _noted(loop: asyncio.AbstractEventLoop, work: Work, **more: Any) -> asyncio.Task[Any]:
    """A task; noted where kopf, or a task of kopf, makes it."""
    task = asyncio.Task(cast("Coroutine[Any, Any, Any]", work), loop=loop, **more)
    if (mine := _MINE.get()) is not None:
        mine.add(task)

        def done(task: asyncio.Task[Any]) -> None:
            mine.discard(task)
            if not task.cancelled():
                task.exception()  # what one of several watches ended with is told once

        task.add_done_callback(done)
    return task
