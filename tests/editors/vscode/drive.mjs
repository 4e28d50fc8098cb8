// The extension in a real VS Code with a real model: ghost text, acceptance, the tokens, the status bar, and off.

import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, afterEach, before, test } from "node:test";
import { languageServers, ROOT, serve, serveCode, stop, writeSettings } from "./processes.mjs";
import { eventually, Workbench } from "./workbench.mjs";

const SHOP = `def total(items):
    return sum(item.price for item in items)


def report(orders):
    for order in orders:
        print(order.name, total(order.items))
`;

const CODE = `"""Statistics of lists of numbers."""


def mean(values):
    """The arithmetic mean of the values."""
    return sum(values) / len(values)


def variance(values):
    """The mean squared distance from the mean."""
`;

/** VS Code's names of the themes; the last is the one that the window opens with. */
const THEMES = { light: "Light Modern", contrast: "Dark High Contrast", dark: "Dark Modern" };

/** The tests build on each other in one window, as a user does. */
let folder, file, settings, workbench;
let failed = false;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "pellucid-vscode-"));
  file = path.join(folder, "project/stats.py");
  await mkdir(path.dirname(file));
  for (const name of ["stats", ...Object.keys(THEMES), "switch", "again"]) {
    await writeFile(path.join(path.dirname(file), `${name}.py`), CODE);
  }
  await writeFile(path.join(path.dirname(file), "shop.py"), SHOP);
  settings = {
    "pellucid.command": [path.join(ROOT, ".venv/bin/pellucid"), "lsp"],
    "pellucid.server.url": await serve(folder),
    "pellucid.server.start": false,
    "chat.disableAIFeatures": true,
    "editor.minimap.enabled": false,
    "editor.quickSuggestions": {
      other: "off",
      comments: "off",
      strings: "off",
    },
    "extensions.autoCheckUpdates": false,
    "extensions.autoUpdate": false,
    "files.autoSave": "off",
    "telemetry.telemetryLevel": "off",
    "workbench.colorTheme": "Default Dark Modern",
    "workbench.reduceMotion": "on",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "workbench.startupEditor": "none",
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

/** A test that needs those before it to have passed. */
function step(name, run) {
  test(name, (context) => (failed ? context.skip("an earlier test failed") : run()));
}

afterEach(async (context) => {
  if (!context.passed && !failed) {
    failed = true;
    await workbench.screenshot(`failed-${context.name.replace(/\W+/g, "-")}`);
  }
  assert.deepEqual(await workbench.errors.allTextContents(), []);
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
  await workbench.status.click();
  await workbench.choice("Eager").waitFor();
  await workbench.screenshot("menu-dark");
  await workbench.choice("Eager").click();
  await eventually(
    async () => (await workbench.settings())["pellucid.completion.level"],
    (level) => level === "eager",
  );
});

step("after a rename the next edit is marked; and one key goes there and makes it", async () => {
  await workbench.edit("shop.py");
  await workbench.press("Control+Home", "Control+ArrowRight", "Control+Shift+ArrowRight");
  await workbench.type(" amount_due");
  const edit = workbench.page.locator(".view-line", { hasText: "order.name, total" });
  await eventually(
    () => edit.locator("span").evaluateAll((spans) => spans.map((span) => getComputedStyle(span, "::after").content).join("")),
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

step("Restart starts a new language server", async () => {
  const [old] = await languageServers(folder);
  await workbench.run("Pellucid: Restart");
  await eventually(
    () => languageServers(folder),
    (ids) => ids.length === 1 && ids[0] !== old,
  );
  await workbench.status.locator(".codicon-eye").waitFor();
});

step("a language server that dies is started again, without a word to the user", async () => {
  const [dead] = await languageServers(folder);
  process.kill(dead, "SIGKILL");
  await eventually(
    () => languageServers(folder),
    (ids) => ids.length === 1 && ids[0] !== dead,
  );
  await workbench.status.locator(".codicon-eye").waitFor();
  await workbench.edit("again.py");
  await workbench.type("    m");
  await workbench.ghost.waitFor();
});

step("a program that does not start is reported in one sentence, with its own last words", async () => {
  const words = "Say 'make run' first.";
  await writeSettings(folder, { ...settings, "pellucid.command": ["/bin/sh", "-c", `echo "${words}" >&2; exit 1`] });
  await workbench.errors.first().waitFor();
  const shown = await workbench.errors.allInnerTexts();
  assert.equal(shown.length, 1);
  assert.match(shown[0], new RegExp(`Pellucid's language server did not start: ${RegExp.escape(words)}`));
  await workbench.screenshot("failed-start-dark");
  await workbench.run("Notifications: Clear All Notifications");
});
