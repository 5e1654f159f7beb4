"""The bench plays a short trace: everything ends, equal seeds give equal figures, and the picture is one."""

import random
from xml.etree import ElementTree

from bench.affinity.fleet import Pool
from bench.affinity.measure import figures, measure, placements
from bench.affinity.placement import Forebay
from bench.affinity.report import picture
from bench.affinity.setup import Setup
from bench.affinity.trace import character, faster, generated
from forebay.simulator.batch import BatchLimits

SMALL = Setup(replicas=2, limits=BatchLimits(kv_tokens=400_000, max_batched_tokens=2048))


def test_every_request_is_answered_or_refused_and_a_seed_decides_all() -> None:
    requests = generated(200, seed=3)
    found = []
    for _ in range(2):
        pool = Pool(SMALL, [Forebay(random.Random(0)), Forebay(random.Random(1))], seed=5)
        played = pool.run(requests)
        assert len(played) == len(requests)
        assert all((one.first is None) == one.refused for one in played)
        assert all(replica.ahead == 0 and replica.admission.running == 0 for replica in pool.replicas.values())
        found.append(figures(played))
    assert found[0] == found[1]


def test_generated_conversations_keep_their_rate_and_come_back() -> None:
    found = character(generated(3000, seed=1))
    assert 3.0 < found["requests_per_second"] < 3.8
    assert 0.25 < found["seen_before_share"] < 0.45
    assert character(faster(generated(3000, seed=1), 2.0))["requests_per_second"] > 6.0


def test_the_figures_are_whole_and_drawn() -> None:
    found = measure(generated(150, seed=2), SMALL, [90], 3, 1, lambda _: lambda _: None)
    assert set(found["loads"][90]) == set(placements(3))
    assert found["moves"]["remembered_up"] == 0
    drawn = ElementTree.fromstring(picture(found))
    assert len(drawn.findall("{*}circle")) >= len(placements(3))
