"""The parts of a prompt that are no text: what a model has to understand, and what no provider can be sent.

Told by their `type`, and without one by their key, in the dialects of chat, Responses and Anthropic.
"""

from typing import Any, Final

from forebay.resources.terms import Modality

TEXTUAL: Final = frozenset({
    # OpenAI's chat and Responses
    "text", "input_text", "output_text", "refusal", "reasoning", "reasoning_text", "summary_text", "message",
    "function", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output",
    "web_search_call", "file_search_call", "code_interpreter_call", "local_shell_call", "local_shell_call_output",
    "shell_call", "shell_call_output", "apply_patch_call", "apply_patch_call_output", "computer_call",
    "computer_call_output", "mcp_call", "mcp_list_tools", "mcp_approval_request", "mcp_approval_response",
    "item_reference", "logs",
    # Anthropic's
    "thinking", "redacted_thinking", "tool_use", "tool_result", "server_tool_use", "web_search_tool_result",
    "web_search_result", "search_result", "mcp_tool_use", "mcp_tool_result", "document",
})  # fmt: skip
"""Types that are text, or hold parts that are looked at themselves."""
MODALITIES: Final = {
    "image_url": Modality.IMAGE, "input_image": Modality.IMAGE, "image": Modality.IMAGE, "image_pil": Modality.IMAGE,
    "image_embeds": Modality.IMAGE, "image_file": Modality.IMAGE, "computer_screenshot": Modality.IMAGE,
    "image_generation_call": Modality.IMAGE, "input_audio": Modality.AUDIO, "audio_url": Modality.AUDIO,
    "audio": Modality.AUDIO, "audio_embeds": Modality.AUDIO,
}  # fmt: skip
"""Types, and keys of parts that name no type. A type that stands neither here nor among TEXTUAL is of unknown kind."""
MEDIA_KEYS: Final = frozenset({
    "image_url", "input_image", "image", "image_pil", "image_embeds", "input_audio", "audio_url", "audio",
    "audio_embeds", "video_url", "video", "input_video", "file", "input_file", "file_data", "prompt_embeds",
})  # fmt: skip
"""Keys whose value is no text, whatever the part calls itself."""
_FOREIGN: Final = frozenset({"audio_url", "video_url", "image_embeds", "audio_embeds", "prompt_embeds", "image_pil",
                             "file", "input_file", "item_reference"})  # fmt: skip
"""Parts that vLLM alone knows, or that name what is stored somewhere: as fields they are called `content.TYPE`."""
TEXT_ALONE: Final = frozenset({Modality.TEXT})
LONGEST_NAME: Final = 40


def foreign_part(kind: str, part: dict[str, Any]) -> str:
    """The name of what no provider can be expected to take, "" where one can."""
    if kind in _FOREIGN or (kind not in TEXTUAL and kind not in MODALITIES):
        return f"content.{kind[:LONGEST_NAME]}"
    if MODALITIES.get(kind) is not Modality.IMAGE or kind == "image_generation_call":
        return ""
    for key in ("source", "image_url", kind):  # a file, or an address that only this network may reach
        if (value := part.get(key)) is not None:
            return "" if _is_public(value) else f"content.{'image' if key == 'source' else 'image_url'}"
    return "content.image_url"


def _is_public(image: Any) -> bool:
    """Whether anybody can read this image: it is in the request, or at an https address."""
    if isinstance(image, dict):
        if image.get("type") == "base64":
            return isinstance(image.get("data"), str)
        image = image.get("url")
    return isinstance(image, str) and image.startswith(("https://", "data:"))
