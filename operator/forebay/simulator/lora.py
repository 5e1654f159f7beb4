"""LoRA adapters as vLLM lists, loads and unloads them while it runs, with its words. Any source will do."""

from collections.abc import Mapping
from typing import Any, Final

from forebay.engines import EngineType, of
from forebay.simulator import checks
from forebay.simulator.api import ApiError
from forebay.simulator.settings import Settings

ROUTES: Final = of(EngineType.SIMULATED).adapter_routes
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    ROUTES.load: ("lora_name", "lora_path"),
    ROUTES.unload: ("lora_name",),
}
"""What each route has to be told."""
NOT_ENABLED: Final = "Call to add_lora method failed: LoRA is not enabled. Use --enable-lora to enable LoRA."


class Adapters:
    """The adapters of one engine: name and source."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.loaded: dict[str, str] = dict(settings.adapters)

    def has(self, path: str) -> bool:
        """Whether this is a route that the engine has."""
        return self.settings.loads_adapters and path in FIELDS

    def change(self, path: str, document: dict[str, Any], *, missing: bool = False) -> bytes:
        """Load or unload one. `missing`: its files are not there."""
        for field in FIELDS[path]:
            if not isinstance(document.get(field), str):
                raise checks.missing(field, len(document))
        name = document["lora_name"]
        if path == ROUTES.unload:
            return self._unload(name)
        return self._load(name, document["lora_path"], missing)

    def _load(self, name: str, source: str, missing: bool) -> bytes:
        if not name or not source:
            raise _refused("Both 'lora_name' and 'lora_path' must be provided.")
        if name in self.settings.models:
            raise _refused(f"The lora adapter '{name}' conflicts with a served base model.")
        if name in self.loaded:
            words = "If you want to load the adapter in place, set 'load_inplace' to True."
            raise _refused(f"The lora adapter '{name}' has already been loaded. {words}")
        if not self.settings.lora:
            raise ApiError(500, NOT_ENABLED, "InternalServerError")
        if missing:
            raise ApiError(404, f"Loading lora {name} failed: No adapter found for {source}", "NotFoundError")
        self.loaded[name] = source
        return b"Success: LoRA adapter '%b' added successfully." % name.encode()

    def _unload(self, name: str) -> bytes:
        if not name:
            raise _refused("'lora_name' needs to be provided to unload a LoRA adapter.")
        if name not in self.loaded:
            raise ApiError(404, f"The lora adapter '{name}' cannot be found.", "NotFoundError")
        del self.loaded[name]
        return b"Success: LoRA adapter '%b' removed successfully." % name.encode()


def _refused(words: str) -> ApiError:
    return ApiError(400, words, "InvalidUserInput")
