"""Tests the bundle of the page's modules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pellucid_webui.frame.module_bundle import bundle
from support.node_modules import in_node

FILES = {
    "main.js": 'import "./late.js";\nimport { ran } from "./shared/log.js";\n'
    'export { Box } from "./shared/box.js";\nexport { unused } from "./unused.js";\nran("main");\n',
    "unused.js": 'import * as log from "./shared/log.js";\nlog.ran("unused");\nexport async function unused() {}\n',
    "late.js": 'import { Box as Crate, FULL } from "./shared/box.js";\nimport { ran } from "./shared/log.js";\n'
    "const ran2 = 1; // private, as in another module\nran(`late ${new Crate().size + FULL + ran2}`);\n",
    "shared/box.js": 'import {\n  ran,\n  log,\n} from "./log.js";\nconst ran2 = 2;\nexport const FULL = 10;\n'
    "export class Box { get size() { return log.length + ran2; } }\nran(`box`);\n",
    "shared/log.js": "/** @type {string[]} */\nexport const log = [];\nexport function ran(name) { log.push(name); }\n"
    "export function* entries() { yield* log; }\nglobalThis.log = log;\n",
}


def test_a_bundle_runs_as_its_modules(tmp_path: Path) -> None:
    """Modules run once, in the same order, with the same exports, and have names of their own."""
    bundled, apart = tmp_path / "bundle", tmp_path / "apart"
    for folder, files in ((bundled, {"main.js": bundle(FILES, "main.js")}), (apart, FILES)):
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        (folder / "package.json").write_text('{"type": "module"}')
    found = [
        in_node(
            f'import * as main from "{folder.as_uri()}/main.js";',
            "() => ({ log: globalThis.log, exports: Object.keys(main), size: new main.Box().size })",
            None,
        )
        for folder in (bundled, apart)
    ]
    assert (
        found[0] == found[1] == {"log": ["box", "late 14", "unused", "main"], "exports": ["Box", "unused"], "size": 6}
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"main.js": "export let count = 0;\n"}, "main.js: the bundle doesn't understand 'export let count = 0;'"),
        ({"main.js": 'import box from "./box.js";\n', "box.js": ""}, "doesn't understand 'import box from"),
        ({"main.js": 'import { x } from "lit";\n'}, "doesn't understand 'import { x } from \"lit\";'"),
        ({"main.js": 'import { x } from "./missing.js";\n'}, "import a missing module: main.js -> missing.js."),
        (
            {"main.js": 'import "./a.js";\n', "a.js": 'import "./b.js";\n', "b.js": 'import "./a.js";\n'},
            "import themselves in a circle: main.js -> a.js -> b.js -> a.js.",
        ),
    ],
)
def test_other_modules_are_refused(files: dict[str, str], message: str) -> None:
    """Modules with another meaning in a bundle are refused; the message names the fault."""
    with pytest.raises(ValueError, match=re.escape(message)):
        bundle(files, "main.js")
