"""The definitions in the prompt: which come, which stay, and when they change."""

from __future__ import annotations

from pathlib import Path

from pellucid.completion.context.chunk_ring import ChunkRing
from pellucid.completion.context.definition_reader import DefinitionReader, FoundDefinition, description
from pellucid.completion.context.definitions import Definition, Definitions
from pellucid.completion.context.prompt_context import PromptContext
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.settings import ContextSettings

HERE = "file:///p/main.py"


def cursor(before: str, after: str = "") -> DocumentCursor:
    return DocumentCursor(HERE, before, after, "python")


def definition(name: str, file: str = "shop.py", text: str = "") -> Definition:
    return Definition(f"file:///p/{file}", file, 3, text or f"def {name}(number, price):\n")


def adopted(definitions: Definitions, at: DocumentCursor) -> list[tuple[str, str]]:
    definitions.prepare(at)
    definitions.adopt()
    return [(one.filename, one.text) for one in definitions.chunks("", HERE)]


def test_the_nearest_names_fit() -> None:
    """Without room for all definitions, those of the names nearest to the cursor are sent."""
    definitions = Definitions(ContextSettings(definitions_tokens=30))
    names = ("total", "count_all", "average", "median")
    definitions.note(HERE, {name: [definition(name, f"{name}.py")] for name in names})
    sent = adopted(definitions, cursor("total()\ncount_all()\naverage()\nmedian("))
    assert [name for name, _ in sent] == ["average.py", "median.py"]


def test_definitions_of_a_file_are_together() -> None:
    """A file's name is once above all definitions of the file, in the order of importance."""
    definitions = Definitions(ContextSettings())
    definitions.note(HERE, {"total": [definition("total")], "tax": [definition("tax", "tax.py")], "sum": []})
    definitions.note(HERE, {"price": [definition("price")]})
    sent = adopted(definitions, cursor("price(total, tax"))
    assert sent == [
        ("shop.py", "def price(number, price):\ndef total(number, price):\n"),
        ("tax.py", "def tax(number, price):\n"),
    ]


def test_the_prompt_stays_while_definitions_are_useful() -> None:
    """New definitions are appended, and the present ones keep their places."""
    definitions = Definitions(ContextSettings())
    definitions.note(HERE, {"total": [definition("total")], "tax": [definition("tax", "tax.py")]})
    first = adopted(definitions, cursor("total("))
    version = definitions.version
    assert not definitions.prepare(cursor("x = total("))
    assert adopted(definitions, cursor("tax(")) == [*first, ("tax.py", "def tax(number, price):\n")]
    assert definitions.version == version + 1
    assert not definitions.prepare(cursor("total("))


def test_a_changed_definition_replaces_the_former() -> None:
    """After a change of a class, only the new outline is sent."""
    definitions = Definitions(ContextSettings())
    for members in ("    def add(self):\n", "    def insert(self):\n"):
        definitions.note(HERE, {"Book": [definition("Book", text=f"class Book:\n{members}")]})
        assert adopted(definitions, cursor("Book().")) == [("shop.py", f"class Book:\n{members}")]
        definitions.note_edited("file:///p/shop.py")
        assert [place.name for place in definitions.unknown(cursor("Book()."))] == ["Book"]


def test_the_own_document_defines_nothing() -> None:
    """Definitions in the document itself are not sent, but the names are not looked up again."""
    definitions = Definitions(ContextSettings())
    definitions.note(HERE, {"total": [definition("total", "main.py")]})
    assert adopted(definitions, cursor("total(")) == []
    assert definitions.unknown(cursor("total(")) == []


def test_a_document_that_was_closed() -> None:
    """The names of a closed document are looked up again when it is opened."""
    definitions = Definitions(ContextSettings())
    definitions.note(HERE, {"total": [definition("total")]})
    definitions.forget(HERE)
    assert [place.name for place in definitions.unknown(cursor("total("))] == ["total"]


def test_prompts_keep_the_former_definitions_until_adoption() -> None:
    """Prepared definitions are only in the prepared prompt; after adoption, in all prompts."""
    settings = ContextSettings()
    definitions = Definitions(settings)
    context = PromptContext(settings, ChunkRing(settings), definitions)
    at = cursor("import shop\n\nx = total(")
    assert context.prompt(at).extra == ()
    definitions.note(HERE, {"total": [definition("total")]})
    assert definitions.prepare(at)
    version, prepared = context.version, context.prepared_prompt(at)
    assert (context.prompt(at).extra, context.version) == ((), version)
    definitions.adopt()
    assert context.prompt(at) == prepared
    assert [chunk.filename for chunk in prepared.extra] == ["shop.py"]
    assert context.version > version


def test_what_the_prompt_has_already() -> None:
    """A definition is left out if the text around the cursor, or a chunk, has most of its lines."""
    settings = ContextSettings()
    ring = ChunkRing(settings)
    text = "class Book:\n    def add(self):\n        self.count += 1\n    def drop(self):\n        self.count -= 1\n"
    ring.note_open("file:///p/shop.py", "shop.py", text)
    assert ring.promote(HERE)
    definitions = Definitions(settings)
    outline = "class Book:\n    def add(self):\n    def drop(self):\n"
    definitions.note(HERE, {"Book": [definition("Book", text=outline)]})
    context = PromptContext(settings, ring, definitions)
    definitions.prepare(cursor("Book()."))
    definitions.adopt()
    assert [chunk.text for chunk in context.prompt(cursor("Book().")).extra] == [text]


def test_modules_and_descriptions() -> None:
    """A module's outline has all definitions; a description is the first code of a hover text."""
    reader = DefinitionReader([], lambda uri, text: True, lambda uri: "shop.py", 1000)
    assert reader.read(FoundDefinition("shop", "file:///p/shop.py", 0, 0, "def total(): ...\n")) is None
    assert description("\n```python\ndef total() -> int\n```\nMore.") == "def total() -> int\n"
    assert description("total\n\nMore.") == "total\n"
    assert description(" \n") == ""


def test_the_beginning_of_a_file_is_its_module(tmp_path: Path) -> None:
    """A place at the beginning means the module, unless the name is there."""
    path = tmp_path / "shop.py"
    path.write_text("LIMIT_OF_ALL = 3\n\n\ndef total(items):\n    return 1\n")
    reader = DefinitionReader([tmp_path], lambda uri, text: True, lambda uri: "shop.py", 1000)
    outlines = [reader.read(FoundDefinition(name, path.as_uri(), 0, 0)) for name in ("shop", "LIMIT_OF_ALL")]
    assert [one and one.outline for one in outlines] == ["LIMIT_OF_ALL = 3\ndef total(items):\n", "LIMIT_OF_ALL = 3\n"]
