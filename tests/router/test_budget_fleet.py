"""A real gateway over HTTP, the operator's real passes, ledgers in files: the provider's own bill is the judge."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from forebay.controller.cluster.kubernetes_api import CONFIG_MAP, Object
from forebay.controller.manifests.common import Owner
from forebay.controller.observe.memory import FleetMemory, LastReport
from forebay.controller.observe.observe import ObservedFleet, ObservedPolicy
from forebay.controller.observe.pods import Pod
from forebay.controller.plan.actions import Apply
from forebay.controller.plan.plan_budgets import plan_budgets
from forebay.resources import names
from forebay.resources.report import decode, encode
from forebay.resources.table import BudgetEntry
from forebay.rules.budget.picodollars import picodollars
from forebay.simulator.http import Connection, Request
from testing.budget_town import policy_of
from tests.router.clouds import Clouds, clouds
from tests.router.provider import Provider, answer
from tests.router.test_cloud import run
from tests.router.test_fleet import decision

LIMIT = 100


async def operate(c: Clouds, folder: Path, amount: str) -> None:
    """Passes over what the gateway says, as often as there is something to do; the kubelet brings files at once."""
    spec, memory, live = policy_of(amount=amount), FleetMemory(), None
    policy = ObservedPolicy(Owner(names.POLICY_KIND, "default", "uid"), 1, spec)
    version = 0
    while True:
        now = time.time()
        heard = {"gateway-0": LastReport(decode(encode(c.fleet.gate.report())), now)}
        known = {} if live is None else {(CONFIG_MAP.kind, names.BUDGET_CONFIGMAP): live}
        pod = Pod("gateway-0", "uid-0", "10.0.0.1", ready=True)
        fleet = ObservedFleet("team", now, policies=(policy,), gateways=(pod,), heard=heard, live=known)
        done = plan_budgets(fleet, memory)
        memory = FleetMemory(budget_written=done.written, budget_touched=done.touched)
        for action in done.actions:
            if isinstance(action, Apply):
                version += 1
                live = written(action.obj, folder, version)
        await asyncio.sleep(0.1)


def written(obj: Object, folder: Path, version: int) -> Object:
    for name, text in obj["data"].items():
        fresh = folder / f"{name}.new"
        fresh.write_text(text)
        fresh.replace(folder / name)
    return {**obj, "metadata": {**obj["metadata"], "uid": "uid", "resourceVersion": str(version)}}


@pytest.mark.slow
def test_a_real_gateway_and_real_passes_spend_a_budget_to_its_end_and_no_further(tmp_path: Path) -> None:
    """The provider bills what it likes below the limit; some requests are refused."""
    bill = SimpleNamespace(dollars=0.0)
    rng = Random(4)

    async def plays(provider: Provider, request: Request, connection: Connection) -> None:
        await asyncio.sleep(rng.random() / 20)
        if rng.random() < 0.1:
            await answer(400, {"error": {"message": "no"}})(provider, request, connection)
            return
        usage = {"prompt_tokens": rng.randrange(len(request.body)), "completion_tokens": rng.randrange(LIMIT + 1)}
        bill.dollars += (usage["prompt_tokens"] * 4 + usage["completion_tokens"] * 20) / 1e6
        document = {"id": "c", "model": "m", "choices": [], "usage": usage}
        await answer(200, document)(provider, request, connection)

    async def work() -> None:
        ledgers, journal = tmp_path / "ledgers", tmp_path / "journal"
        ledgers.mkdir()
        journal.mkdir()
        settings: dict[str, Any] = {"budget_dir": ledgers, "journal_dir": journal}
        async with clouds(tmp_path, plays, budget=BudgetEntry(), gateway=settings) as c:
            operator = asyncio.create_task(operate(c, ledgers, "0.15"))
            await c.fleet.until(lambda: bool(c.fleet.gate.budgets.ledgers))
            reasons: Counter[str] = Counter()
            for _ in range(60):
                answers = await asyncio.gather(*(c.ask(tokens=LIMIT) for _ in range(6)))
                reasons.update(decision(item)[2] for item in answers if item.status_code != 200)
                await asyncio.sleep(0.05)
                if operator.done():
                    await operator
            row = 0
            while row < 4:  # what failed has given its reservation back, so one more may fit
                await asyncio.sleep(0.3)
                row = row + 1 if decision(await c.ask(tokens=LIMIT))[2] == "BudgetSpent" else 0
            operator.cancel()
            book = c.fleet.gate.budgets.journal.book
            spent = sum(account.spent for account in book.accounts.values())
            assert not book.open
            assert abs(spent - picodollars(f"{bill.dollars:.12f}")) < 10**6
            assert bill.dollars <= 0.15
            assert bill.dollars >= 0.13

    run(work)


def test_a_gateway_without_ledgers_has_no_account_that_could_be_granted_something(tmp_path: Path) -> None:
    """One that runs when its policy gets a budget is rolled: a lease would be lost with it."""

    async def work() -> None:
        async with clouds(tmp_path / "without", answer(200, {})) as c:
            assert c.fleet.gate.report().account == ""
        async with clouds(tmp_path / "with", answer(200, {}), gateway={"budget_dir": tmp_path}) as c:
            assert c.fleet.gate.report().account == c.fleet.gate.budgets.account

    run(work)
