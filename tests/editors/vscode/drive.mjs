// The extension in a real VS Code with a real model: trust, ghost text, the tokens, edits, marks, the status bar, off, and its server's starts.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, afterEach, before, test } from "node:test";
import { isDeepStrictEqual, promisify } from "node:util";
import { languageServers, PLAIN_WINDOW, ROOT, serve, serveCode, stop, writeSettings } from "./processes.mjs";
import { eventually, Workbench } from "./workbench.mjs";

const SHOP = `def total(items):
    return sum(item.price for item in items)


def report(orders):
    for order in orders:
        print(order.name, total(order.items))
`;

/** A file that uses what SHOP defines. */
const TILL = `from shop import total


def receipt(order):
    return f"Sum: {total(order.items)}"
`;

const CODE = `"""Statistics of lists of numbers."""


def mean(values):
    """The arithmetic mean of the values."""
    return sum(values) / len(values)


def variance(values):
    """The mean squared distance from the mean."""
`;

/** Two functions with a wrong word each: `<` in line 15, and the first `high` that is returned. */
const PRICES = `def total_price(items):
    total = 0
    for item in items:
        total += item.price * item.quantity
    return total


def average_price(items):
    return total_price(items) / len(items)


def largest(values):
    best = values[0]
    for value in values:
        if value < best:
            best = value
    return best


def clamp(value, low, high):
    if value < low:
        return high
    if value > high:
        return high
    return value
`;

const INSTRUCTION = "Rename mean to average.";

/** VS Code's names of the themes; the last is the one that the window opens with. */
const THEMES = { light: "Light Modern", contrast: "Dark High Contrast", dark: "Dark Modern" };

/** The tests build on each other in one window, as a user does. */
let folder, file, settings, workbench;
let failed = false;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "pellucid-vscode-"));
  file = path.join(folder, "project/stats.py");
  await mkdir(path.dirname(file));
  for (const name of ["stats", "instruct", ...Object.keys(THEMES), "switch", "again"]) {
    await writeFile(path.join(path.dirname(file), `${name}.py`), CODE);
  }
  for (const name of ["shop", "actions"]) {
    await writeFile(path.join(path.dirname(file), `${name}.py`), SHOP);
  }
  await writeFile(path.join(path.dirname(file), "prices.py"), PRICES);
  await writeFile(path.join(path.dirname(file), "till.py"), TILL);
  await writeFile(path.join(path.dirname(file), "broken.json"), '{"first": 1 "second": 2}\n');
  settings = {
    ...PLAIN_WINDOW,
    "pellucid.command": [path.join(ROOT, ".venv/bin/pellucid"), "lsp"],
    "pellucid.server.url": await serve(folder),
    "pellucid.server.start": false,
    "pellucid.completion.level": "eager", // so that a suggestion is shown of which the small model is not sure
    "chat.disableAIFeatures": true,
    "editor.quickSuggestions": {
      other: "off",
      comments: "off",
      strings: "off",
    },
  };
  workbench = await Workbench.open(await serveCode(folder, settings), folder);
});

after(async () => {
  await workbench?.close();
  await stop();
  if (failed) {
    console.error(`What the programs said is in ${folder}.`);
    return;
  }
  await rm(folder, { recursive: true, force: true });
});

/** Saves the file, and returns what it holds. */
async function saved(name = "stats") {
  await workbench.press("Control+s");
  await workbench.unsaved.waitFor({ state: "detached" });
  return readFile(path.join(path.dirname(file), `${name}.py`), "utf8");
}

/** Sets how sure the model has to be by the status bar's menu. */
async function setLevel(level) {
  await workbench.status.click();
  await workbench.choice(level).waitFor();
  await workbench.screenshot("menu-dark");
  await workbench.choice(level).click();
  await eventually(
    async () => (await workbench.settings())["pellucid.completion.level"],
    (set = "normal") => set === level.toLowerCase(), // the default is not written
  );
}

/** A test that needs those before it to have passed. */
function step(name, run) {
  test(name, (context) => (failed ? context.skip("an earlier test failed") : run()));
}

afterEach(async (context) => {
  if (!context.passed && !failed) {
    failed = true;
    await workbench.screenshot(`failed-${context.name.replace(/\W+/g, "-")}`);
    await workbench.run("Notifications: Show Notifications");
    console.error(`Notifications: ${JSON.stringify(await workbench.notes.allInnerTexts())}`);
  }
  assert.deepEqual(await workbench.errors.allTextContents(), []);
});

/** The id of the only language server that runs, once it is another one than before and says that it is ready. */
async function startedInPlaceOf(former) {
  const [id] = await eventually(
    () => languageServers(folder),
    (ids) => ids.length === 1 && ids[0] !== former,
  );
  await workbench.status.locator(".codicon-eye").waitFor();
  return id;
}

step("granting trust to the folder starts one language server in place of the former, without an error", async () => {
  await workbench.page.getByText("Restricted Mode is intended for safe code browsing").waitFor();
  const untrusted = await startedInPlaceOf(undefined);
  await workbench.run("Workspaces: Manage Workspace Trust");
  await workbench.page.getByRole("button", { name: "Trust", exact: true }).click();
  await startedInPlaceOf(untrusted);
  await workbench.screenshot("trusted-dark");
  await workbench.run("View: Close Editor");
});

step("ghost text appears after typing, and the status bar says how long it took", async () => {
  await workbench.status.locator(".codicon-eye").waitFor();
  await workbench.edit("stats.py");
  await workbench.type("    m");
  await workbench.ghost.waitFor();
  await eventually(
    () => workbench.status.textContent(),
    (text) => /Pellucid \d+ ms/.test(text),
  );
  await workbench.screenshot("ghost-dark");
});

step("the token view shows every token of the suggestion with its probability", async () => {
  await workbench.showTokens();
  const labels = await workbench.chips.evaluateAll((chips) => chips.map((chip) => chip.ariaLabel));
  assert.ok(labels.length > 1);
  labels.forEach((label) => assert.match(label, /^token .+, <?[\d.]+ percent, rank \d+$/));
  (await workbench.chips.allTextContents()).forEach((chip) => assert.match(chip, /<?[\d.]+%$/));
});

step("Tab accepts, and the saved file holds exactly the suggestion", async () => {
  const suggested = await workbench.suggested();
  await workbench.press("Escape");
  await workbench.ghost.waitFor();
  await workbench.press("Tab");
  await workbench.unsaved.waitFor();
  assert.equal(await saved(), `${CODE}    m${suggested}`);
});

step("with the keyboard alone a token's alternatives open, the suggestion continues from one of them, and is inserted", async () => {
  await workbench.press("Control+End", "Enter");
  await workbench.type("total = s");
  await workbench.ghost.waitFor();
  const before = await saved();
  await workbench.showTokens();
  const first = await workbench.suggested();
  await workbench.press("ArrowRight", "Enter");
  await workbench.focused(workbench.alternatives);
  const bars = await workbench.bars.allTextContents();
  assert.ok(bars.length >= 3);
  bars.forEach((bar) => assert.match(bar, /<?[\d.]+%$/));
  await workbench.screenshot("alternatives-dark");
  await workbench.press("Enter");
  const other = await eventually(
    () => workbench.suggested(),
    (text) => text !== "" && text !== first,
  );
  await workbench.screenshot("branch-dark");
  await workbench.press("Control+Enter");
  await workbench.unsaved.waitFor();
  assert.equal(await saved(), before + other);
});

step("the explanation says why, and what the model read", async () => {
  await workbench.run("Pellucid: Explain the Last Suggestion");
  await workbench.page.getByRole("tab", { name: /Explanation/ }).waitFor();
  const preview = await eventually(
    () => workbench.frameWith("Place:"),
    (frame) => frame !== undefined,
  );
  assert.match(await preview.locator("body").innerText(), /stats\.py:\d+:\d+/);
  assert.equal(await preview.getByRole("heading", { name: "Tokens" }).count(), 1);
  await workbench.screenshot("explanation-dark");
  await workbench.run("View: Close Editor");
});

step("the status bar's tooltip names the model and its server", async () => {
  await workbench.status.hover();
  const tooltip = workbench.page.locator(".monaco-hover").filter({ hasText: "Model" });
  await tooltip.waitFor();
  assert.match(await tooltip.innerText(), /qwen2\.5-coder-0\.5b-instruct[^]*http:\/\/127\.0\.0\.1:\d+[^]*\d+ ms[^]*\d+ accepted/);
  await workbench.screenshot("tooltip-dark");
  await workbench.press("Escape");
});

step("the status bar's menu sets how sure the model has to be", async () => {
  await setLevel("Normal");
  await setLevel("Eager");
});

step("after a rename the next edit is marked; and one key goes there and makes it", async () => {
  await workbench.edit("shop.py");
  await workbench.press("Control+Home", "Control+ArrowRight", "Control+Shift+ArrowRight");
  await workbench.type(" amount_due");
  await eventually(
    () => workbench.atLineEnds("order.name, total"),
    (text) => /amount_due\(order\.items\).*\d+ %/.test(text),
  );
  await workbench.screenshot("next-edit-dark");
  await workbench.press("Alt+n", "Alt+n");
  await workbench.unsaved.waitFor();
  const renamed = SHOP.replaceAll("total(", "amount_due(");
  await eventually(
    () => saved("shop"),
    (text) => text === renamed,
  );
});

step("when a file has no further place, one in another file is named, the same key opens it, and the list has it", async () => {
  await eventually(
    () => workbench.atLineEnds(),
    (text) => /till\.py:\d.*amount_due.*\d+ %/.test(text),
  );
  await workbench.screenshot("next-edit-elsewhere-dark");
  await workbench.press("Alt+n");
  await workbench.page.locator(".tab.active", { hasText: "till.py" }).waitFor();
  await workbench.edit("shop.py");
  await workbench.run("Pellucid: List the Next Edits");
  const place = workbench.choice("till.py");
  await place.waitFor();
  await workbench.screenshot("next-edits-dark");
  assert.match(await place.innerText(), /amount_due[^]*till\.py:\d\s+\d+ %/);
  await place.click();
  await workbench.page.locator(".tab.active", { hasText: "till.py" }).waitFor();
});

step("in the other file the edit is marked, and the key makes it", async () => {
  await eventually(
    () => workbench.atLineEnds(),
    (text) => text.includes("amount_due"),
  );
  await workbench.press("Alt+n");
  await workbench.unsaved.waitFor();
  await eventually(
    () => workbench.atLineEnds(),
    (text) => text.includes("amount_due(order"),
  );
  await workbench.press("Alt+n", "Alt+n");
  await eventually(
    () => saved("till"),
    (text) => text === TILL.replaceAll("total", "amount_due"),
  );
});

step("the explanation of next edits says why each change is suggested or not", async () => {
  await workbench.run("Pellucid: Explain the Next Edits");
  await workbench.page.getByRole("tab", { name: /next edits/ }).waitFor();
  const preview = await eventually(
    () => workbench.frameWith("Next edits in"),
    (frame) => frame !== undefined,
  );
  assert.match(await preview.locator("body").innerText(), /repeated nowhere in this document|changes found are suggested/);
  await workbench.screenshot("explained-edits-dark");
  await workbench.run("View: Close Editor");
});

step("an edit by instruction is compared with the old text, and Escape leaves everything as it was", async () => {
  await workbench.page.getByRole("treeitem", { name: "instruct.py" }).click(); // in a preview tab, as a single click opens it
  await workbench.page.locator(".tab.active", { hasText: "instruct.py" }).waitFor();
  await workbench.page.locator(".monaco-editor .view-line").first().click();
  await workbench.select(4, 6);
  const before = await eventually(
    () => workbench.place(),
    ({ cursor }) => /^Ln 7, .* selected/.test(cursor),
  );
  await workbench.instruct(INSTRUCTION);
  await workbench.boxAsks("Space marks");
  for (const row of await workbench.rows.allInnerTexts()) {
    assert.match(row, /^Lines? \d+/);
    assert.doesNotMatch(row, /%|breaks the syntax/);
  }
  assert.ok(await workbench.page.locator(".monaco-diff-editor .modified .line-insert").count());
  await workbench.screenshot("instruction-dark");
  await workbench.press("Escape");
  await eventually(
    () => workbench.place(),
    (now) => isDeepStrictEqual(now, before),
  );
  await workbench.focused(workbench.page.locator(".monaco-editor .native-edit-context").first());
});

step("Escape also ends an edit that the model still writes", async () => {
  const before = await workbench.place();
  await workbench.instruct("Write this as a loop.");
  await workbench.boxAsks("Writing");
  await workbench.press("Escape");
  await eventually(
    () => workbench.place(),
    (now) => isDeepStrictEqual(now, before),
  );
});

step("the last instructions are kept, another seed asks again, and the box without a mark changes nothing", async () => {
  const before = await workbench.place();
  await workbench.askForInstruction();
  assert.deepEqual(await workbench.rows.allInnerTexts(), ["Write this as a loop.", INSTRUCTION]);
  await workbench.press("ArrowDown", "Enter");
  await workbench.boxAsks("Space marks");
  await workbench.press("Shift+Tab", "Shift+Tab", "Enter");
  await workbench.boxAsks("Writing");
  await workbench.page.locator('input[placeholder^="Writing"]').waitFor({ state: "hidden" });
  await workbench.press("Escape"); // of a choice, or of nothing if this seed changes nothing
  await eventually(
    () => workbench.place(),
    ({ tabs, unsaved }) => isDeepStrictEqual([tabs, unsaved], [before.tabs, before.unsaved]),
  );
  await workbench.select(4, 6);
  await workbench.instruct(INSTRUCTION);
  await workbench.boxAsks("Space marks");
  const count = await workbench.rows.count();
  for (let row = 0; row < count; row += 1) {
    await workbench.press("ArrowDown", "Space");
  }
  await workbench.page.getByText("0 Selected").waitFor();
  await workbench.press("Enter");
  await eventually(
    () => workbench.place(),
    ({ tabs }) => isDeepStrictEqual(tabs, before.tabs),
  );
  assert.equal(await workbench.unsaved.count(), 0);
});

step("Enter makes the changes, and one undo takes them back", async () => {
  await workbench.instruct(INSTRUCTION);
  await workbench.boxAsks("Space marks");
  await workbench.press("Enter");
  await workbench.unsaved.waitFor();
  await workbench.press("Control+z");
  await workbench.unsaved.waitFor({ state: "detached" });
});

step("an edit of a document that has changed meanwhile is not made", async () => {
  await workbench.instruct(INSTRUCTION);
  await workbench.boxAsks("Space marks");
  const changed = `# Changed by another program.\n${CODE}`;
  await writeFile(path.join(path.dirname(file), "instruct.py"), changed);
  await workbench.page.locator(".view-line", { hasText: "another program" }).first().waitFor();
  await workbench.press("Enter");
  await workbench.errors.filter({ hasText: "The document has changed since you selected" }).waitFor();
  assert.equal(await workbench.unsaved.count(), 0);
  await workbench.clearNotes();
});

step("surprising code is marked, F8 goes there, and a quick fix puts the alternative in", async () => {
  await workbench.edit("prices.py");
  await workbench.run("Pellucid: Mark Surprising Code");
  await workbench.notes.filter({ hasText: /words? (is|are) marked/ }).waitFor();
  await workbench.marks.first().waitFor();
  await workbench.screenshot("surprise-dark");
  await workbench.clearNotes();
  await workbench.press("Control+Home", "F8");
  await eventually(
    () => workbench.place(),
    ({ cursor }) => cursor?.startsWith("Ln 15,"),
  );
  await workbench.press("Control+.");
  await workbench.actions.getByText("Replace `<` with").first().waitFor();
  await workbench.screenshot("alternative-dark");
  await workbench.press("Enter");
  await workbench.unsaved.waitFor();
  await workbench.press("Escape", "Control+z");
  await workbench.unsaved.waitFor({ state: "detached" });
  await workbench.run("Pellucid: Clear the Marks");
  await workbench.marks.first().waitFor({ state: "detached" });
});

step("only the changed lines are marked in a git worktree", async () => {
  const git = (...words) =>
    promisify(execFile)("git", ["-c", "user.name=A", "-c", "user.email=a@b", ...words], { cwd: path.dirname(file) });
  const prices = path.join(path.dirname(file), "prices.py");
  await writeFile(prices, PRICES.replace("value < best", "value > best"));
  await git("init", "--quiet");
  await git("add", "prices.py");
  await git("commit", "--quiet", "--message", "Prices");
  await writeFile(prices, PRICES);
  await workbench.page.locator(".view-line", { hasText: "value < best" }).waitFor();
  await workbench.run("Pellucid: Mark Surprising Code in the Changed Lines");
  await workbench.notes.filter({ hasText: "1 word is marked" }).waitFor();
  await eventually(
    () => workbench.marks.count(),
    (count) => count === 1,
  );
  await workbench.run("Pellucid: Clear the Marks");
  await workbench.clearNotes();
});

step("code actions write a docstring, which one undo takes back, and explain", async () => {
  await workbench.edit("actions.py");
  await workbench.select(1, 2);
  await workbench.press("Control+.");
  await workbench.actions.getByText("Pellucid: Write a docstring").waitFor();
  for (const title of ["Add type hints", "Write tests for this", "Explain"]) {
    assert.ok(await workbench.actions.getByText(`Pellucid: ${title}`).count(), title);
  }
  await workbench.screenshot("actions-dark");
  await workbench.press("Enter");
  await workbench.notes.filter({ hasText: "Pellucid is writing" }).waitFor();
  await workbench.unsaved.waitFor();
  await workbench.press("Control+z");
  await workbench.unsaved.waitFor({ state: "detached" });
  await workbench.press("Control+.");
  await workbench.actions.getByText("Pellucid: Explain").waitFor();
  await workbench.press("ArrowDown", "ArrowDown", "ArrowDown", "Enter");
  await workbench.page.locator(".tab", { hasText: "Explanation of the code" }).waitFor();
  const headings = () => Promise.all(workbench.page.frames().map((frame) => frame.locator("h1", { hasText: "actions.py:1-2" }).count()));
  await eventually(headings, (counts) => counts.includes(1)); // rendered
  await workbench.screenshot("explained-code-dark");
  await workbench.page.locator(".tab", { hasText: "Explanation of the code" }).click();
  await workbench.run("View: Close Editor");
});

step("a problem that another tool reports has a code action that mends it", async () => {
  await workbench.edit("broken.json");
  await workbench.page.locator(".monaco-editor .squiggly-error, .monaco-editor .squiggly-warning").first().waitFor();
  await workbench.press("Control+Home", "F8");
  await workbench.page.getByText("1 of 1 problem").waitFor(); // keys that come before are lost
  await workbench.press("Control+.");
  await workbench.actions.getByText(/Pellucid: Fix: ./).waitFor();
  await workbench.press("Escape", "Escape");
});

for (const [name, theme] of Object.entries(THEMES)) {
  step(`the window in the theme ${theme}`, async () => {
    await workbench.setTheme(theme);
    await workbench.edit(`${name}.py`);
    await workbench.type("    m");
    await workbench.ghost.waitFor();
    await workbench.chips.first().waitFor();
    await workbench.screenshot(`window-${name}`);
  });
}

step("switched off, no ghost text appears; switched on again, it does", async () => {
  await workbench.run("Pellucid: Toggle Suggestions Everywhere");
  await eventually(
    () => workbench.status.textContent(),
    (text) => text.includes("off"),
  );
  await workbench.edit("switch.py");
  await workbench.type("    m");
  assert.equal(await workbench.appears(workbench.ghost, 3000), false);
  await workbench.screenshot("off-dark");
  await workbench.run("Pellucid: Toggle Suggestions Everywhere");
  await eventually(
    () => workbench.status.textContent(),
    (text) => !text.includes("off"),
  );
  await workbench.type("e");
  await workbench.ghost.waitFor();
});

step("Restart starts a new language server, also when it is run again at once", async () => {
  const [old] = await languageServers(folder);
  await workbench.run("Pellucid: Restart");
  await workbench.run("Pellucid: Restart");
  await startedInPlaceOf(old);
});

step("a language server that dies is started again, without a word to the user", async () => {
  const [dead] = await languageServers(folder);
  process.kill(dead, "SIGKILL");
  await startedInPlaceOf(dead);
  await workbench.edit("again.py");
  await workbench.type("    m");
  await workbench.ghost.waitFor();
});

step("a program that does not start is reported in one sentence, with its own last words; the right one then starts", async () => {
  const words = "Say 'make run' first.";
  await workbench.edit("again.py");
  const [old] = await languageServers(folder);
  await writeSettings(folder, { ...settings, "pellucid.command": ["/bin/sh", "-c", `echo "${words}" >&2; exit 1`] });
  await workbench.errors.first().waitFor();
  const shown = await workbench.errors.allInnerTexts();
  assert.equal(shown.length, 1);
  assert.match(shown[0], new RegExp(`Pellucid's language server did not start: ${RegExp.escape(words)}`));
  await workbench.screenshot("failed-start-dark");
  await workbench.press("Alt+i");
  await workbench.errors.filter({ hasText: "language server is not running" }).waitFor();
  await workbench.clearNotes();
  await writeSettings(folder, settings);
  await startedInPlaceOf(old);
});

step("a program that never answers does not keep the right one from starting", async () => {
  const [old] = await languageServers(folder);
  await writeSettings(folder, { ...settings, "pellucid.command": ["/bin/sh", "-c", "cat > /dev/null; true"] });
  await workbench.status.locator(".codicon-loading").waitFor();
  await writeSettings(folder, settings);
  await startedInPlaceOf(old);
});

step("a language server that dies and cannot start again is reported, and Restart starts it", async () => {
  const forbidden = path.join(folder, "forbidden");
  const [pellucid] = settings["pellucid.command"];
  const script = 'test ! -e "$0" || { echo "It is forbidden." >&2; exit 1; }; exec "$1" lsp';
  const [old] = await languageServers(folder);
  await writeSettings(folder, { ...settings, "pellucid.command": ["/bin/sh", "-c", script, forbidden, pellucid] });
  const dead = await startedInPlaceOf(old);
  await writeFile(forbidden, "");
  process.kill(dead, "SIGKILL");
  await workbench.errors.filter({ hasText: "did not start: It is forbidden." }).waitFor();
  await rm(forbidden);
  await workbench.clearNotes();
  await workbench.run("Pellucid: Restart");
  await startedInPlaceOf(dead);
});
