"""`cost --prometheus` against a real Prometheus that scrapes real routers."""

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import httpx
import msgspec
import pytest
import uvloop
import yaml

from e2e.cluster import tools
from forebay.cli.cost.bill import By, bill_rows, one_less
from forebay.cli.cost.from_prometheus import Prometheus, period
from forebay.cli.problem import Problem
from forebay.cli.running.fleet_objects import pool_of
from forebay.controller.cluster import probes
from forebay.rules.cost import Price
from testing.fleet import Fleet, Pool, fleet
from tests.cli.objects import pool as pool_object

BINARY = tools.prometheus()
needs_prometheus = pytest.mark.skipif(BINARY is None, reason="no Prometheus here; run: make tools")
PRICE = Price("bravo", "bravo-model", 1.0, 4.0)
GAUGES = {"replicas": 1, "desired_replicas": 1, "slots": 2, "running": 1, "queued": 0, "overflow_running": 0}


@contextmanager
def prometheus(folder: Path, targets: list[tuple[int, dict[str, str]]]) -> Iterator[str]:
    """A Prometheus on loopback with its own folder, that looks every second."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    static = [{"targets": [f"127.0.0.1:{port}"], "labels": labels} for port, labels in targets]
    job = {"job_name": "forebay", "honor_labels": True, "static_configs": static}
    config = folder / "prometheus.yaml"
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}))
    assert BINARY is not None
    process = subprocess.Popen(
        [BINARY, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
         f"--web.listen-address={address}", "--log.level=error"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(timeout=20)


async def samples(url: str, wanted: int) -> None:
    """Until the routers have been scraped so often more."""
    async with httpx.AsyncClient(trust_env=False, verify=False) as http, asyncio.timeout(60):
        begun = time.time()
        while True:
            try:
                query = {"query": f"min(count_over_time(up[{max(1, round(time.time() - begun))}s]))"}
                found = (await http.get(f"{url}/api/v1/query", params=query)).json()["data"]["result"]
                if found and float(found[0]["value"][1]) >= wanted:
                    return
            except (httpx.HTTPError, KeyError):
                pass
            await asyncio.sleep(0.3)


async def operator() -> asyncio.Server:
    """The operator's gauges of one pool."""
    text = "".join(f'forebay_pool_{name}{{namespace="team",pool="chat"}} {value}\n' for name, value in GAUGES.items())
    return await probes.serve("127.0.0.1", 0, {"/metrics": lambda: probes.Page(200, text.encode())})


@pytest.mark.slow
@needs_prometheus
def test_the_bill_of_history_is_what_the_routers_counted(tmp_path: Path) -> None:
    async def work() -> None:
        async with fleet(tmp_path, {"chat": Pool(slots=2)}) as f:
            server = await operator()
            gauges = server.sockets[0].getsockname()[1]
            targets = [
                (f.gateway.metrics.port, {"namespace": "team"}),
                (f.sidecars["chat-0"].metrics.port, {"namespace": "team", "pool": "chat"}),
                (gauges, {"namespace": "forebay-system"}),
            ]
            folder = tmp_path / "prometheus"
            folder.mkdir()
            try:
                await spend(f)
                with prometheus(folder, targets) as url:
                    await samples(url, 3)
                    await asyncio.to_thread(look, f, url)
            finally:
                server.close()

    uvloop.run(work())


async def spend(f: Fleet) -> None:
    """Some requests at home, some at a provider that has a price."""
    table = f.gateway.context.table.table
    (policy,) = table.policies
    priced = tuple(
        msgspec.structs.replace(
            provider,
            models=tuple(
                msgspec.structs.replace(model, input_price="4", output_price="20") for model in provider.models
            ),
        )
        for provider in policy.providers
    )
    policies = (msgspec.structs.replace(policy, providers=priced),)
    f.gateway.context.table.take(msgspec.structs.replace(table, generation=9, hash="priced", policies=policies))
    for key in ("sk-vip", ""):
        await f.ask(20, key=key)
    await asyncio.gather(*(f.ask(200, key="sk-vip", x_forebay_priority="High") for _ in range(8)))


def look(f: Fleet, url: str) -> None:
    now = time.time()
    cells = f.gate.context.usage.cells
    spent = sum((cell.dollars for cell in cells.values()), Decimal(0))
    away = sum(cell.requests for key, cell in cells.items() if key[1] != "local")
    assert spent and away
    known = pool_of({**pool_object(), "spec": {"model": {"name": "m"}, "gpuHourPrice": "1.20"}})
    found = period(
        Prometheus(url), [known], "team", now - 7200, now, gpu_hour_price=None, displaced={"chat": PRICE}
    )  # fmt: skip
    (line,) = bill_rows(found, By.POOL)
    assert line.cloud == pytest.approx(float(spent))
    assert (line.local_requests, line.cloud_requests) == (10 - away, away)
    assert {item.name for item in bill_rows(found, By.CLIENT)} == {"vip", "anonymous"}
    engine = f.engines["chat-0"]
    made = engine.telemetry.generated._value.get()
    assert made and line.output_tokens == pytest.approx(made + sum(c.output_tokens for c in cells.values()))
    (pool,) = found.pools
    assert pool.gpu_hours > 0 and pool.moments[-1].slots == 2
    assert one_less(found, pool).net is not None


@needs_prometheus
def test_a_prometheus_without_the_fleet_says_what_to_look_at(tmp_path: Path) -> None:
    with prometheus(tmp_path, []) as url:
        uvloop.run(ready(url))
        with pytest.raises(Problem, match="has nothing of namespace team in this time: does it scrape the routers"):
            period(Prometheus(url), [], "team", time.time() - 60, time.time(), gpu_hour_price=None, displaced={})


async def ready(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False, verify=False) as http, asyncio.timeout(30):
        while True:
            try:
                if (await http.get(f"{url}/-/ready")).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.2)


def test_no_prometheus_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    library = pytest.importorskip("prometheus_api_client.prometheus_connect")
    monkeypatch.setattr(library, "RETRY_BACKOFF_FACTOR", 0)  # it asks as often, without six seconds between
    with pytest.raises(Problem, match=r"^Prometheus at http://127\.0\.0\.1:1 cannot be asked: "):
        Prometheus("http://127.0.0.1:1").at("up", 0)
