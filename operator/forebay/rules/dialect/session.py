"""Which conversation a request belongs to."""

from forebay.rules.affinity import KEY_BYTES, session_key
from forebay.rules.dialect.parsed_request import ParsedRequest
from forebay.rules.dialect.prompt_text import opening


def session_of(parsed: ParsedRequest) -> bytes:
    """What identifies a request's session. Made when asked for: only who chooses among replicas needs it."""
    if parsed.session:
        return parsed.session[:KEY_BYTES]
    key = parsed.document.get("prompt_cache_key")
    return session_key(None, key if isinstance(key, str) else None, parsed.client, *opening(parsed.document))
