"""How the control token of a fleet is changed while it is in use. Pure.

Routers accept the tokens under both keys and send the one under `current`. So a change takes three writes, each of them
made once every router has the one before:

    staged    current old, previous new      everybody accepts the new one, and still sends the old one
    swapped   current new, previous old      everybody sends the new one
    done      current new                    the old one is worth nothing

The Secret says itself how far it is. It is asked for by an annotation; a router that does not say which tokens it has
(it runs an older version) is given PATIENCE_SECONDS, in which any kubelet has brought a Secret's change.
"""

import base64
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.observe.memory import LastReport
from forebay.controller.observe.observe import ObservedFleet
from forebay.resources import names
from forebay.resources.report import token_digest

PATIENCE_SECONDS: Final = 600.0
_STAGED: Final = "staged"
_SWAPPED: Final = "swapped"


@dataclass(frozen=True, slots=True)
class RotationStep:
    """One write of the Secret, against the version that it was decided on."""

    patch: Object
    words: str
    mark: str  # for the routers' pods: makes the kubelets bring it now


def next_step(fleet: ObservedFleet, fresh: str = "") -> RotationStep | None:
    """What is to be written now; None while there is nothing to do or somebody to wait for.

    `fresh`: the token to begin with, for tests; a random one otherwise.
    """
    if fleet.token is None:
        return None
    notes, data = fleet.token["metadata"].get("annotations") or {}, fleet.token.get("data") or {}
    stage, _, since = notes.get(names.ANNOTATION_ROTATION, "").partition(" ")
    current, other = data.get(names.TOKEN_CURRENT_KEY, ""), data.get(names.TOKEN_PREVIOUS_KEY, "")
    asked = notes.get(names.ANNOTATION_ROTATE, "")
    step = None
    if stage == _STAGED and other:
        if _all_have(fleet, other, since, first=False):
            step = _step(fleet, _SWAPPED, _keys(other, current), "every router accepts the new token")
    elif stage == _SWAPPED:
        if _all_have(fleet, current, since, first=True):
            step = _step(fleet, "", _keys(current, None), "every router sends the new token; the old one is void")
    elif asked and asked != notes.get(names.ANNOTATION_ROTATED):
        new = base64.b64encode((fresh or secrets.token_urlsafe(32)).encode()).decode()
        step = _step(fleet, _STAGED, _keys(current, new), f"asked for by {names.ANNOTATION_ROTATE}", asked)
    return step


def _keys(current: str, other: str | None) -> dict[str, str | None]:
    return {names.TOKEN_CURRENT_KEY: current, names.TOKEN_PREVIOUS_KEY: other}


def _step(
    fleet: ObservedFleet, stage: str, data: Mapping[str, str | None], words: str, asked: str = ""
) -> RotationStep:
    assert fleet.token is not None
    annotations: dict[str, Any] = {names.ANNOTATION_ROTATION: f"{stage} {fleet.now:.0f}" if stage else None}
    if asked:
        annotations[names.ANNOTATION_ROTATED] = asked
    metadata = {"resourceVersion": fleet.token["metadata"].get("resourceVersion"), "annotations": annotations}
    return RotationStep({"metadata": metadata, "data": dict(data)}, words, f"token-{stage or 'done'}-{fleet.now:.0f}")


def _all_have(fleet: ObservedFleet, encoded: str, since: str, *, first: bool) -> bool:
    """Whether every router that lives has this token; with `first`, whether it is the one that it sends."""
    waited = fleet.now - (float(since) if since.isdecimal() else 0.0)
    digest = token_digest(base64.b64decode(encoded).strip())
    pods = [pod for pod in (*fleet.gateways, *(pod for pool in fleet.pools for pod in pool.pods)) if pod.address]
    return waited >= PATIENCE_SECONDS or all(_has(fleet.heard.get(pod.name), digest, first) for pod in pods)


def _has(heard: LastReport | None, digest: str, first: bool) -> bool:
    if heard is None:
        return False
    tokens: Iterable[str] = heard.report.tokens[:1] if first else heard.report.tokens
    return digest in tokens
