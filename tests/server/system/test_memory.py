"""The free memory of a container."""

from __future__ import annotations

from pathlib import Path

from pellucid.system.memory import left_in_group


def test_the_limit_of_a_container(tmp_path: Path) -> None:
    """A limit counts from the use of the group without cached files; no limit is None."""
    own, group = tmp_path / "own", tmp_path / "system.slice" / "pellucid"
    group.mkdir(parents=True)
    own.write_text("0::/system.slice/pellucid\n")
    assert left_in_group(own, tmp_path) is None

    (group / "memory.current").write_text("700\n")
    (group / "memory.stat").write_text("anon 300\nfile 350\ninactive_file 200\nactive_file 100\n")
    for limit, left in (("max", None), ("1000", 600)):
        (group / "memory.max").write_text(f"{limit}\n")
        assert left_in_group(own, tmp_path) == left
