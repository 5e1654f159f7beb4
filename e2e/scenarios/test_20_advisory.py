"""An Advisory pool under twice its capacity says what it would do, and writes nothing."""

import time

from e2e.demo.setup import Fleet
from e2e.scenarios.helpers import get, until
from e2e.scenarios.scaling import AT_ONCE, Steady, notes, pool, pools, ready, size, under


def test_it_says_so_and_changes_nothing(fleet: Fleet) -> None:
    scaling = {"mode": "Advisory", "minReplicas": 1, "maxReplicas": 3, "behavior": AT_ONCE}
    with pools(pool("adviser", scaling=scaling)):
        ready("adviser")

        def mine() -> dict[str, int]:
            kinds = ("statefulsets", "services", "poddisruptionbudgets", "networkpolicies")
            found = {f"{kind} {o['metadata']['name']}": o for kind in kinds for o in get(kind)}
            return {key: o["metadata"].get("generation", 0) for key, o in found.items() if "adviser" in key}

        def story() -> None:
            before = mine()
            until(lambda: bool(notes("adviser", "ScaleAdvised")), "an Event", 60)
            time.sleep(15)
            assert mine() == before
            assert size("adviser") == 1

        under(Steady(fleet, "adviser", 5, who="interactive", priority="High"), story)
        advised = notes("adviser", "ScaleAdvised")
        print("\n".join(advised))
        assert "would change replicas 1 -> " in advised[0]
        assert not notes("adviser", "ScaledUp", "ScaledDown")
