"""Prompt files: text with a prompt per line, JSON lines, or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.message import Message
from pellucid_webui.conversations.conversation import ASSISTANT, SYSTEM, USER
from pellucid_webui.conversations.encodable_text import encodable

MAX_FILE_BYTES = 4_000_000

MAX_PROMPTS = 5000

PROMPT, MESSAGES, REFERENCE = "prompt", "messages", "reference"

KINDS = (
    "Choose a .txt file with one prompt a line, a .jsonl file with prompt or messages, "
    "or a .csv file with a column prompt."
)

_ROLES = (SYSTEM, USER, ASSISTANT)

_DELIMITERS = ",;\t"

_MAX_LISTED = 5

_MAX_SHOWN = 60


@dataclass(frozen=True, slots=True)
class FilePrompt:
    """A prompt, the messages before, and the expected answer, if any."""

    prompt: str
    line: int = 0
    history: tuple[Message, ...] = ()
    reference: str = ""


@dataclass(frozen=True, slots=True)
class PromptFile:
    name: str
    prompts: Sequence[FilePrompt]


class _WrongLineError(Exception):
    """A line with an error."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


_Line = FilePrompt | _WrongLineError


def read_prompts(name: str, text: str) -> list[FilePrompt]:
    """Raise InvalidRequestError, with a list of wrong lines, for an invalid file."""
    kinds: Mapping[str, Callable[[str], Iterator[_Line]]] = {
        ".txt": _of_text,
        ".jsonl": _of_json,
        ".ndjson": _of_json,
        ".csv": _of_csv,
    }
    read = kinds.get(PurePosixPath(name).suffix.lower())
    if read is None:
        raise InvalidRequestError(f"{name} cannot be read as prompts by its name. {KINDS}")
    lines = list(read(text))
    wrong = [one for one in lines if isinstance(one, _WrongLineError)]
    if wrong:
        raise InvalidRequestError(f"{name} was not used. {_listed(wrong)} Mend the file and choose it again.")
    found = [one for one in lines if isinstance(one, FilePrompt)]
    if not found:
        raise InvalidRequestError(f"{name} has no prompts. {KINDS}")
    if len(found) > MAX_PROMPTS:
        raise InvalidRequestError(
            f"{name} has {len(found)} prompts, and a batch has at most {MAX_PROMPTS}: split the file."
        )
    return found


def _listed(wrong: Sequence[_WrongLineError]) -> str:
    shown = " ".join(f"Line {one.line}: {one}." for one in wrong[:_MAX_LISTED])
    more = len(wrong) - _MAX_LISTED
    return shown if more <= 0 else f"{shown} {more} more {'line is' if more == 1 else 'lines are'} wrong."


def _of_text(text: str) -> Iterator[_Line]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield FilePrompt(encodable(line.strip()), number)


def _of_json(text: str) -> Iterator[_Line]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield _of_record(number, json.loads(line))
        except _WrongLineError as error:
            yield error
        except (ValueError, RecursionError) as error:
            yield _WrongLineError(number, f"this is not JSON ({error})")


def _of_record(line: int, record: object) -> FilePrompt:
    if not isinstance(record, dict):
        raise _WrongLineError(
            line, f"a line is a JSON object such as {{{json.dumps(PROMPT)}: …}}, not {_shown(record)}"
        )
    if (PROMPT in record) == (MESSAGES in record):
        has = "both" if PROMPT in record else f"neither; it has {', '.join(map(_shown, record)) or 'no keys'}"
        raise _WrongLineError(line, f"a line has either {PROMPT} or {MESSAGES}, and this one has {has}")
    reference = record.get(REFERENCE, "")
    if not isinstance(reference, str):
        raise _WrongLineError(line, f"{REFERENCE} must be text, not {_shown(reference)}")
    if PROMPT in record:
        return FilePrompt(_prompt(line, record[PROMPT]), line, (), encodable(reference))
    *history, last = _messages(line, record[MESSAGES])
    if last.role != USER:
        raise _WrongLineError(
            line, f"the last message is the one to answer, so it must have the role {USER}, not {last.role}"
        )
    return FilePrompt(_prompt(line, last.content), line, tuple(history), encodable(reference))


def _messages(line: int, found: object) -> list[Message]:
    if not isinstance(found, list) or not found:
        raise _WrongLineError(line, f"{MESSAGES} must be a list of messages, not {_shown(found)}")
    messages = []
    for number, one in enumerate(found, 1):
        role, content = (one.get("role"), one.get("content")) if isinstance(one, dict) else (None, None)
        if role not in _ROLES:
            raise _WrongLineError(
                line, f"message {number} must have a role, one of {', '.join(_ROLES)}, not {_shown(role)}"
            )
        if not isinstance(content, str):
            raise _WrongLineError(line, f"the content of message {number} must be text, not {_shown(content)}")
        if role == SYSTEM and number > 1:
            raise _WrongLineError(
                line, f"message {number} has the role {SYSTEM}, which only the first message can have"
            )
        messages.append(Message(role, encodable(content)))
    return messages


def _of_csv(text: str) -> Iterator[_Line]:
    found = list(_rows(text, _delimiter(text)))
    if not found:
        return
    line, head = found[0]
    if isinstance(head, str):
        yield _WrongLineError(line, head)
        return
    names = [_name(cell) for cell in head]
    if PROMPT not in names:
        yield _WrongLineError(line, f"there is no column {PROMPT} among the columns {', '.join(map(_shown, head))}")
        return
    for line, cells in found[1:]:
        try:
            yield _of_cells(line, names, cells)
        except _WrongLineError as error:
            yield error


def _of_cells(line: int, names: Sequence[str], cells: list[str] | str) -> FilePrompt:
    if isinstance(cells, str):
        raise _WrongLineError(line, cells)
    if len(cells) > len(names):
        raise _WrongLineError(
            line,
            f"it has more cells than the head, {len(cells)} instead of {len(names)}; "
            "put texts that have commas in quotes",
        )
    row = dict(zip(names, cells, strict=False))
    return FilePrompt(_prompt(line, row.get(PROMPT, "")), line, (), encodable(row.get(REFERENCE, "")))


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """Yield (first line, cells or error) for each row that is not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, f"this is not CSV ({error})"
            return
        if any(cell.strip() for cell in cells):
            yield line, cells


def _delimiter(text: str) -> str:
    """Return the delimiter that yields a prompt column; spreadsheets differ."""
    for delimiter in _DELIMITERS:
        _, head = next(_rows(text, delimiter), (0, ""))
        if not isinstance(head, str) and PROMPT in map(_name, head):
            return delimiter
    return _DELIMITERS[0]


def _name(cell: str) -> str:
    return cell.strip().lower()


def _prompt(line: int, found: object) -> str:
    if not isinstance(found, str):
        raise _WrongLineError(line, f"the {PROMPT} must be text, not {_shown(found)}")
    if not found.strip():
        raise _WrongLineError(line, f"the {PROMPT} is empty")
    return encodable(found)


def _shown(found: object) -> str:
    shown = encodable(found if isinstance(found, str) else json.dumps(found, ensure_ascii=False))
    return shown if len(shown) <= _MAX_SHOWN else shown[: _MAX_SHOWN - 1] + "…"
