"""Trees of an answer's JSON values and tool calls with probabilities."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pellucid.system.common_prefix import common_prefix
from pellucid_webui.conversations.answer_details import StoredArgument, StoredCall, StoredDetails, StoredField

MAX_ROWS = 1000

Details = StoredField | StoredArgument
Row = dict[str, Any]


def trees(text: str, details: StoredDetails) -> list[dict[str, Any]]:
    """Return the trees of the JSON answer in ``text`` and of each call."""
    answers = [{"title": "Values", "remarks": [], **_tree(text, details.fields)}] if details.fields else []
    return [*answers, *(_call(call) for call in details.calls)]


def _call(call: StoredCall) -> dict[str, Any]:
    complete = "complete" if call.complete else "incomplete: its arguments are not a JSON object"
    enforced = "arguments held to the schema" if call.enforced else "arguments not held to the schema"
    tree = _tree(call.arguments, call.fields)
    if not tree["rows"]:
        # The arguments, as far as they were generated.
        tree["rows"] = [_row(1, "", call.arguments, None, is_open=False)]
    return {"title": call.name, "isCall": True, "remarks": [complete, enforced], **tree}


def _tree(text: str, fields: tuple[StoredField, ...] | tuple[StoredArgument, ...]) -> dict[str, Any]:
    by_path: dict[str, Details] = {field.path: field for field in fields}
    rows: list[Row] = []
    for row in _rows(text, by_path):
        if len(rows) == MAX_ROWS:
            return {"rows": rows, "isCut": True}
        rows.append(row)
    return {"rows": rows, "isCut": False}


def _rows(text: str, fields: Mapping[str, Details]) -> Iterator[Row]:
    """Yield a row for each JSON key, item and value; if incomplete, for known values."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        yield from _known_rows(fields)
        return
    pending: list[tuple[int, str, str, Any]] = [(0, "", "", whole)]
    while pending:
        level, key, path, value = pending.pop()
        inner: list[tuple[str, str, Any]] = []
        if isinstance(value, dict):
            inner = [(str(name), name.replace("~", "~0").replace("/", "~1"), one) for name, one in value.items()]
        elif isinstance(value, list):
            inner = [(f"[{index}]", str(index), one) for index, one in enumerate(value)]
        if level or not inner:  # An object or array that is the whole answer has no row.
            yield _row(
                max(level, 1), key, f"{_size(value)}" if inner else _shown(value), fields.get(path), is_open=bool(inner)
            )
        pending += [(level + 1, name, f"{path}/{step}", one) for name, step, one in reversed(inner)]


def _known_rows(fields: Mapping[str, Details]) -> Iterator[Row]:
    """Yield the rows of values with details, and of enclosing objects and arrays."""
    above: list[str] = []
    for path, field in fields.items():
        steps = path.split("/")[1:]
        common = common_prefix(above, steps[:-1])
        for level, step in enumerate(steps[common:-1], common + 1):
            yield _row(level, _unescaped(step), "", None, is_open=True)
        above = steps[:-1]
        value = _shown(field.value) if isinstance(field, StoredField) else ""
        yield _row(max(len(steps), 1), _unescaped(steps[-1]) if steps else "", value, field, is_open=False)


def _row(level: int, key: str, value: str, details: Details | None, *, is_open: bool) -> Row:
    row: Row = {"level": level, "key": key, "value": value, "isOpen": is_open}
    if details is not None:
        row |= {"probability": details.probability, "tokens": details.tokens}
    if isinstance(details, StoredField):
        row["mass"] = details.mass
        if details.other is not None:
            row["other"] = {"value": _shown(details.other.value), "probability": details.other.probability}
    return row


def _size(value: object) -> str:
    assert isinstance(value, dict | list)
    unit = "key" if isinstance(value, dict) else "item"
    return f"1 {unit}" if len(value) == 1 else f"{len(value)} {unit}s"


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _unescaped(step: str) -> str:
    return step.replace("~1", "/").replace("~0", "~")
