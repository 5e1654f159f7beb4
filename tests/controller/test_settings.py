"""Settings from the environment."""

import pytest

from forebay.controller.settings import SettingsError, load


def test_what_is_not_set_has_a_default() -> None:
    settings = load({"FOREBAY_ROUTER_IMAGE": "r:1", "POD_NAME": "p"})
    assert settings.images.simulator == "r:1"
    assert (settings.gateway_replicas, settings.namespaces, settings.resync_seconds) == (2, (), 5.0)
    assert settings.network_policies
    assert settings.stale_seconds == 15.0


def test_what_is_set_counts() -> None:
    env = {
        "FOREBAY_ROUTER_IMAGE": "r:1",
        "FOREBAY_NAMESPACES": "a, b,",
        "FOREBAY_RESYNC_SECONDS": "2",
        "FOREBAY_NETWORK_POLICIES": "False",
        "FOREBAY_PROVIDER_NETWORKS": "10.96.0.0/16,fd00::/8",
        "FOREBAY_TASK_SOURCE": "User",
    }
    settings = load(env)
    assert settings.gateway.provider_networks == ("10.96.0.0/16", "fd00::/8")
    assert settings.gateway.task_source == "User"
    assert (settings.namespaces, settings.resync_seconds, settings.network_policies) == (("a", "b"), 2.0, False)


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({}, "FOREBAY_ROUTER_IMAGE is not set"),
        ({"FOREBAY_ROUTER_IMAGE": "r", "FOREBAY_RESYNC_SECONDS": "x"}, "FOREBAY_RESYNC_SECONDS is 'x'"),
        (
            {"FOREBAY_ROUTER_IMAGE": "r", "FOREBAY_PROVIDER_NETWORKS": "10.0.0.1/8"},
            "FOREBAY_PROVIDER_NETWORKS is '10.0.0.1/8'.*host bits set.*cloud.allowedNetworks",
        ),
        ({"FOREBAY_ROUTER_IMAGE": "r", "FOREBAY_GATEWAY_REPLICAS": "0"}, "at least 1"),
    ],
)
def test_what_makes_no_sense_is_named(env: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load(env)
