"""Objects as an API server has them, for the commands that look at a fleet."""

from typing import Any

from forebay.resources import names
from forebay.resources.reasons import ConditionType

TIME = "2027-01-15T07:20:00Z"


def condition(kind: str, status: str, reason: str, message: str = "the figures") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": TIME}


def conditions(*changed: dict[str, Any]) -> list[dict[str, Any]]:
    """All conditions, each as it should be but for the changed ones."""
    fine = {
        ConditionType.READY: "ReplicasReady", ConditionType.ROUTING_PROGRAMMED: "RoutersAcknowledged",
        ConditionType.GATEWAYS_READY: "GatewaysServe", ConditionType.REPLICAS_CREATED: "Created",
        ConditionType.GPUS_AVAILABLE: "Scheduled", ConditionType.METRICS_FRESH: "Reported",
        ConditionType.ROUTER_OUTDATED: "UpToDate", ConditionType.POD_TEMPLATE_ACCEPTED: "Merged",
        ConditionType.ENGINE_UNSUPPORTED: "SupportedVersion", ConditionType.ADAPTERS_LOADED: "Loaded",
    }  # fmt: skip
    status = {ConditionType.ROUTER_OUTDATED: "False", ConditionType.ENGINE_UNSUPPORTED: "False"}
    known = {kind.value: condition(kind.value, status.get(kind, "True"), reason) for kind, reason in fine.items()}
    return list((known | {item["type"]: item for item in changed}).values())


def pool(name: str = "chat", namespace: str = "team", **status: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "replicas": 2, "readyReplicas": 2, "slots": 16, "running": 9, "queued": 3, "load": "9/16",
        "scaling": {
            "demand": "14.0", "capacity": 7, "desiredReplicas": 2, "reason": "WithinCapacity",
            "decisions": [decision(1, 2, "DemandAboveCapacity", "2027-01-15T07:10:03Z")],
        },
        "overflow": {"state": "None", "running": 0, "total": 0},
        "conditions": conditions(),
    }  # fmt: skip
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"model": {"name": "m"}, "scaling": {"minReplicas": 1, "maxReplicas": 3}},
        "status": {**usual, **status},
    }


def policy(name: str = "default", namespace: str = "team", **status: Any) -> dict[str, Any]:
    target = {"provider": "acme", "model": "large"}
    provider = {"name": "acme", "baseURL": "https://acme.example/v1", "models": [{"name": "large"}]}
    usual = {"pools": 1, "conditions": conditions(condition("Ready", "True", "Accepted"))}
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"providers": [provider], "primary": [target], "secondary": [target]},
        "status": {**usual, **status},
    }


def paying(
    name: str = "default", namespace: str = "team", word: str = "WithinBudget", spec: Any = None, **budget: Any
) -> dict[str, Any]:
    """A policy with a budget: its condition's reason, more of `spec.budget`, and of `status.budget`."""
    made = policy(name, namespace)
    made["spec"]["providers"][0]["models"][0] |= {"inputPrice": "4", "outputPrice": "20"}
    made["spec"]["budget"] = {"amount": "500", **(spec or {})}
    made["status"]["budget"] = {
        "periodStart": "2027-01-01T00:00:00Z", "periodEnd": "2027-02-01T00:00:00Z", "amount": "500", "spent": "412.101",
        "inFlight": "1.5", "leased": "8", "lost": "0", "left": "79.899", "committed": "420.101", "committedHigh": "0",
        **budget,
    }  # fmt: skip
    status = "True" if word in ("WithinBudget", "NearLimit") else "False"
    made["status"]["conditions"].append(
        condition("BudgetAvailable", status, word, "$412.11 of $500 are spent, until 2027-02-01T00:00:00Z")
    )
    return made


def decision(before: int, after: int, reason: str, time: str, demand: str = "12.4") -> dict[str, Any]:
    return {
        "time": time, "fromReplicas": before, "toReplicas": after, "reason": reason, "demand": demand, "capacity": 7,
    }  # fmt: skip


def event(reason: str, note: str, time: str, name: str = "chat", **more: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": f"{name}.{time}", "namespace": "team", "creationTimestamp": time},
        "reportingController": names.REPORTING_CONTROLLER,
        "regarding": {"kind": names.POOL_KIND, "name": name, "namespace": "team"},
        "type": "Normal", "reason": reason, "note": note, "eventTime": time.replace("Z", ".000000Z"), **more,
    }  # fmt: skip


def step(before: int, after: int, reason: str, time: str, demand: float = 12.4) -> dict[str, Any]:
    word = "ScaledUp" if after > before else "ScaledDown"
    note = f"replicas {before} -> {after}: demand {demand}, capacity 7 a replica (Normal), window 0 s, reason {reason}"
    return event(word, note, time)
