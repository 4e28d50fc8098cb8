"""Wire shapes of /v1/edits."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from pellucid.api.schema.common import Admittance, Reply, ReplyDetails
from pellucid.api.schema.sampling import Alternatives, Temperature
from pellucid.api.schema.tokens import WrittenToken
from pellucid.api.schema.usage import UsageReply

MAX_INSTRUCTION = 20_000


class EditRequest(Admittance):
    """A selection to change by an instruction, with the whole document around the selection."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "path": "sums.py",
                    "language": "python",
                    "selection": "def add(a, b):\n    return a + b\n",
                    "instruction": "Rename the function to total.",
                }
            ]
        }
    )

    instruction: str = Field(min_length=1, max_length=MAX_INSTRUCTION, description="the change, in your own words")
    selection: str = Field(
        "",
        description="the text to change, extended to whole lines. With an empty text, the edit inserts lines above "
        "the line in which prefix ends, or replaces this line if the line is blank",
    )
    prefix: str = Field("", description="the document's text before the selection")
    suffix: str = Field("", description="the document's text after the selection")
    path: str = Field("", description="the file's name, part of the prompt")
    language: str = Field(
        "", description="the language, by its name in a Markdown fence; by default the file name's extension"
    )
    seed: int | None = Field(
        None, ge=0, lt=2**63, description="the same seed gives the same edit, a different seed perhaps a different edit"
    )
    temperature: Temperature | None = Field(
        None, description="0 always picks the most probable token; the default is 0.7 with a seed, else 0"
    )
    top_logprobs: Alternatives = Field(0, description="return this many alternatives for each token")
    stream: bool = Field(False, description="send the new lines as server-sent events, then the edit")


class EditHunk(Reply):
    """Replaced lines."""

    first: int = Field(description="the number of the first old line in the document, from 0")
    old: list[str] = Field(description="the old lines, without their ends")
    new: list[str] = Field(description="the new lines, without their ends")
    breaks_syntax: bool | None = Field(
        description="whether these lines bring a syntax error into the document; null if not known, because the "
        "language has no parser here or the document has a syntax error before"
    )
    tokens: list[WrittenToken] = Field(description="the tokens of the new lines, as they were generated")


class EditLines(Reply):
    """An event of a streamed edit: new lines, in the order of generation."""

    object: Literal["edit.lines"] = "edit.lines"
    model: str
    lines: list[str] = Field(description="whole lines without their ends, indented as the document is")


class EditReply(Reply):
    """An edit; the last event of a stream."""

    object: Literal["edit"] = "edit"
    model: str
    first: int = Field(description="the number of the first line of old in the document, from 0")
    old: str = Field(
        description="the selection, extended to whole lines, and to the document's import block if imports are added"
    )
    text: str = Field(description="the replacement of old")
    reason: str | None = Field(description="why nothing is changed, in a sentence; null if something is")
    note: str | None = Field(description="that the answer does not parse or was not checked, in a sentence; or null")
    hunks: list[EditHunk]
    usage: UsageReply
    pellucid: ReplyDetails | None = None
