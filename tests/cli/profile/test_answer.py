"""What a log and a pool come to."""

from dataclasses import replace
from random import Random

import pytest

from forebay.cli.prices import asked, shipped
from forebay.cli.problem import Problem
from forebay.cli.profile import check
from forebay.cli.profile.answer import ProfileAnswer, Question, answer
from forebay.cli.profile.asked_pool import AskedPool, on_hardware
from forebay.cli.profile.entry import Entry
from forebay.cli.profile.formats_text import FORMATS
from forebay.cli.profile.reading import CLASSES, Log, of
from forebay.cli.profile.traffic import declared
from forebay.resources.reasons import Capability
from forebay.rules.cost import BasisName, Hardware
from forebay.rules.endpoints import EMBEDDINGS

CAPABLE = (Capability.CLASSIFICATION, Capability.EXTRACTION, Capability.GENERAL)
MONTH = (0.0, 730 * 3600.0)
SMALL = AskedPool(slots=4, reserved_percent=0, token_seconds=0.02, prefill=10_000)


def requests(count: int, per_second: float, seed: int = 1, share: float = 0.8) -> Log:
    """Poisson arrivals of requests that hold a slot for two seconds; a share of them is not reasoning."""
    random, at, entries = Random(seed), 1_790_000_000.0, []
    for _ in range(count):
        at += random.expovariate(per_second)
        capability = random.choice(CAPABLE) if random.random() < share else Capability.REASONING
        entries.append(Entry(at=at, prompt=1000, output=95, model="gpt-5.6", capability=capability))
    return of(entries, FORMATS[0])


def asked_of(
    log: Log, pool: AskedPool = SMALL, basis: BasisName = BasisName.ELECTRICITY, **more: object
) -> ProfileAnswer:
    return answer(log, replace(Question(pool, Hardware(), basis, shipped()), **more))  # type: ignore[arg-type]


def erlang_b(slots: int, offered: float) -> float:
    blocked = 1.0
    for number in range(1, slots + 1):
        blocked = offered * blocked / (number + offered * blocked)
    return blocked


@pytest.mark.parametrize("offered", [2.0, 4.0, 8.0])
def test_what_finds_no_slot_is_as_erlang_says(offered: float) -> None:
    log = requests(20_000, per_second=offered / 1.9, share=1.0)
    found = asked_of(log, replace(SMALL, prefill=1e9))  # prompts hold up nobody
    served = found.traffic.carried[4]  # all requests cost the same
    assert served == pytest.approx(1 - erlang_b(4, offered), abs=0.02)


def test_the_local_share_is_what_is_capable_and_finds_a_slot() -> None:
    found = asked_of(requests(5_000, 0.5))
    truth = 0.8 * (1 - erlang_b(4 * found.local_first.replicas, 0.8))
    assert found.shares.local.value == pytest.approx(truth, abs=0.02)
    assert found.shares.local.low < truth < found.shares.local.high


def test_money_is_that_of_the_models_in_the_log() -> None:
    models = ("gpt-5.6", "openai/gpt-5.4-mini-2026-03-17")
    log = of([Entry(at=at, prompt=1_000_000, output=0, model=model)
              for at, model in zip(MONTH, models, strict=True)], FORMATS[0])  # fmt: skip
    found = asked_of(log)
    assert found.all_cloud.value == pytest.approx(4 + 0.75)
    assert asked_of(log, displaced="gpt-5-nano").all_cloud.value == pytest.approx(2 * 0.05)
    assert [price.model for price in found.priced] == ["gpt-5.6", "gpt-5.4-mini"]


def test_a_model_without_a_price_counts_as_the_first_of_the_table() -> None:
    log = of([Entry(at=at, prompt=1_000_000, output=0, model="our-own") for at in MONTH], FORMATS[0])
    assert asked_of(log).all_cloud.value == pytest.approx(2 * 4)


def test_the_best_size_is_none_for_little_traffic_and_grows_with_it() -> None:
    rare = requests(50, 0.001, share=1.0)
    assert asked_of(rare, basis=BasisName.RENTED).local_first.replicas == 0
    busy = requests(3_000, 10.0, share=1.0)
    found = asked_of(busy)
    assert found.local_first.replicas > 3
    assert found.local_first.total <= min(size.total for size in found.sizes) + 1e-9
    assert found.local_first.total < found.all_cloud.value


@pytest.mark.slow
def test_peaks_are_worth_a_replica_only_where_it_is_cheap() -> None:
    """A steady stream, and once an hour a burst of a minute."""
    random, entries = Random(3), []
    for hour in range(48):
        entries += [Entry(at=hour * 3600 + second * 4.0, prompt=1000, output=95, model="gpt-5.6",
                          capability=Capability.GENERAL) for second in range(900)]  # fmt: skip
        entries += [Entry(at=hour * 3600 + random.random() * 60, prompt=1000, output=95, model="gpt-5.6",
                          capability=Capability.GENERAL) for _ in range(300)]  # fmt: skip
    log = of(entries, FORMATS[0])
    cheap = asked_of(log, basis=BasisName.ELECTRICITY).local_first.replicas
    dear = asked_of(log, basis=BasisName.RENTED).local_first.replicas
    assert dear < cheap


def test_the_curve_crosses_where_the_break_even_is() -> None:
    found = asked_of(requests(5_000, 1.0))
    for name, point in found.break_evens.items():
        assert point is not None
        for at in found.curve:
            wins = at.local_first[name].total < at.cloud * (1 - 1e-9)
            assert wins is (at.tokens > point) or abs(at.tokens / point - 1) < 0.01


def test_local_first_never_costs_more_than_the_cloud_or_than_all_local() -> None:
    found = asked_of(requests(3_000, 4.0))
    for at in found.curve:
        best = at.local_first[BasisName.ELECTRICITY].total
        assert best <= at.cloud * (1 + 1e-9)
        assert best <= at.all_local * (1 + 1e-9)


def test_what_is_too_long_goes_to_the_cloud() -> None:
    log = of([Entry(at=float(at), prompt=prompt, output=10, capability=Capability.GENERAL)
              for at, prompt in enumerate((100, 40_000, 100, 100))], FORMATS[0])  # fmt: skip
    found = asked_of(log)
    assert found.traffic.too_long == 1
    assert found.shares.local.value == 0.75


@pytest.mark.slow
def test_a_gpu_by_name_gives_slots_and_speed_by_the_table() -> None:
    log = requests(500, 2.0)
    pool = AskedPool(gpu="a100-80gb")
    found = asked_of(log, pool).question.pool
    assert found == on_hardware(pool, 1095, 1095 - 95 / 2)
    assert found.slots > 32
    half = asked_of(log, replace(pool, gpu="l4")).question.pool
    assert half.slots < found.slots
    assert half.prefill < found.prefill
    said = asked_of(log, replace(pool, slots=7, prefill=1.0, fixed=frozenset({"slots", "prefill"}))).question.pool
    assert (said.slots, said.prefill) == (7, 1.0)
    assert said.token_seconds < found.token_seconds
    assert asked_of(log, replace(pool, most=16)).question.pool.slots == 16


def test_what_no_table_knows_is_one_sentence() -> None:
    with pytest.raises(Problem, match=r"no table says how llama-3.1-8b runs on 1 x abacus: give --slots.*a100"):
        asked_of(requests(10, 1.0), AskedPool(gpu="abacus"))


@pytest.mark.parametrize(("per_second", "slack"), [(0.8, 0.02), (1.6, 0.04), (3.2, 0.08)])
def test_a_replay_through_the_queue_comes_to_nearly_the_same(per_second: float, slack: float) -> None:
    found = asked_of(requests(3_000, per_second), displaced="gpt-5-nano", basis=BasisName.RENTED, replay=True).check
    assert found is not None
    assert (found.requests, found.replicas) == (3_000, 1)
    assert found.replayed == pytest.approx(found.reckoned, abs=slack)


def test_of_a_long_log_the_busiest_stretch_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "REQUESTS", 100)
    quiet = [Entry(at=float(at * 60), prompt=1000, output=95, capability=Capability.GENERAL) for at in range(300)]
    burst = [Entry(at=9000 + at * 0.1, prompt=1000, output=95, capability=Capability.GENERAL) for at in range(100)]
    found = asked_of(of([*quiet, *burst], FORMATS[0]), replay=True).check
    assert found is not None
    assert found.requests == 100
    assert found.seconds < 60
    assert found.reckoned < 0.5


def test_embeddings_are_not_for_a_chat_pool() -> None:
    log = of([Entry(at=0.0, prompt=10, path=EMBEDDINGS), Entry(at=1.0, prompt=10, output=1)], FORMATS[0])
    assert asked_of(log).shares.local.value == 0.5


def test_a_log_without_times_is_spread_over_its_days() -> None:
    log = of([Entry(prompt=1000, output=95, capability=Capability.GENERAL) for _ in range(1000)], FORMATS[0])
    found = asked_of(log, days=10.0)
    assert not found.traffic.period.timed
    assert found.demand.tokens == pytest.approx(1000 * 1095 * 730 / 240)
    assert asked_of(log, days=10.0).shares == found.shares


def test_a_log_out_of_order_gives_the_same_answer() -> None:
    log = requests(500, 2.0)
    backwards = [Entry(at=log.at[place], prompt=1000, output=95, model="gpt-5.6",
                       capability=Capability(CLASSES[log.kind[place] & 7]))
                 for place in reversed(range(500))]  # fmt: skip
    shuffled = of(backwards, FORMATS[0])
    assert asked_of(log).shares == asked_of(shuffled).shares
    assert asked_of(log).local_first == asked_of(shuffled).local_first


def test_the_routers_rule_says_what_a_pool_serves() -> None:
    assert declared(AskedPool()) == (True, True, False, True, False, True)
    only = replace(AskedPool(), capabilities=frozenset({Capability.REASONING}))
    assert declared(only) == (False, False, True, False, False, False)


def test_a_model_without_a_price_cannot_be_displaced() -> None:
    with pytest.raises(Problem, match="no price for 'x'"):
        asked_of(requests(10, 1.0), displaced="x")


def test_one_request_is_enough_for_an_answer() -> None:
    found = asked_of(of([Entry(at=5.0, prompt=0, output=0)], FORMATS[0]))
    assert found.local_first.replicas == 0
    assert asked("gpt-5.6", shipped()) == found.default_price
