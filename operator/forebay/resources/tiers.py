"""Where a policy says what a tier may use: the one place that knows the fields of the tiers.

A custom resource and the routing table have a field for each tier; everything else asks by `Tier`, or iterates over it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from forebay.resources.terms import Tier

TARGET_FIELDS: Final[Mapping[Tier, str]] = MappingProxyType({Tier.PRIMARY: "primary", Tier.SECONDARY: "secondary"})
"""The field of `PolicySpec` and `PolicyEntry` that holds a tier's provider models, in order."""
