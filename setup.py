"""The build. FOREBAY_COMPILE=1: mypyc compiles the request path, from the same source; otherwise all is pure Python."""

import os

from setuptools import setup

COMPILED = {
    "router": "attempt attempt_result engine_request fast_metrics gateway request_flow sidecar stored_responses",
    "router/dialect": "answers content error_shapes request trace_context",
    "router/http": "call client credential_names exchange framing message server",
    "router/placement": "engine_slots gateway_fleet gateway_queue pool_replicas prefill replicas slot_channel slotless",
    "rules": "accounting admission affinity api_shapes body_shapes breaker capacity credentials depths lifecycle "
    "listed_names listening more_shapes offers portability queue retry slot_reports",
    "rules/dialect": "body body_size content_parts errors form hints limits model_name outermost parse prompt_content "
    "prompt_text session task_words",
}
"""The modules of the request path, by folder. Those that define a msgspec.Struct cannot be among them."""


def extensions() -> list[object]:
    """Nothing, or one library with all the compiled modules."""
    if os.environ.get("FOREBAY_COMPILE") != "1":
        return []
    from mypyc.build import mypycify  # noqa: PLC0415 - only a compiling build needs it

    paths = [f"operator/forebay/{folder}/{name}.py" for folder, names in COMPILED.items() for name in names.split()]
    return list(mypycify(paths, opt_level="3", group_name="forebay", target_dir="build/mypyc"))


setup(ext_modules=extensions())
