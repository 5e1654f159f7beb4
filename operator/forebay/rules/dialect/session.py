"""Which conversation a request belongs to."""

from typing import Any

from forebay.rules.affinity import KEY_BYTES, session_key
from forebay.rules.dialect.parsed_request import ParsedRequest
from forebay.rules.dialect.prompt_text import opening


def session_of(parsed: ParsedRequest) -> bytes:
    """What identifies a request's session. Made when asked for: only who chooses among replicas needs it."""
    if parsed.session:
        return parsed.session[:KEY_BYTES]
    key = _named(parsed.document)
    return session_key(None, key if isinstance(key, str) else None, parsed.client, *opening(parsed.document))


def _named(document: dict[str, Any]) -> Any:
    """The session as the body names it. Agents on Anthropic's API put it into `metadata.user_id`, which is otherwise a
    user: one replica for all that a user does would be none for a service with one user."""
    if (key := document.get("prompt_cache_key")) is not None:
        return key
    metadata = document.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    return user if isinstance(user, str) and "session" in user else None
