"""python -m bench.bulkheads: 50 namespaces on a real API server, one after another losing its Role or deleted.

Sizes of Manual pools are changed all the while; a reaction is the time from the change of a pool to that of its
StatefulSet. Namespaces in trouble do not count, the others do; afterwards every namespace must react again.
"""

import argparse
import asyncio
import random
import statistics
import time
from dataclasses import dataclass, field

import yaml

from bench.many.operator import SYSTEM, Process, grant
from e2e.cluster.controlplane import ControlPlane
from e2e.cluster.paths import REPO
from e2e.cluster.shell import run, say
from e2e.cluster.tools import kubernetes
from forebay.resources import names
from testing.api import Api, Object, each

CRS = f"/apis/{names.GROUP}/{names.VERSION}"
SETS = "/apis/apps/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ROLE = f"forebay-operator-{SYSTEM}"
"""As the chart calls it in a namespace that is watched."""
MERGE = "application/merge-patch+json"
CHANGES_PER_SECOND = 4.0
OUT_SECONDS = 12.0  # how long a namespace is in trouble
NEXT_SECONDS = 1.5  # until the next one is
HEALED_SECONDS = 60.0
POOL: Object = {
    "apiVersion": names.API_VERSION, "kind": names.POOL_KIND, "metadata": {"name": "chat"},
    "spec": {"model": {"name": "m"}, "engine": {"type": "Simulated", "gpus": 0}, "replicas": 1,
             "scaling": {"mode": "Manual", "minReplicas": 0, "maxReplicas": 9}},
}  # fmt: skip


@dataclass
class World:
    """Namespaces, what was asked of their pools, and how long it took."""

    api: Api
    spaces: list[str]
    sizes: dict[str, int] = field(default_factory=dict)  # of the StatefulSets, as last seen
    asked: dict[str, tuple[int, float]] = field(default_factory=dict)  # size and when
    seconds: dict[str, list[float]] = field(default_factory=dict)  # by phase
    late: int = 0  # changes of namespaces without trouble that were never seen
    out: set[str] = field(default_factory=set)
    phase: str = ""

    async def look(self) -> None:
        """Follow the StatefulSets of all namespaces."""
        async for event in self.api.watch(f"{SETS}/statefulsets"):
            obj = event["object"]
            space, size = obj["metadata"]["namespace"], obj["spec"]["replicas"]
            self.sizes[space] = size
            if space in self.asked and self.asked[space][0] == size:
                took = time.monotonic() - self.asked.pop(space)[1]
                if self.phase and space not in self.out:
                    self.seconds.setdefault(self.phase, []).append(took)

    async def change(self, space: str) -> None:
        """Ask for another size."""
        size = 1 + self.sizes.get(space, 1) % 4
        self.asked[space] = size, time.monotonic()
        patch = {"spec": {"replicas": size}}
        await self.api.call("PATCH", f"{CRS}/namespaces/{space}/{names.POOL_PLURAL}/chat", patch, MERGE)

    async def load(self) -> None:
        """Change pools of namespaces without trouble, one after the other."""
        while True:
            await asyncio.sleep(random.expovariate(CHANGES_PER_SECOND))
            free = [space for space in self.spaces if space not in self.out and space not in self.asked]
            if free:
                await self.change(random.choice(free))

    async def lose_role(self, space: str) -> None:
        """Its RoleBinding is gone for a while."""
        path = f"{RBAC}/namespaces/{space}/rolebindings"
        binding = await self.api.call("GET", f"{path}/{ROLE}")
        await self.api.call("DELETE", f"{path}/{ROLE}")
        await asyncio.sleep(OUT_SECONDS)
        kept = {**binding, "metadata": {key: binding["metadata"][key] for key in ("name", "labels")}}
        await self.api.call("POST", path, kept)

    async def delete(self, space: str) -> None:
        """It is Terminating for a while, gone, and made anew with all that was in it."""
        role = await self.api.call("GET", f"{RBAC}/namespaces/{space}/roles/{ROLE}")
        binding = await self.api.call("GET", f"{RBAC}/namespaces/{space}/rolebindings/{ROLE}")
        found = await self.api.call("DELETE", f"/api/v1/namespaces/{space}")
        for path in (f"{CRS}/namespaces/{space}/{names.POOL_PLURAL}", f"{SETS}/namespaces/{space}/statefulsets",
                     f"{SETS}/namespaces/{space}/deployments", f"/api/v1/namespaces/{space}/configmaps",
                     f"/api/v1/namespaces/{space}/secrets", f"{RBAC}/namespaces/{space}/rolebindings",
                     f"{RBAC}/namespaces/{space}/roles"):  # fmt: skip
            await self.api.call("DELETE", path)
        await asyncio.sleep(OUT_SECONDS)
        await self.api.call("PUT", f"/api/v1/namespaces/{space}/finalize", {**found, "spec": {"finalizers": []}})
        await self.make(space)
        for path, obj in (("roles", role), ("rolebindings", binding)):
            kept = {**obj, "metadata": {key: obj["metadata"][key] for key in ("name", "labels")}}
            await self.create(f"{RBAC}/namespaces/{space}/{path}", kept)
        await self.create(f"{CRS}/namespaces/{space}/{names.POOL_PLURAL}", POOL)

    async def create(self, path: str, obj: Object) -> None:
        """In a namespace that was just made anew: admission still knows the one before for a moment."""
        async with asyncio.timeout(30):
            while True:
                try:
                    await self.api.call("POST", path, obj)
                    return
                except RuntimeError as error:
                    if "being terminated" not in str(error):
                        raise
                await asyncio.sleep(0.2)

    async def make(self, space: str) -> None:
        """The namespace alone."""
        await self.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": space}})

    async def trouble(self, number: int, space: str) -> None:
        """One way or the other."""
        self.out.add(space)
        self.asked.pop(space, None)
        began = time.monotonic()
        await (self.delete(space) if number % 2 else self.lose_role(space))
        back = time.monotonic()
        await self.heals(space)
        self.seconds.setdefault("back again", []).append(time.monotonic() - back)
        say(f"{space}: out for {back - began:.0f} s, back {time.monotonic() - back:.1f} s after")
        self.out.discard(space)

    async def heals(self, space: str) -> None:
        """Until its pool reacts again."""
        async with asyncio.timeout(HEALED_SECONDS):
            await self.change(space)
            while space in self.asked:
                await asyncio.sleep(0.05)


def row(name: str, took: list[float]) -> str:
    """One line of the table, in milliseconds."""
    cut = statistics.quantiles(took, n=100, method="inclusive") if len(took) > 1 else took * 99
    values = (statistics.median(took), cut[94], cut[98], max(took))
    return f"| {name} | {len(took)} | " + " | ".join(f"{1000 * value:.0f}" for value in values) + " |"


async def story(plane: ControlPlane, spaces: list[str], quiet: float, grants: tuple[str, ...]) -> None:
    """All phases."""
    async with Api(plane.kubeconfig) as api:
        world = World(api, spaces)
        await each(spaces, world.make)
        kubeconfig = await asyncio.to_thread(grant, plane, *grants)
        for space in spaces:
            await api.call("POST", f"{CRS}/namespaces/{space}/{names.POOL_PLURAL}", POOL)
        with Process(kubeconfig, names.PORT_CONTROL, {"FOREBAY_NAMESPACES": ",".join(spaces)}) as operator:
            looking = asyncio.create_task(world.look())
            async with asyncio.timeout(180):
                while len(world.sizes) < len(spaces):
                    await asyncio.sleep(0.2)
            loading = asyncio.create_task(world.load())
            world.phase = "no trouble"
            await asyncio.sleep(quiet)
            world.phase = "others in trouble"
            async with asyncio.TaskGroup() as group:
                for number, space in enumerate(spaces):
                    group.create_task(world.trouble(number, space))
                    await asyncio.sleep(NEXT_SECONDS)
            loading.cancel()
            world.phase = ""
            await asyncio.gather(*(world.heals(space) for space in spaces if space not in world.asked))
            await asyncio.sleep(5)
            refused = sum(operator.metric("forebay_operator_namespace_refused").values())  # asserts that it lives, too
            looking.cancel()
        say("| reactions | n | p50 ms | p95 ms | p99 ms | most ms |")
        say("| --- | --- | --- | --- | --- | --- |")
        for name, took in world.seconds.items():
            say(row(name, took))
        say(f"never seen: {len(world.asked)}; still refused: {refused:.0f}; the operator is the one that was started")


def main() -> None:
    """Measure."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--namespaces", type=int, default=50)
    options.add_argument("--quiet", type=float, default=60.0, help="seconds without trouble")
    chosen = options.parse_args()
    spaces = [f"team-{number:02d}" for number in range(chosen.namespaces)]
    with ControlPlane(controllers=False) as plane:
        kubectl = (kubernetes(), "kubectl", "--kubeconfig", plane.kubeconfig)
        for crd in sorted((REPO / "crds").glob("*.yaml")):
            run(*kubectl, "apply", "-f", "-", stdin=yaml.safe_dump(yaml.safe_load(crd.read_text())))
        run(*kubectl, "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        time.sleep(2)
        asyncio.run(story(plane, spaces, chosen.quiet, ("--set", f"namespaces={{{','.join(spaces)}}}")))


if __name__ == "__main__":
    main()
