"""The operator's summary, read through the API server's proxy."""

import msgspec

from forebay.cli.problem import Problem
from forebay.cli.running.cluster import ApiServerRefused, ClusterReader
from forebay.cli.running.cluster_options import SYSTEM_NAMESPACE
from forebay.resources.summary import PATH, SERVICE, FleetSummary, Summary, decode


def read(cluster: ClusterReader, system_namespace: str = SYSTEM_NAMESPACE) -> Summary:
    """What the operator knows now. Raises Refused when it cannot be reached or may not be read."""
    raw = cluster.through_service(system_namespace, SERVICE, PATH.lstrip("/"))
    try:
        found: Summary = decode(raw)
    except msgspec.MsgspecError as error:
        raise Problem(f"the operator's summary is not understood ({error}): give this program its version") from None
    return found


def of(summary: Summary, namespace: str) -> tuple[FleetSummary, ...]:
    """The fleets of one namespace, or of all."""
    return tuple(fleet for fleet in summary.fleets if namespace in ("", fleet.namespace))


def why_not(refused: ApiServerRefused, system_namespace: str) -> str:
    """Why there is no summary, and what to do, as one sentence."""
    if refused.code == 403:
        return f"you may not read the operator's figures: ask for the Role {SERVICE} in namespace {system_namespace}"
    if refused.code in (404, 503):
        return (
            f"no operator answers in namespace {system_namespace}: is it installed and ready, and elsewhere "
            "(--system-namespace)?"
        )
    return str(refused)
