"""Whether a provider's model can take a request at all. Its own module, because it grows with every provider."""

from forebay.resources.table import ModelEntry
from forebay.rules.facts import RequestFacts

ENGINE_ONLY_FIELDS = frozenset(
    {"guided_json", "guided_regex", "guided_choice", "guided_grammar", "min_tokens", "ignore_eos", "stop_token_ids",
     "prompt_logprobs", "repetition_penalty", "top_k", "min_p", "length_penalty", "use_beam_search", "echo",
     "add_generation_prompt", "chat_template", "documents", "structured_outputs", "bad_words", "prompt_embeds"}
)  # fmt: skip
"""Fields of vLLM's API that OpenAI-compatible providers do not know. An entry's `drop_fields` may give them up."""


def is_portable(request: RequestFacts, model: ModelEntry) -> bool:
    """Inputs, length and fields all fit, or may be dropped."""
    if not request.inputs <= frozenset(model.inputs):
        return False
    needed = request.prompt_tokens + (request.max_tokens or 1)
    if model.context_tokens is not None and needed > model.context_tokens:
        return False
    return not (request.fields & ENGINE_ONLY_FIELDS) - frozenset(model.drop_fields)
