"""Every scaler with its own defaults, and twelve settings to be tuned with. forebay is told prices instead."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Final

from bench.scaling.baselines import Hpa, Keda, Kpa, RayServe, SkyServe, Static
from bench.scaling.load import Load
from bench.scaling.money import PricePoint, prices
from bench.scaling.oracle import peak
from bench.scaling.ours import Forebay
from bench.scaling.play import Setup
from forebay.replay.scaler import Scaler
from forebay.rules.scale import Pace

Setting = tuple[float, ...]
"""What a scaler is made with; empty: its own defaults."""

LOADS: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True, slots=True)
class Kind:
    """One scaler: how it is made, and what it is tuned with (nothing: it is not)."""

    make: Callable[[Load, Setup, PricePoint | None, Setting], Scaler]
    grid: tuple[Setting, ...]
    priced: bool = False  # whether it can be told prices


def _static(load: Load, setup: Setup, _: PricePoint | None, setting: Setting) -> Scaler:
    return Static(int(setting[0]) if setting else peak(load, setup))


def _of(kind: Callable[..., Scaler]) -> Callable[[Load, Setup, PricePoint | None, Setting], Scaler]:
    return lambda _load, _setup, _point, setting: kind(*setting)


def _forebay(load: Load, setup: Setup, point: PricePoint | None, setting: Setting) -> Scaler:
    told = prices(load, point) if point else None
    return Forebay(setup.minimum, setup.maximum, Pace(*setting) if setting else None, told, setup.cloud)


KINDS: Final[Mapping[str, Kind]] = {
    "forebay": Kind(_forebay, (), priced=True),
    "HPA, in flight": Kind(_of(Hpa), tuple(product(LOADS, (300.0, 1200.0)))),
    "KEDA, waiting > 5": Kind(_of(Keda), tuple(product((1.0, 2.0, 5.0, 10.0, 20.0, 40.0), (300.0, 1200.0)))),
    "Knative KPA": Kind(_of(Kpa), tuple(product(LOADS, (60.0, 300.0)))),
    "Ray Serve": Kind(
        _of(RayServe), tuple((load, *delays) for load, delays in product(LOADS, ((30.0, 600.0), (120.0, 1200.0))))
    ),
    "SkyServe": Kind(
        _of(SkyServe), tuple((load, *delays) for load, delays in product(LOADS, ((300.0, 1200.0), (120.0, 600.0))))
    ),
    "static": Kind(_static, tuple((float(size),) for size in range(1, 13))),
}
OURS: Final = "forebay"
