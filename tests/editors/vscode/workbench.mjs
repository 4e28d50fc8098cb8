// VS Code's window as a user sees it: the editor, its ghost text, the status bar, the command palette and the token view.

import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { BUILD } from "./processes.mjs";

const { chromium } = createRequire(path.join(BUILD, "package.json"))("playwright-core");
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const MARKS = { "·": " ", "→": "\t", "⏎": "\n" };

/** Longer than anything takes on a slow machine: the tests wait for what they want to see, never for a time. */
const LIMIT = 120_000;

export class Workbench {
  /** Opens the project of a folder in which `serveCode` serves. */
  static async open(url, folder) {
    const browser = await chromium.launch({
      executablePath: process.env.CHROMIUM,
      args: FLAGS,
    });
    const page = await browser.newPage({
      viewport: { width: 1280, height: 800 },
      reducedMotion: "reduce",
    });
    page.setDefaultTimeout(LIMIT);
    await page.goto(`${url}/?folder=${encodeURIComponent(path.join(folder, "project"))}`, { waitUntil: "domcontentloaded" });
    await page.locator(".monaco-workbench").waitFor();
    return new Workbench(browser, page, folder);
  }

  constructor(browser, page, folder) {
    this.browser = browser;
    this.page = page;
    this.settingsFile = path.join(folder, "data/User/settings.json");
    this.status = page.locator('[id="pellucid.pellucid.pellucid.status"]');
    this.ghost = page.locator(".ghost-text-decoration, .ghost-text-decoration-preview, .ghost-text").first();
    this.unsaved = page.locator(".tab.dirty").first();
    this.notes = page.locator(".notification-list-item");
    this.errors = page.locator(".notification-list-item").filter({ has: page.locator(".codicon-error") });
    this.box = page.locator(".quick-input-widget input.input");
    this.rows = page.locator(".quick-input-list .monaco-list-row");
    this.tabs = page.locator(".tab");
    this.actions = page.locator(".action-widget").first();
    this.marks = page.locator(".monaco-editor .squiggly-info");
    const view = page.frameLocator("iframe.webview.ready").frameLocator("#active-frame");
    this.chat = page.frameLocator("iframe.webview.ready").frameLocator("#active-frame");
    this.tokens = view.locator("#tokens");
    this.chips = view.locator("#tokens .chip");
    this.alternatives = view.locator("#alternatives");
    this.bars = view.locator("#alternatives .bar");
  }

  async close() {
    await this.browser.close();
  }

  /** The frame of the page with a text in it, such as a preview; undefined if there is none. */
  async frameWith(text) {
    for (const frame of this.page.frames()) {
      // A frame may be replaced meanwhile.
      if (
        await frame
          .getByText(text)
          .count()
          .catch(() => 0)
      ) {
        return frame;
      }
    }
    return undefined;
  }

  /** The user's settings; none while VS Code writes the file, which it empties first. */
  async settings() {
    return JSON.parse((await readFile(this.settingsFile, "utf8")) || "{}");
  }

  /** What is drawn at the end of the editor's lines that have a text. */
  atLineEnds(text = "") {
    const spans = this.page.locator(".view-line", { hasText: text }).locator("span");
    return spans.evaluateAll((all) => all.map((span) => getComputedStyle(span, "::after").content).join(""));
  }

  /** Takes a colour theme from VS Code's own menu. */
  async setTheme(name) {
    await this.run("Preferences: Color Theme");
    await this.page.keyboard.type(name);
    await this.choice(name).waitFor();
    await this.press("Enter");
    await this.page.locator(".quick-input-widget").waitFor({ state: "hidden" });
  }

  /** Opens a file of the project, in a folder of the tree if given, and sets the cursor to its end. */
  async edit(name, folder = undefined) {
    if (folder !== undefined) {
      await this.page.getByRole("treeitem", { name: folder }).click();
    }
    await this.page.getByRole("treeitem", { name }).dblclick();
    await this.page.locator(".monaco-editor .view-line").first().click();
    await this.press("Control+End");
  }

  async press(...keys) {
    for (const key of keys) {
      await this.page.keyboard.press(key);
    }
  }

  type(text) {
    return this.page.keyboard.type(text, { delay: 60 });
  }

  /** Runs a command of the palette. */
  async run(title) {
    await this.press("F1");
    await this.page.locator(".quick-input-widget input").first().fill(`>${title}`);
    await this.choice(title).click();
  }

  /** An entry of the palette or of a menu that is open. */
  choice(label) {
    return this.page.locator(".quick-input-list .monaco-list-row").filter({ hasText: label }).first();
  }

  /** Selects lines of the active editor, by their numbers. */
  async select(first, last) {
    await this.press("Control+Home", ...Array(first - 1).fill("ArrowDown"), ...Array(last + 1 - first).fill("Shift+ArrowDown"));
  }

  /** Opens the box that asks for an instruction for the selection. */
  async askForInstruction() {
    await this.press("Alt+i");
    await this.boxAsks("What should change?");
    assert.match(await this.page.locator(".quick-input-title").innerText(), /^Change \d+ lines?$/);
  }

  /** Gives an instruction for the selection. */
  async instruct(instruction) {
    await this.askForInstruction();
    await this.page.keyboard.type(instruction);
    await this.choice(instruction).waitFor();
    await this.press("Enter");
  }

  /** Waits until the box at the top has the focus and a question that begins so. */
  async boxAsks(question) {
    await this.page.locator(`.quick-input-widget input[placeholder^="${question}"]`).waitFor();
    await this.focused(this.box);
  }

  /** Where the cursor is, how much is selected, and the open tabs. */
  async place() {
    const cursor = /Ln \d+, Col \d+( \(\d+ selected\))?/.exec(await this.page.locator(".statusbar").innerText())?.[0];
    return { cursor, tabs: await this.tabs.allTextContents(), unsaved: await this.unsaved.count() };
  }

  async clearNotes() {
    await this.run("Notifications: Clear All Notifications");
    await this.notes.first().waitFor({ state: "detached" });
  }

  /** Opens the token view by its key, and waits until it has the focus and something to show. */
  async showTokens() {
    await this.press("Control+k", "Control+y");
    await this.chips.first().waitFor();
    await this.focused(this.tokens);
  }

  focused(element) {
    return eventually(() => element.evaluate((one) => one === document.activeElement), Boolean);
  }

  /** The text of the suggestion that the token view shows, read from its chips. */
  async suggested() {
    const texts = await this.chips.locator(".text").allTextContents();
    return texts.join("").replace(/[·→⏎]/g, (mark) => MARKS[mark]);
  }

  /** Whether something appears within some milliseconds. */
  appears(element, milliseconds) {
    return element.waitFor({ timeout: milliseconds }).then(
      () => true,
      () => false,
    );
  }

  async screenshot(name) {
    const folder = path.join(BUILD, "screenshots");
    await mkdir(folder, { recursive: true });
    await this.page.screenshot({ path: path.join(folder, `${name}.png`) });
  }
}

/** Waits until something is as it should be, and returns it; what it was last is in the error. */
export async function eventually(get, holds) {
  const until = Date.now() + LIMIT;
  let last;
  do {
    last = await get();
    if (holds(last)) {
      return last;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  } while (Date.now() < until);
  throw new Error(`Not within ${LIMIT / 1000} s; last seen: ${JSON.stringify(last)}`);
}
