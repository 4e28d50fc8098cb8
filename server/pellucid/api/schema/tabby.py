"""Wire shapes of Tabby's routes, for its editor plugins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from pellucid.api.schema.common import Body, ModelQuery, OnlyFalse, Reply, Temperature, Unused
from pellucid.api.schema.openai import CompletionRequest

IGNORED = "ignored"


class Declaration(Body):
    """The declaration of a name in the prefix."""

    filepath: str
    body: str


class Snippet(Declaration):
    """A part of a different file."""

    score: float = Field(description="the relevance of the snippet; the client has sorted the snippets by relevance")


class Segments(Body):
    """The text around the cursor, and further context."""

    prefix: str
    suffix: str = ""
    filepath: Annotated[str | None, Unused()] = Field(None, description=IGNORED)
    git_url: Annotated[str | None, Unused()] = Field(None, description=IGNORED)
    declarations: Annotated[list[Declaration], Field(fail_fast=True)] = Field(
        [], description="read as texts of other files, if the model has a token for files; otherwise " + IGNORED
    )
    relevant_snippets_from_changed_files: Annotated[list[Snippet], Field(fail_fast=True)] = Field(
        [], description="the most relevant first; read as declarations are"
    )
    relevant_snippets_from_recently_opened_files: Annotated[list[Snippet], Field(fail_fast=True)] = Field(
        [], description="the most relevant first; read as declarations are"
    )
    clipboard: Annotated[str | None, Unused()] = Field(
        None, description=IGNORED + ", as the clipboard may hold a secret"
    )


class DebugOptions(Body):
    """Options for tests of a server."""

    raw_prompt: None = Field(None, description="not supported: use prompt instead of segments")
    return_snippets: OnlyFalse = Field(False, description="always false")
    return_prompt: OnlyFalse = Field(False, description="always false")
    disable_retrieval_augmented_code_completion: Annotated[bool, Unused()] = Field(
        False, description=IGNORED + ": this server never searches repositories"
    )


class TabbyCompletionRequest(ModelQuery):
    """A cursor in a file, from Tabby's editor plugins. ``model`` is an extension."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"language": "python", "segments": {"prefix": "def add(a, b):\n    return ", "suffix": "\n"}}]
        }
    )

    segments: Segments
    language: Annotated[str | None, Unused()] = Field(None, description=IGNORED)
    user: Annotated[str | None, Unused()] = Field(None, description=IGNORED)
    temperature: Temperature = Field(0.0, description="0, the default, always picks the most probable token")
    seed: int | None = Field(None, ge=0, lt=2**63, description="the same seed gives the same answer")
    mode: Literal["standard"] = Field(
        "standard", description="always standard: next edits are a matter of the language server"
    )
    debug_options: DebugOptions = Field(default_factory=lambda: DebugOptions.model_validate({}))


class TabbyChoice(Reply):
    """A suggestion."""

    index: int
    text: str


class TabbyEnd(Reply):
    """Pellucid's own details of a suggestion."""

    model: str
    ignored: list[str] = Field(description="fields of the request without an effect")


class TabbyCompletionReply(Reply):
    """A suggestion in Tabby's shape."""

    id: str
    choices: list[TabbyChoice]
    pellucid: TabbyEnd


class TabbyVersion(Reply):
    """The compatible version of Tabby, and Pellucid's version.

    The remaining fields are empty, as there is no build of Tabby.
    """

    build_date: str = ""
    build_timestamp: str = ""
    git_sha: str = ""
    git_describe: str


class TabbyHealth(Reply):
    """The default model, and the machine."""

    model: str
    chat_model: str | None = None
    device: Literal["cpu", "cuda"]
    arch: str
    cpu_info: str
    cpu_count: int
    cuda_devices: list[str]
    version: TabbyVersion


class TabbyEventRequest(Body):
    """The user's reaction to a suggestion."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"type": "view", "completion_id": "cmpl-1", "choice_index": 0}]}
    )

    type: Literal["view", "select", "dismiss"]
    completion_id: str
    choice_index: int = Field(ge=0)
    view_id: str | None = Field(None, description="the id of the showing of the suggestion")
    elapsed: int | None = Field(None, ge=0, description="milliseconds since the suggestion was shown")
    select_kind: Literal["line"] | None = Field(None, description="line if only a line of the suggestion was accepted")
    user: str | None = None


class TabbySetting(Reply):
    """Settings of the server that clients follow."""

    disable_client_side_telemetry: Literal[True] = True


def _which(body: object) -> str:
    segments = body.get("segments") if isinstance(body, Mapping) else getattr(body, "segments", None)
    return "CompletionRequest" if segments is None else "TabbyCompletionRequest"


CompletionBody = Annotated[
    Annotated[CompletionRequest, Tag("CompletionRequest")]
    | Annotated[TabbyCompletionRequest, Tag("TabbyCompletionRequest")],
    Discriminator(_which),
]
"""The body of /v1/completions: Tabby's with ``segments``, otherwise OpenAI's."""
