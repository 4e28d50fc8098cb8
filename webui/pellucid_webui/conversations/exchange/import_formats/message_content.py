"""Message contents in OpenAI's style: text, or a list of parts."""

from __future__ import annotations

from pellucid.errors import InvalidRequestError
from pellucid_webui.conversations.exchange.import_formats.foreign_conversation import LeftOut, member

TEXTS = ("text", "input_text", "output_text", "refusal")

MEDIA = {
    "image_url": "image",
    "input_image": "image",
    "image": "image",
    "image_asset_pointer": "image",
    "input_audio": "recording",
    "audio": "recording",
    "audio_asset_pointer": "recording",
    "real_time_user_audio_video_asset_pointer": "recording",
    "file": "file",
    "input_file": "file",
    "document": "file",
}

TOOLS = ("tool_use", "tool_result", "tool_call", "function_call", "function_call_output")


def text_of(content: object, left_out: LeftOut) -> str:
    """Return the text of a content; count and note parts that are not text."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidRequestError("The content of a message is neither text nor a list of parts.")
    texts: list[str] = []
    media: list[str] = []
    for part in content:
        kind = member(part, "type") or member(part, "content_type")
        if isinstance(part, str):
            texts.append(part)
        elif kind in TEXTS or kind == "audio_transcription":
            texts.append(_string(member(part, "refusal") if kind == "refusal" else member(part, "text")))
        elif kind in TOOLS:
            left_out.tools()
        else:
            media.append(MEDIA.get(kind, "other part") if isinstance(kind, str) else "other part")
            left_out.media(media[-1])
    text = "\n\n".join(part for part in texts if part)
    return text if text or not media else f"[{media[0]} left out]"


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidRequestError("A part of the type text has no text.")
    return value
