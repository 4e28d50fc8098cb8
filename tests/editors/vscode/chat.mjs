// The chat in a real VS Code with a real model: sentences while there is no server, drafts, attached code, tokens, inserted and applied code,
// and the server's models for other extensions.

import assert from "node:assert/strict";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, afterEach, before, test } from "node:test";
import { freePort, PLAIN_WINDOW, ROOT, serve, serveCode, stop, writeSettings } from "./processes.mjs";
import { eventually, Workbench } from "./workbench.mjs";

const STATS = `"""Statistics of lists of numbers."""


def mean(values):
    """The arithmetic mean of the values."""
    return sum(values) / len(values)


def spread(values):
    """The distance between the largest and the smallest value."""
    return max(values) - min(values)
`;
const KEY = "a-key-of-the-test";

/** The tests build on each other in one window, as a user does. */
let folder, settings, workbench, chat, port;
let failed = false;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "pellucid-vscode-chat-"));
  const project = path.join(folder, "project");
  await mkdir(path.join(project, "src"), { recursive: true });
  await writeFile(path.join(project, "src/stats.py"), STATS);
  await writeFile(path.join(project, ".env"), "PASSWORD=1\n");
  await cp(path.join(import.meta.dirname, "probe"), path.join(folder, "extensions/pellucid.probe-0.0.1"), { recursive: true });
  port = await freePort();
  settings = {
    ...PLAIN_WINDOW,
    "pellucid.command": [path.join(ROOT, ".venv/bin/pellucid"), "lsp"],
    "pellucid.server.url": `http://127.0.0.1:${port}`,
    "pellucid.server.start": false,
    "security.workspace.trust.enabled": false,
  };
  workbench = await Workbench.open(await serveCode(folder, settings), folder);
  chat = workbench.chat;
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

/** A test that needs those before it to have passed. */
function step(name, run) {
  test(name, (context) => (failed ? context.skip("an earlier test failed") : run()));
}

afterEach(async (context) => {
  if (!context.passed && !failed) {
    failed = true;
    await workbench.screenshot(`failed-${context.name.replace(/\W+/g, "-")}`);
  }
});

/** What the editor's notifications say, which are then cleared. */
async function notified(words) {
  await workbench.notes.filter({ hasText: words }).first().waitFor();
  await workbench.clearNotes();
}

/** The saved text of the file. */
async function saved() {
  await workbench.run("File: Save");
  await workbench.unsaved.waitFor({ state: "detached" });
  return readFile(path.join(folder, "project/src/stats.py"), "utf8");
}

/** Sends a message, and waits for the end of the answer. */
async function ask(message) {
  const answers = await chat.locator(".pl-message").count();
  await chat.locator(".pl-composer textarea").fill(message);
  await chat.locator(".pl-composer textarea").press("Enter");
  await eventually(
    () => chat.locator(".pl-message").count(),
    (count) => count === answers + 2,
  );
  await chat.getByRole("button", { name: "Send", exact: true }).waitFor();
}

step("without a server, the chat says so and what to do, in one sentence", async () => {
  await workbench.status.locator(".codicon-eye").waitFor();
  await workbench.run("Pellucid: Open the Chat");
  await chat.getByText(`No server answers at http://127.0.0.1:${port}: run \`pellucid serve\``).waitFor();
  assert.deepEqual(await chat.getByRole("button").allTextContents(), [
    "Try Again",
    "Restart the Server",
    "Open the Settings",
    "Show the Log",
  ]);
  await workbench.screenshot("chat-no-server-dark");
});

step("a server that needs a key is named with the setting for the key, and the key in the setting is enough", async () => {
  await serve(folder, port, { PELLUCID_API_KEY: KEY });
  await chat.getByRole("button", { name: "Try Again" }).click();
  await chat.getByText("set pellucid.server.apiKey").waitFor();
  settings["pellucid.server.apiKey"] = KEY;
  await writeSettings(folder, settings);
  await chat.getByText("Ask a model, and see how sure it is of every token").waitFor();
  await workbench.screenshot("chat-empty-dark");
});

step("what is typed stays while the view is hidden", async () => {
  await chat.locator(".pl-composer textarea").fill("Half a question");
  await workbench.run("View: Show Explorer");
  await workbench.edit("stats.py", "src");
  await workbench.run("Pellucid: Open the Chat");
  assert.equal(await chat.locator(".pl-composer textarea").inputValue(), "Half a question");
});

step("selected lines become a chip with path and lines, and a private file is refused in one sentence", async () => {
  await workbench.page.locator(".monaco-editor .view-line").first().click();
  await workbench.select(4, 6);
  await workbench.press("Alt+c");
  await chat.locator(".pl-attached li", { hasText: "src/stats.py:4-6" }).waitFor();
  await workbench.run("View: Show Explorer");
  await workbench.page.getByRole("treeitem", { name: ".env" }).click({ button: "right" });
  await workbench.page.getByRole("menuitem", { name: "Add File to Pellucid Chat" }).hover();
  await workbench.press("Enter"); // a click directly after the menu opens is ignored
  await notified(".env is never sent to the model: files that match .env may hold secrets.");
  await workbench.run("Pellucid: Open the Chat");
  assert.equal(await chat.locator(".pl-attached li").count(), 1);
  await workbench.screenshot("chat-chip-dark");
});

step("the question has the lines as fenced code, and the answer has tokens with alternatives", async () => {
  await chat.locator("#pl-settings-toggle").click();
  await chat.locator("#pl-settings").getByLabel("Temperature").fill("0");
  await workbench.screenshot("chat-settings-dark");
  await chat.getByRole("button", { name: "Close the settings" }).click();
  await ask("Rename the function mean to average. Answer with the code only.");
  const question = chat.locator(".pl-message").first();
  assert.equal(await question.locator(".pl-code figcaption span").textContent(), "src/stats.py:4-6");
  assert.equal(await question.locator(".pl-code code").textContent(), `${STATS.split("\n").slice(3, 6).join("\n")}\n`);
  await workbench.screenshot("chat-answer-dark");
  await chat.locator(".pl-message").last().locator(".pl-tokens-button").click();
  await chat.locator(".pl-heat .pl-token").nth(3).click();
  await chat.locator(".pl-card:visible").getByText(/ %/).first().waitFor();
  await workbench.screenshot("chat-tokens-dark");
  await chat.locator(".pl-message").last().locator(".pl-tokens-button").press("Enter"); // the token's card covers the button
});

step("code of the answer is applied as a diff to the function that it changes, and one undo takes it back", async () => {
  await workbench.page.locator(".monaco-editor .view-line").first().click();
  const code = chat.locator(".pl-message").last().locator(".pl-code").first();
  await code.getByRole("button", { name: "Apply as diff" }).press("Enter");
  await workbench.boxAsks("Space marks a change or not");
  assert.match(await workbench.page.locator(".quick-input-title").innerText(), /^Code from the chat$/);
  await workbench.screenshot("chat-apply-dark");
  await workbench.press("Enter");
  await workbench.unsaved.waitFor();
  const changed = await saved();
  assert.equal(changed.replace("def average(", "def mean("), STATS);
  assert.notEqual(changed, STATS);
  await workbench.page.locator(".monaco-editor .view-line").first().click();
  await workbench.press("Control+z");
  assert.equal(await saved(), STATS);
});

step("code of the answer is inserted at the cursor", async () => {
  await workbench.page.locator(".monaco-editor .view-line").first().click();
  await workbench.press("Control+End");
  const code = chat.locator(".pl-message").last().locator(".pl-code").first();
  const text = await code.locator("code").textContent();
  await code.getByRole("button", { name: "Insert at cursor" }).press("Enter");
  await workbench.unsaved.waitFor();
  assert.equal(await saved(), STATS + text.trimEnd());
});

step("the chat follows the editor's theme", async () => {
  const background = () => chat.locator("body").evaluate((body) => getComputedStyle(body).backgroundColor);
  const dark = await background();
  await workbench.setTheme("Light Modern");
  await eventually(background, (colour) => colour !== dark);
  await workbench.screenshot("chat-answer-light");
  await chat.locator(".pl-message").last().locator(".pl-tokens-button").click();
  await chat.locator(".pl-heat .pl-token").nth(3).click();
  await workbench.screenshot("chat-tokens-light");
});

step("other extensions get the server's models: an answer that streams, a count of tokens, and an answer that is cancelled", async () => {
  await workbench.run("Probe: Ask the Models");
  const found = await eventually(
    () => readFile(path.join(folder, "project/probe.json"), "utf8").catch(() => ""),
    (text) => text.endsWith("\n"),
  );
  const { models, parts, tokens, cancelled, error } = JSON.parse(found);
  assert.equal(error, undefined);
  assert.deepEqual(models, ["qwen2.5-coder-0.5b-instruct"]);
  assert.ok(parts.length > 1);
  assert.match(parts.join(""), /Paris/);
  assert.equal(tokens, 2);
  assert.ok(cancelled < 200);
});
