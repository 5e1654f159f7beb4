"""A local-only pool at twice its capacity goes to its maximum, and nothing of it leaves."""

from e2e.demo.setup import Fleet
from e2e.scenarios.helpers import until
from e2e.scenarios.scaling import Steady, notes, pool, pools, ready, size, under


def test_it_goes_to_its_maximum(fleet: Fleet) -> None:
    local = pool("private", scaling={"minReplicas": 1, "maxReplicas": 2}, overflow={"cloud": "Never"})
    with pools(local):
        ready("private")

        def story() -> None:
            until(lambda: size("private") == 2, "two replicas", 90)
            ready("private", 2)

        seen = under(Steady(fleet, "private", 4), story)
        print("\n".join(notes("private", "ScaledUp", "ScaleLimited")))
        assert set(seen) == {"200 private"}
        assert notes("private", "ScaledUp")[0].startswith("replicas 1 -> 2: demand ")
