"""/v1/rerank and /v1/score as vLLM answers them: a number for each text, by the words that it shares with the other."""

from typing import Any

from forebay.simulator.api import NO_DETAILS, prompt_tokens, usage


def rerank(identity: str, created: int, model: str, document: dict[str, Any]) -> dict[str, Any]:
    """Documents of a query, the nearest first."""
    del created
    texts = _texts(document.get("documents"))
    query = _texts(document.get("query"))[0]
    results = [
        {"index": index, "document": {"text": text, "multi_modal": None}, "relevance_score": _nearness(query, text)}
        for index, text in enumerate(texts)
    ]
    results.sort(key=lambda result: -float(str(result["relevance_score"])))
    count = _tokens([query, *texts])
    wanted = document.get("top_n") or len(results)
    return {"id": f"rerank-{identity}", "model": model, "usage": {"prompt_tokens": count, "total_tokens": count},
            "results": results[:wanted]}  # fmt: skip


def score(identity: str, created: int, model: str, document: dict[str, Any]) -> dict[str, Any]:
    """Pairs of texts, or one with each of several."""
    first = _texts(document.get("text_1", document.get("queries", document.get("data_1"))))
    second = _texts(document.get("text_2", document.get("documents", document.get("data_2"))))
    firsts = first * len(second) if len(first) == 1 else first
    data = [
        {"index": index, "object": "score", "score": _nearness(one, two)}
        for index, (one, two) in enumerate(zip(firsts, second, strict=False))
    ]
    counted = {**usage(_tokens([*firsts, *second]), 0), **NO_DETAILS}
    return {"id": f"score-{identity}", "object": "list", "created": created, "model": model, "data": data,
            "usage": counted}  # fmt: skip


def _texts(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [str(item.get("text", "")) if isinstance(item, dict) else str(item) for item in items]


def _nearness(one: str, two: str) -> float:
    """Share of the words that both have."""
    left, right = set(one.lower().split()), set(two.lower().split())
    return round(len(left & right) / max(1, len(left | right)), 4)


def _tokens(texts: list[str]) -> int:
    return prompt_tokens({"prompt": texts})
