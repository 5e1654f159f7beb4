"""What the simulated providers have served, by their own count, at a policy's prices: a bill that no forebay wrote."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx
import yaml
from kubernetes import watch

from e2e.demo.setup import EXAMPLES, kubectl
from e2e.scenarios.own import NAMESPACE, Own
from forebay.engines.simulated import SIMULATED
from forebay.resources import names
from forebay.resources.money_ledger import LedgerEntry, decode_ledger

MILLION = 1_000_000
PRICES = {"acme": (Decimal("0.5"), Decimal(100)), "bravo": (Decimal("0.5"), Decimal(100))}
"""US dollars for a million tokens of input and of output: what the limit of a request allows is most of its cost."""
POLICY = EXAMPLES / "policy.yaml"


def priced(**budget: Any) -> dict[str, Any]:
    """The example's policy, at these prices and with a budget."""
    found: dict[str, Any] = yaml.safe_load(POLICY.read_text())
    for provider in found["spec"]["providers"]:
        given, made = PRICES[provider["name"]]
        for model in provider["models"]:
            model |= {"inputPrice": str(given), "outputPrice": str(made)}
    found["spec"]["budget"] = budget
    return found


@dataclass(slots=True)
class Providers:
    """Both of them. Dollars since this was made; a provider that begins anew is an error, for its counts would, too."""

    addresses: dict[str, str]
    _begun: dict[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def find(cls) -> "Providers":
        """As they stand now."""
        path = "-o=jsonpath={.spec.clusterIP}"
        made = cls({name: kubectl("get", "service", name, "-n", NAMESPACE, path) for name in PRICES})
        made._begun = {name: made._counted(name) for name in PRICES}
        return made

    def bill(self) -> Decimal:
        """What they would write on it."""
        total = Decimal(0)
        for name, prices in PRICES.items():
            tokens = [now - begun for now, begun in zip(self._counted(name), self._begun[name], strict=True)]
            assert min(tokens) >= 0, f"{name} was started again"
            total += sum((count * price for count, price in zip(tokens, prices, strict=True)), Decimal(0)) / MILLION
        return total

    def slow(self, factor: float) -> None:
        """Make each token take so many times as long."""
        for address in self.addresses.values():
            httpx.post(f"http://{address}:8000/sim/faults", json={"slow": factor}, timeout=5, trust_env=False)

    def _counted(self, name: str) -> tuple[int, int]:
        text = httpx.get(f"http://{self.addresses[name]}:8000/metrics", timeout=5, trust_env=False).text
        given, made = (
            sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{series}{{"))
            for series in (_family("prompt_tokens_total"), _family("generation_tokens_total"))
        )
        return int(given), int(made)


def _family(name: str) -> str:
    return f"{SIMULATED.metrics.family}{name}"


def ledger() -> LedgerEntry | None:
    """The policy's own, as it stands in the cluster."""
    found = kubectl("get", "configmap", names.BUDGET_CONFIGMAP, "-n", NAMESPACE, "-o", "json", "--ignore-not-found")
    text = json.loads(found)["data"].get("default.json") if found else None
    return decode_ledger(text) if text else None


def policy() -> dict[str, Any]:
    """The custom resource."""
    found: dict[str, Any] = json.loads(kubectl("get", "cloudfallbackpolicy", "default", "-n", NAMESPACE, "-o", "json"))
    return found


def verdict() -> tuple[str, str]:
    """Reason and message of BudgetAvailable."""
    found = policy().get("status", {}).get("conditions", [])
    return next(((item["reason"], item["message"]) for item in found if item["type"] == "BudgetAvailable"), ("", ""))


@dataclass(slots=True)
class GatewayEnd:
    """What the API server had of one gateway's pod as it ended; times in seconds of time.monotonic()."""

    message: str = ""  # its termination message
    said: float = 0.0  # when that was first seen
    gone: float = 0.0


@contextmanager
def ends_of_gateways(held: Own) -> Iterator[dict[str, GatewayEnd]]:
    """Follow the gateways' pods: who ended, and what its kubelet took as its last words."""
    ends: dict[str, GatewayEnd] = {}
    stop = threading.Event()

    def follow() -> None:
        while not stop.is_set():
            with suppress(Exception):  # the API server may be away
                _follow(held, ends, stop)
            time.sleep(0.2)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield ends
    finally:
        stop.set()
        thread.join(30)


def _follow(held: Own, ends: dict[str, GatewayEnd], stop: threading.Event) -> None:
    selector = f"{names.LABEL_COMPONENT}={names.COMPONENT_GATEWAY}"
    call = held.core.list_namespaced_pod
    for event in watch.Watch().stream(call, NAMESPACE, label_selector=selector, timeout_seconds=20):
        pod, now = event["object"], time.monotonic()
        end = ends.setdefault(pod.metadata.name, GatewayEnd())
        for status in pod.status.container_statuses or ():
            for state in (status.state, status.last_state):
                ended = state.terminated if state else None
                if ended is not None and (ended.message or not end.said) and not end.message:
                    end.message, end.said = ended.message or "", now
        if event["type"] == "DELETED":
            end.gone = now
        if stop.is_set():
            return
