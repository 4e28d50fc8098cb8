"""Uses of a name that an edit renamed, without different things of the same name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pellucid.completion.edits.bindings import ASSIGNED, Binding, bindings
from pellucid.completion.edits.code_tokens import depth, is_compound
from pellucid.completion.edits.code_view import CodeView, Role

_DATA = "yaml yml json toml ini html xml svg css scss less md txt rst csv"
DATA = frozenset(_DATA.split())
"""Suffixes of documents without scopes."""

_IMPLICIT = "java cs cpp cc cxx hpp h kt swift scala dart sql"
IMPLICIT = frozenset(_IMPLICIT.split())
"""Languages in which the members of a class are used without a word or sign before."""

_OWN = re.compile(r"(?:\b(?:self|this)\s*(?:\.|->)|@|::)\s*\Z")
_MEMBER = re.compile(r"(?:(?<!\.)\.|->|::|\?\.|@)\s*\Z")


@dataclass(frozen=True, slots=True)
class Use:
    """A place of the old name. ``is_sure``: only the renamed thing can be meant."""

    line: int
    column: int
    is_sure: bool


def uses(view: CodeView, old: str, new: str, edited: range) -> list[Use] | None:
    """Return where the old name has to follow; None if this document does not define the new name.

    ``edited``: the lines of the user's edit.
    """
    if view.language in DATA:
        return None
    defined = _definition(list(bindings(view, new)), edited)
    if defined is None:
        return None
    rivals = list(bindings(view, old))
    if defined.line not in edited and any(edited.start in one.scope for one in rivals):
        return None  # A thing was replaced, not renamed
    rename = _Rename(view, defined, rivals)
    made = [place for place in view.occurrences(new) if place[0] in edited]
    if not any(place == (defined.line, defined.column) or rename.use(place) for place in made):
        return None
    return [use for use in map(rename.use, view.occurrences(old)) if use is not None]


def foreign(view: CodeView, old: str) -> Iterator[range]:
    """Yield the lines where a name has a definition in this document."""
    if view.language not in DATA:
        for one in bindings(view, old):
            if not (one.is_member or _is_imported(view, one)):
                yield one.scope


def _is_imported(view: CodeView, binding: Binding) -> bool:
    return re.match(r"\s*(?:import|from|use|using|require)\b", view.code[binding.line]) is not None


def _definition(found: Sequence[Binding], edited: range) -> Binding | None:
    """Return the likeliest definition of the new name for an edit."""
    seen = [one for one in found if one.line in edited or (edited.start in one.scope)]
    return min(
        seen, key=lambda one: (one.line not in edited, len(one.scope), abs(one.line - edited.start)), default=None
    )


@dataclass(frozen=True, slots=True)
class _Rename:
    view: CodeView
    defined: Binding
    rivals: Sequence[Binding]

    def use(self, place: tuple[int, int]) -> Use | None:
        """Return a place of the old name as a use of the renamed thing, or None."""
        line, column = place
        defined, view = self.defined, self.view
        if line not in defined.scope:
            return None
        role = view.role(line, column)
        code = view.code[line]
        name = re.match(r"\w+", view.lines[line][column:])
        if name is None:
            return None
        if role is not Role.CODE:
            return Use(line, column, is_sure=False) if is_compound(name[0]) else None
        before, after = code[:column], code[column + name.end() :]
        through = _MEMBER.search(before) is not None
        shadows = [one for one in self.rivals if self._shadows(one, line)]
        if defined.is_member:
            own = _OWN.search(before) is not None
            if any(one.is_local for one in shadows) and not through:
                return None
            if any(one.is_member for one in shadows) and (own or not through):
                return None
            is_binding = any((one.line, one.column) == place for one in self.rivals)
            is_key = view.language in ("go", "rs", "swift") and self._is_key(before, after)
            if not (through or is_key or is_binding or view.language in IMPLICIT):
                return None
            called = after.lstrip().startswith("(")
            return Use(line, column, self._is_only() and called <= defined.is_called)
        if through or shadows or self._is_key(before, after) or (depth(before) > 0 and re.match(r"\s*=(?!=)", after)):
            return None
        return Use(line, column, self._is_only())

    def _shadows(self, rival: Binding, line: int) -> bool:
        """Return whether the old name means something else in a line, within the scope."""
        if rival.is_member and not self.defined.is_local:
            return line in self._class_of(rival) and not self._is_kin(rival)
        return (
            rival.is_local
            and line in rival.scope
            and rival.scope != self.defined.scope
            and not (self.defined.line in rival.scope and rival.form == ASSIGNED)
        )

    def _class_of(self, member: Binding) -> range:
        outer = self.view.enclosing(member.line)
        while outer is not None and not self.view.is_class(outer):
            outer = self.view.enclosing(outer)
        return range(0) if outer is None else self.view.block(outer)

    def _is_kin(self, rival: Binding) -> bool:
        """Return whether a member is of the renamed member's class, or of a derived class."""
        own, other = self._class_of(self.defined), self._class_of(rival)
        if self.defined.line in other or not own:
            return True
        name = re.search(r"(?:class|interface|trait|struct|protocol)\s+(\w+)", self.view.code[own.start])
        return name is not None and re.search(rf"\b{name[1]}\b", self.view.code[other.start]) is not None

    def _is_only(self) -> bool:
        """Return whether the old name has no definition left that may be meant.

        An import of another name has replaced the thing, not renamed.
        """
        defined = self.defined
        if defined.form == "imported":
            return False
        for rival in self.rivals:
            if defined.is_local:
                if rival.scope == defined.scope and rival.form != ASSIGNED:
                    return False
            elif defined.is_member:
                if rival.is_member and not self._is_kin(rival):
                    return False
            elif not rival.is_local and not rival.is_member:
                return False
        return True

    def _is_key(self, before: str, after: str) -> bool:
        """Return whether a name is the key of a literal, or a name of both key and value."""
        is_first = re.search(r"(?:^|[{,])\s*\Z", before) is not None
        return is_first and (re.match(r"\s*:(?!:)", after) is not None or self._is_shorthand(before, after))

    def _is_shorthand(self, before: str, after: str) -> bool:
        if self.view.language not in ("js", "jsx", "ts", "tsx", "mjs", "rs"):
            return False
        inner = before[before.rfind("{") :] if before.rfind("{") > before.rfind("}") else ""
        return "{" in inner and depth(inner) == 1 and re.match(r"\s*[,}]", after) is not None
