"""The routing table: what is written when, and who has taken it over."""

from dataclasses import replace

from msgspec import UNSET

from forebay.controller.cluster.kubernetes_api import Object
from forebay.controller.observe.observe import ObservedFleet
from forebay.controller.plan.routing_table import TableUpdate, acknowledgement, table_update
from forebay.resources import names, table
from forebay.resources.table import AdapterEntry
from tests.controller.fleets import fleet, gateway, gateway_report, policy, pool, replica, sidecar_report, spec


def live(data: TableUpdate) -> dict[tuple[str, str], Object]:
    return {("ConfigMap", names.ROUTING_CONFIGMAP): {"data": dict(data.data), "metadata": {"resourceVersion": "1"}}}


def after(observed: ObservedFleet, written: TableUpdate) -> ObservedFleet:
    return replace(observed, live=live(written))


TWO = fleet(pool("chat"), pool("sorter"), policies=(policy(),))


def test_gateways_get_everything_and_sidecars_their_pool() -> None:
    done = table_update(TWO)
    whole = table.decode(done.data["gateway.json"])
    part = table.decode(done.data["pool-chat.json"])
    assert [entry.name for entry in whole.pools] == ["chat", "sorter"]
    assert [entry.name for entry in whole.policies] == ["default"]
    assert [entry.name for entry in part.pools] == ["chat"]
    assert part.policies == ()
    assert whole.pools[0].service == "chat-replicas.team.svc"
    assert whole.gateways == "forebay-gateway.team.svc"
    assert {whole.generation, part.generation} == {1}


def test_no_secret_and_no_address_is_in_a_table() -> None:
    text = table_update(TWO).data["gateway.json"]
    assert "provider-keys" not in text
    assert '"hasKey":true' in text


def test_what_is_unchanged_is_not_written_again() -> None:
    first = table_update(TWO)
    again = table_update(after(TWO, first))
    assert not again.changed
    assert again.data == first.data


def test_only_what_changed_gets_a_new_generation() -> None:
    first = table_update(TWO)
    other = fleet(pool("chat", spec(queue={"maxWaitSeconds": 5})), pool("sorter"), policies=(policy(),))
    second = table_update(after(other, first))
    assert second.changed
    assert second.generations == {"gateway.json": 2, "pool-chat.json": 2, "pool-sorter.json": 1}
    assert second.data["pool-sorter.json"] == first.data["pool-sorter.json"]


def test_a_pool_that_is_gone_leaves_the_table() -> None:
    second = table_update(after(fleet(pool("chat"), policies=(policy(),)), table_update(TWO)))
    assert second.changed
    assert "pool-sorter.json" not in second.data


def test_a_table_deleted_by_hand_begins_above_what_routers_have() -> None:
    observed = replace(TWO, heard={"gateway-0": gateway_report(generation=41)})
    assert table_update(observed).generation == 42


def test_a_damaged_table_is_written_anew() -> None:
    damaged = {("ConfigMap", names.ROUTING_CONFIGMAP): {"data": {"gateway.json": "{"}, "metadata": {}}}
    assert table_update(replace(TWO, live=damaged)).changed


def test_an_older_table_that_somebody_put_back_is_written_above_what_routers_have() -> None:
    first = table_update(TWO)
    observed = after(replace(TWO, gateways=(gateway(0),), heard={"gateway-0": gateway_report(generation=7)}), first)
    second = table_update(observed)
    assert second.generations == {"gateway.json": 8, "pool-chat.json": 1, "pool-sorter.json": 1}
    again = replace(after(observed, second), heard={"gateway-0": gateway_report(generation=8)})
    assert not table_update(again).changed


def test_a_pool_whose_spec_is_not_understood_keeps_its_entry() -> None:
    broken = fleet(pool("chat", invalid="x"), pool("sorter"), policies=(policy(),))
    broken = replace(broken, pools=(replace(broken.pools[0], spec=None), broken.pools[1]))
    assert not table_update(after(broken, table_update(TWO))).changed
    assert "pool-chat.json" not in table_update(broken).data


def test_ready_routers_count_and_those_that_end_or_start_do_not() -> None:
    pods = [gateway(0), gateway(1), gateway(2, ready=False), gateway(3, terminating=True), replica(0)]
    heard = {
        "gateway-0": gateway_report(0, generation=3),
        "gateway-1": gateway_report(1, generation=2),
        "chat-0": sidecar_report(0, generation=4, table_error="damaged"),
    }
    done = acknowledgement(3, pods, heard)
    assert (done.ready, done.acknowledged, done.behind) == (3, 2, ("gateway-1",))
    assert done.errors == ("chat-0: damaged",)
    assert not done.complete


def test_sidecars_are_told_of_adapters_and_of_the_last_one_that_goes() -> None:
    def told(observed: ObservedFleet) -> tuple[TableUpdate, object]:
        written = table_update(observed)
        (entry,) = table.decode(written.data["pool-chat.json"]).pools
        return written, entry.adapters

    def chat(*adapters: Object, **engine: object) -> ObservedFleet:
        model = {"name": "m", "adapters": list(adapters)}
        return fleet(pool("chat", spec(model=model, engine={"type": "Simulated", "gpus": 0, **engine})))

    law = {"name": "law", "source": "/adapters/law"}
    never, nothing = told(chat())
    assert nothing is UNSET
    assert "adapters" not in never.data["pool-chat.json"], "such a table keeps the hash it had"
    first, adapters = told(after(chat(law), never))
    assert adapters == (AdapterEntry(name="law", source="/adapters/law"),)
    second, adapters = told(after(chat(), first))
    assert adapters == ()
    third, adapters = told(after(chat(), second))
    assert (adapters, third.changed) == ((), False)
    for args in (["--lora-modules", "law=/x"], ["--data-parallel-size=2"]):
        assert told(chat(law, args=args))[1] is UNSET
