"""What is said of pods that do not serve, one sentence a pod. Pure."""

from collections.abc import Iterable
from typing import Final

from forebay.controller.observe.pods import Pod

MOST: Final = 3
"""Pods that a message names; it counts the others."""


def troubles(pods: Iterable[Pod]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What keeps pods from starting; and of others, what is usual while they start or end."""
    waiting = [pod for pod in pods if not pod.ready]
    return _named(waiting, [pod.trouble for pod in waiting]), _named(waiting, [_usual(pod) for pod in waiting])


def _usual(pod: Pod) -> str:
    if pod.terminating:
        return f"is being deleted, and not gone yet from node {pod.node}" if pod.node else "is being deleted"
    return "" if pod.trouble else pod.probed


def _named(pods: list[Pod], words: list[str]) -> tuple[str, ...]:
    """A sentence for each pod that there is something to say of; what is said of several is said once."""
    said: dict[str, list[str]] = {}
    for pod, text in zip(pods, words, strict=True):
        if text:
            said.setdefault(text, []).append(pod.name)
    told = [f"{_list(which)}: {text}" for text, which in list(said.items())[:MOST]]
    return (*told, f"and {len(said) - MOST} more such sentences") if len(said) > MOST else tuple(told)


def _list(names: list[str]) -> str:
    return f"{', '.join(names[:MOST])} and {len(names) - MOST} more" if len(names) > MOST else ", ".join(names)
