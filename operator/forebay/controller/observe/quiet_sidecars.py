"""Whose report can be taken as read. Pure.

Gateways hear of every slot of their replicas all the time, and say so in their own reports. As long as all of them say
of a pool what its sidecars said last, nothing runs or waits there, and its engines have their adapters, the sidecars
have nothing to add: they are asked again only after QUIET_SECONDS. So a pool at rest costs two requests a period,
however many replicas it has.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from forebay.controller.observe.memory import LastReport
from forebay.resources.report import GatewayReport, PoolDemand, ReplicaState, SidecarReport

QUIET_SECONDS: Final = 900.0  # the longest that a sidecar at rest goes unasked


def sidecars_are_quiet(
    pool: str,
    pods: Iterable[str],
    gateways: Iterable[GatewayReport | None],
    heard: Mapping[str, LastReport],
    now: float,
) -> bool:
    """Whether the gateways' reports of now speak for these sidecars too. `heard`: what was known before.

    `gateways` holds None for one that did not answer: then nobody speaks for anybody.
    """
    said = list(gateways)
    known = [heard.get(pod) for pod in pods]
    if not said or not all(item is not None and now - item.came < QUIET_SECONDS for item in known):
        return False
    reports = [item.report for item in known if item is not None]
    sidecars = [report for report in reports if isinstance(report, SidecarReport) and _idle(report)]
    if len(sidecars) < len(reports):
        return False
    slots = sum(report.slots for report in sidecars)
    return all(report is not None and _agrees(report, pool, len(sidecars), slots, heard) for report in said)


def _idle(report: SidecarReport) -> bool:
    settled = all(adapter.loaded for adapter in report.adapters)
    return report.state is ReplicaState.SERVING and report.running == 0 and settled


def _agrees(report: GatewayReport, pool: str, serving: int, slots: int, heard: Mapping[str, LastReport]) -> bool:
    mine, before = _of(pool, report), heard.get(report.replica)
    if mine is None or before is None or not isinstance(before.report, GatewayReport):
        return False
    moving = mine.running or mine.queued or mine.overflow_running
    return not moving and (mine.serving, mine.slots) == (serving, slots) and mine == _of(pool, before.report)


def _of(pool: str, report: GatewayReport) -> PoolDemand | None:
    return next((item for item in report.pools if item.pool == pool), None)
