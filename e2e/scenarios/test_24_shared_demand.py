"""Two pools that serve the same requests do not both grow for one overflow."""

import time

from e2e.demo.setup import Fleet
from e2e.scenarios.helpers import until
from e2e.scenarios.scaling import AT_ONCE, Steady, notes, pool, pools, ready, size, under


def test_one_of_them_grows(fleet: Fleet) -> None:
    scaling = {"minReplicas": 1, "maxReplicas": 2, "behavior": AT_ONCE}
    served = {"model": {"name": "example/twin", "servedNames": ["twin"]}, "scaling": scaling}
    left = pool("left", slots=4, startup=20, **served)
    right = pool("right", slots=4, startup=20, **served)
    with pools(left, right):
        ready("left")
        ready("right")

        def story() -> None:
            until(lambda: size("left") + size("right") == 3, "one more replica", 60)
            end = time.monotonic() + 45  # 20 s of which the new replica starts
            while time.monotonic() < end:
                assert size("left") + size("right") == 3
                time.sleep(1)

        under(Steady(fleet, "twin", 9), story)
        print("\n".join(notes("left", "ScaledUp", "ScaleHeld") + notes("right", "ScaledUp", "ScaleHeld")))
        grown = notes("left", "ScaledUp") + notes("right", "ScaledUp")
        assert len([note for note in grown if note.startswith("replicas 1 -> 2")]) == 1
