"""GET /v1/models: every name of the routing table that a client may use."""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from forebay.resources.access_log import AccessLogEntry
from forebay.resources.reasons import Reason
from forebay.resources.table import PoolEntry, RoutingTable
from forebay.router.context import Context
from forebay.router.dialect.answers import identity, no_model, refusal
from forebay.router.http.message import json_reply
from forebay.router.http.values import Reply
from forebay.rules.endpoints import MODELS

AUTO: Final = "auto"


def answers(method: str, target: str) -> bool:
    """Whether a request asks for models; one model's name may hold slashes, encoded or not."""
    return target.startswith(MODELS) and method in ("GET", "HEAD") and (target == MODELS or target[len(MODELS)] == "/")


def reply(
    context: Context, record: AccessLogEntry, target: str, lost: Callable[[str, str], bool] = lambda _pool, _name: False
) -> Reply:
    """The list, or the one that the path names; 404 when nobody here serves it. `lost`: no engine there has it."""
    entries = _entries(context.table.table, int(context.started), lost)
    if target == MODELS:
        return json_reply(
            msgspec.json.encode({"object": "list", "data": [*entries.values()]}), headers=identity(record)
        )
    name = unquote(target[len(MODELS) + 1 :])
    if name in entries:
        return json_reply(msgspec.json.encode(entries[name]), headers=identity(record))
    return refusal(record, 404, Reason.MODEL_NOT_FOUND, no_model(name))


def _entries(table: RoutingTable, created: int, lost: Callable[[str, str], bool]) -> dict[str, dict[str, Any]]:
    """By name; of several pools with the same name the first one counts."""
    entries = {AUTO: _entry(AUTO, created)}
    for pool in table.pools:
        for name in pool.served_names:
            if not lost(pool.name, name):
                entries.setdefault(name, _entry(name, created, pool))
    return entries


def _entry(name: str, created: int, pool: PoolEntry | None = None) -> dict[str, Any]:
    """As OpenAI's clients read it, with vLLM's `max_model_len` where the pool's context length is known."""
    entry: dict[str, Any] = {"id": name, "object": "model", "created": created, "owned_by": "forebay"}
    if pool is not None and pool.context_tokens is not None:
        entry["max_model_len"] = pool.context_tokens
    return entry
