"""Settings of the operator, read once from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ValidationError

from forebay.resources.kubernetes_fields import GatewaySpec
from forebay.resources.option import Option, OptionError, build, read, rows
from forebay.resources.options import Images, OperatorOptions
from forebay.sockets import EVERY_ADDRESS

__all__ = ["Images", "Settings", "SettingsError", "load"]


_NOTHING_SAID: Final = GatewaySpec()


class SettingsError(ValueError):
    """An environment variable is missing or makes no sense; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(OperatorOptions):
    """Everything that the chart can tell the operator, and what is fixed but in tests."""

    relist_seconds: float = 300.0  # how often the cache is compared with full lists
    gateway_spec: GatewaySpec = _NOTHING_SAID  # `gateway_pods` as it is understood
    concurrency: int = 4  # fleets worked on at a time
    host: str = EVERY_ADDRESS

    @property
    def identity(self) -> str:
        """What tells this operator from every other, in its Lease."""
        return f"{self.own_namespace}/{self.instance}" if self.own_namespace else self.instance

    @property
    def operator(self) -> str:
        """The operator's Service as gateways reach it, a DNS name; empty: nobody is told."""
        return f"{self.service}.{self.own_namespace}.svc" if self.service and self.own_namespace else ""

    @property
    def stale_seconds(self) -> float:
        """A report older than this no longer says how a router is: three periods."""
        return 3 * self.resync_seconds


def load(env: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. Raises SettingsError that names the variable and says what it must be."""
    given = {row.name: _read(row, env[row.env]) for row in rows(Settings) if env.get(row.env)}
    for row in rows(Settings):
        if row.required and row.name not in given:
            raise SettingsError(f"{row.env} is not set: it must be {row.wanted}{_source(row)}")
    settings = build(Settings, given)
    images = settings.images
    return replace(
        settings,
        images=replace(images, simulator=images.simulator or images.router),
        gateway_spec=_gateway_spec(settings.gateway_pods),
    )


def _gateway_spec(given: dict[str, Any]) -> GatewaySpec:
    try:
        return GatewaySpec.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(["gateway", *map(str, first["loc"])])
        raise SettingsError(f"FOREBAY_GATEWAY_PODS is not understood: {field}: {first['msg']}") from error


def _read(row: Option, text: str) -> object:
    try:
        return read(row, text)
    except OptionError as error:
        raise SettingsError(f"{row.env} is {text!r}: {error}{_source(row)}") from error


def _source(row: Option) -> str:
    return f"; the chart sets it from {row.value}" if row.value else ""
