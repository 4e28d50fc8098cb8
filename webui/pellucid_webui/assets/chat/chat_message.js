// A message of the chat: its text, tokens, versions and actions.

import { make, button, announce, copy, memory, nameOf, typed } from "../shared/dom.js";
import { isInEditor } from "../shared/editor.js";
import { tipIconButton } from "../shared/icons.js";
import { HeatMap } from "../tokens/heatmap.js";
import { branchWords } from "../tokens/rendered_answer.js";
import { surprisalWords } from "../tokens/token_export.js";
import { AnswerTree } from "./json_value_tree.js";
import { retryForm } from "./retry_form.js";

/** @type {Record<string, string>} */
const ROLES = { user: "You", assistant: "Answer" };
/** @type {Record<string, string>} */
const ENDINGS = {
  length: "Stopped at the token limit.",
  cancelled: "Stopped.",
  deadline: "Stopped at the deadline.",
  error: "Failed.",
  "": "Interrupted: the server stopped before the answer was complete.",
};
const RETRY = { name: "Retry with…", label: "Retry with another model or temperature", verb: "Regenerate", needsIdle: true };
const COMPARE = { name: "Compare with…", label: "Compare with another model or temperature", verb: "Compare", needsIdle: false };
const CONTEXT_FULL = "Stopped: the context is full.";
const DETAILS = "details"; // in `memory`: "shown" if the settings and costs of answers are shown

export class Message {
  /**
   * @param {Page.Chat} chat
   * @param {Page.ChatMessage} data
   * @param {boolean} isLast
   * @param {boolean} afterPictures whether a message before it has pictures
   */
  constructor(chat, data, isLast, afterPictures) {
    this.chat = chat;
    this.data = data;
    this.isLast = isLast;
    this.afterPictures = afterPictures;
    /** @type {HTMLImageElement[]} */
    this.pictures = []; // in the order of the message
    /** @type {boolean | null} */
    this.drawnBusy = null; // whether the chat was busy when the tools were drawn
    /** @type {string | null} */
    this.toolState = null;
    /** @type {HTMLElement | null} */
    this.reasoning = null; // made where there is some
    this.body = make("div", { class: "pl-body" });
    this.tools = make("div", { class: "pl-tools", role: "toolbar", "aria-label": "Message actions" });
    this.head = make("header", { class: "pl-head" });
    this.note = make("p", { class: "pl-note" });
    this.continueButton = button("Continue", { class: "pl-button pl-continue", hidden: true, onclick: () => chat.act("resume", { node: this.data.node }) }, "Continue the answer where it ended");
    this.trees = make("div", { class: "pl-trees" });
    /** @type {Page.TreeData[] | null} */
    this.drawnTrees = null;
    /** @type {[number, number] | null} */
    this.tokensToMark = null; // once the message is shown as tokens
    /** @type {string | null} */
    this.savedEdit = null; // the edited text that was sent last
    this.element = make("article", { class: "pl-message" }, this.head, this.body, this.trees, this.note, this.continueButton, this.tools);
    /** @type {Page.HeatMap | null} */
    this.map = null;
    /** @type {string[]} */
    this.drawn = [];
    /** @type {Page.Batch[]} */
    this.tokens = [];
    this.update(data);
  }

  /**
   * Draw what has changed.
   * @param {Page.ChatMessage} data
   */
  update(data) {
    this.data = data;
    this.element.className = `pl-message pl-${data.role}`;
    this.element.dataset.node = String(data.node);
    this.element.setAttribute("aria-label", ROLES[data.role] || data.role);
    this.element.setAttribute("aria-busy", String(Boolean(data.live)));
    this.drawReasoning();
    this.drawPictures();
    if (data.asTokens) this.drawTokens();
    else this.drawText();
    this.drawHead();
    this.drawTrees();
    this.drawNote();
    const state = JSON.stringify([data.versions, data.live, data.asTokens, data.role, this.isLast]);
    if (state !== this.toolState) this.drawTools();
    this.toolState = state;
    this.allowTools();
  }

  /** Show what the model wrote before the answer, folded; the tokens of the answer have it too. */
  drawReasoning() {
    const { reasoning = "", live, blocks } = this.data;
    if (!reasoning && !this.reasoning) return;
    if (!this.reasoning) {
      this.reasoning = make("details", { class: "pl-reasoning" }, make("summary", {}), make("div", { class: "pl-reasoning-text", dir: "auto" }));
      this.head.after(this.reasoning);
    }
    const [title, text] = this.reasoning.children;
    this.reasoning.hidden = !reasoning || this.data.asTokens;
    title.textContent = live && !blocks.length ? "Reasoning…" : "Reasoning";
    if (text.textContent !== reasoning) text.textContent = reasoning;
  }

  /** Show the pictures. Their content is asked for once: it is long, and never changes. */
  async drawPictures() {
    const names = this.data.pictures ?? [];
    if (!names.length || this.pictures.length) return;
    this.pictures = names.map((name) => make("img", { alt: name }));
    const enlarge = (/** @type {Event} */ { currentTarget }) => {
      const pressed = /** @type {HTMLElement} */ (currentTarget);
      pressed.setAttribute("aria-pressed", String(pressed.getAttribute("aria-pressed") !== "true"));
    };
    const buttons = this.pictures.map((picture) => make("button", { type: "button", class: "pl-picture", "aria-pressed": "false", title: "Larger or smaller", onclick: enlarge }, picture));
    this.head.after(make("div", { class: "pl-pictures" }, ...buttons));
    const found = await this.chat.ask("pictures", { node: this.data.node });
    this.pictures.forEach((picture, index) => found && (picture.src = found.urls[index]));
  }

  drawText() {
    if (this.map) this.closeMap(this.map);
    const blocks = this.data.blocks;
    while (this.body.children.length > blocks.length) this.body.lastElementChild?.remove();
    blocks.forEach((html, index) => {
      if (this.drawn[index] === html && this.body.children[index]) return;
      const block = make("div", { class: "pl-block", dir: "auto" });
      block.innerHTML = html; // the server's own Markdown, without any HTML of the author
      const old = this.body.children[index];
      if (old) old.replaceWith(block);
      else this.body.append(block);
    });
    this.drawn = [...blocks];
  }

  drawTokens() {
    const map = this.map ?? this.openMap();
    const branches = this.data.role === "assistant" && !this.data.live;
    map.onBranch = branches ? (index, alternative) => this.chat.act("branch", { node: this.data.node, index, alternative }) : null;
    const batches = this.data.tokens || [];
    const isFresh = !this.tokens.length;
    if (batches.length < this.tokens.length || (this.tokens.length && batches[0] !== this.tokens[0])) {
      map.set(batches.flatMap((batch) => JSON.parse(batch)));
    } else if (batches.length > this.tokens.length) {
      const fresh = batches.slice(this.tokens.length).flatMap((batch) => JSON.parse(batch));
      if (this.tokens.length) map.add(fresh);
      else map.set(fresh);
    }
    this.tokens = [...batches];
    const { branched } = this.data.marks ?? {};
    map.setBranch(branched ? { index: branched.at, text: branchWords(branched) } : null);
    if (this.tokensToMark) map.markRange(...this.tokensToMark);
    else if (isFresh && !this.data.live && this.element.isConnected) this.chat.inspection.showTop(this.element);
    this.tokensToMark = null;
  }

  drawTrees() {
    const trees = this.data.trees ?? null;
    if (JSON.stringify(trees) === JSON.stringify(this.drawnTrees)) return;
    this.drawnTrees = trees;
    this.trees.replaceChildren(...(trees ?? []).map((tree) => new AnswerTree(tree, (tokens) => this.showTokens(tokens)).element));
  }

  /**
   * Mark tokens in the heat map; show it first if the message is shown as text.
   * @param {[number, number]} tokens
   */
  showTokens(tokens) {
    const [from, to] = tokens;
    announce(to - from > 1 ? `Tokens ${from + 1} to ${to} are marked.` : `Token ${to} is marked.`);
    if (this.map) {
      this.map.markRange(from, to);
      return;
    }
    this.tokensToMark = tokens;
    this.chat.toggleTokens(this.data.node);
  }

  /** @returns {Page.HeatMap} */
  openMap() {
    this.body.replaceChildren();
    this.drawn = [];
    this.tokens = [];
    const label = this.data.role === "assistant" ? "Tokens of the answer" : "Tokens of the message, as the model reads them";
    const { role, model, sampling } = this.data;
    const table = { file: `${role === "assistant" ? "answer" : "message"}-tokens`, about: { model, sampling } };
    const map = new HeatMap(this.body, { label, dock: this.chat.inspection.inspector, table });
    this.map = map;
    if (sampling) map.setSampling(sampling);
    return map;
  }

  /** @param {Page.HeatMap} map */
  closeMap(map) {
    map.destroy();
    this.map = null;
    this.body.replaceChildren();
    this.drawn = [];
    this.tokens = [];
  }

  drawHead() {
    const { data } = this;
    this.head.replaceChildren(make("strong", {}, ROLES[data.role] || data.role), make("span", { class: "pl-quiet pl-detail" }, data.about || ""));
  }

  drawNote() {
    const { data } = this;
    const sentences = [];
    if (data.error) sentences.push(data.error);
    else if (!data.live && data.role === "assistant") sentences.push(endingOf(data));
    if (data.incomplete) sentences.push(data.incomplete);
    if (data.idle) sentences.push("The model added nothing.");
    const said = sentences.filter(Boolean).join(" ");
    const details = [data.stats, surprisalWords(data.marks?.surprisal)].filter(Boolean).join(" · ");
    this.note.replaceChildren(said, ...(details ? [make("span", { class: "pl-detail" }, said ? ` ${details}` : details)] : []));
    this.note.classList.toggle("pl-wrong", Boolean(data.error || data.incomplete));
    this.continueButton.hidden = !isUnfinished(data);
    this.continueButton.disabled = this.chat.busy;
  }

  drawTools() {
    const { data, chat } = this;
    const node = data.node;
    const answer = data.role === "assistant";
    const tools = [];
    if (data.versions.length > 1) tools.push(...this.versionTools());
    tools.push(
      tipIconButton(
        data.asTokens ? "text" : "tokens",
        data.asTokens ? "Text" : "Tokens",
        { "aria-pressed": String(Boolean(data.asTokens)), class: "pl-button pl-tokens-button", onclick: () => chat.toggleTokens(node) },
        data.asTokens ? "Show the text again" : "Show every token with its probability",
      ),
      tipIconButton("copy", "Copy", { "data-needs": "end", onclick: (event) => copy(data.text, /** @type {HTMLElement} */ (event.currentTarget.lastElementChild)) }, "Copy the text"),
      tipIconButton(
        "edit",
        "Edit",
        { class: "pl-button pl-edit-button", "data-needs": "idle", onclick: () => this.edit() },
        answer ? "Write another version of this answer" : "Edit and resend (the old version is kept)",
      ),
    );
    if (answer) {
      tools.push(tipIconButton("regenerate", "Regenerate", { "data-needs": "idle", onclick: () => chat.act("retry", { node }) }, "Generate another version of this answer"));
      tools.push(tipIconButton("options", RETRY.name, { "data-needs": "idle", onclick: () => this.retryWith() }, "Generate another version with another model or temperature"));
      if (!isInEditor()) tools.push(tipIconButton("compare", COMPARE.name, { "data-needs": "end", onclick: () => this.compareWith() }, "Compare this answer with that of another model or temperature"));
      if (this.afterPictures && !isInEditor()) tools.push(tipIconButton("picture", "With and without the picture", { "data-needs": "end", onclick: () => chat.compare([{ answer: node }, { answer: node, pictures: false }]) }, "Show how the pictures change the probability of each token"));
      tools.push(tipIconButton("details", "Details", { "aria-pressed": String(areDetailsShown()), class: "pl-button pl-details-button", onclick: () => toggleDetails(chat) }, "Show the settings and costs of all answers"));
      if (!isUnfinished(data)) tools.push(tipIconButton("continue", "Continue", { "data-needs": "idle", onclick: () => chat.act("resume", { node }) }, "Continue the answer where it ended"));
    } else if (this.isLast) {
      tools.push(tipIconButton("answer", "Answer", { "data-needs": "idle", onclick: () => chat.act("retry", { node }) }, "Generate an answer to this message"));
    }
    const focused = this.tools.contains(document.activeElement) ? nameOf(/** @type {Element} */ (document.activeElement)) : null;
    this.tools.replaceChildren(...tools);
    if (focused !== null) this.focus(focused);
  }

  /** Enable the tools that can be used now. They are not drawn again for that: there may be thousands. */
  allowTools() {
    const isLive = Boolean(this.data.live);
    for (const tool of /** @type {NodeListOf<HTMLButtonElement>} */ (this.tools.querySelectorAll("[data-needs]"))) {
      tool.disabled = isLive || (this.chat.busy && tool.dataset.needs === "idle");
    }
    const focused = /** @type {HTMLButtonElement | null} */ (document.activeElement);
    if (focused?.disabled && this.tools.contains(focused)) this.focus(null);
  }

  /**
   * Focus the tool of this name, else the one that every message has.
   * @param {string | null} name
   */
  focus(name) {
    const tools = /** @type {HTMLElement[]} */ ([...this.tools.querySelectorAll("button:not(:disabled)")]);
    const tokensButton = /** @type {HTMLElement} */ (this.tools.querySelector(".pl-tokens-button"));
    (tools.find((one) => nameOf(one) === name) || tokensButton).focus();
  }

  /** @returns {HTMLElement[]} */
  versionTools() {
    const { data, chat } = this;
    const at = data.versions.indexOf(data.node);
    const last = data.versions.length - 1;
    /** @param {number} step */
    const show = (step) => chat.act("selectVersion", { node: data.versions[at + step] });
    return [
      button("‹", { "aria-label": "Previous version", disabled: at === 0, "data-needs": at === 0 ? null : "idle", onclick: () => show(-1) }),
      make("span", { class: "pl-version", "aria-label": `Version ${at + 1} of ${data.versions.length}` }, `${at + 1} / ${data.versions.length}`),
      button("›", { "aria-label": "Next version", disabled: at === last, "data-needs": at === last ? null : "idle", onclick: () => show(1) }),
      tipIconButton("versions", "Versions", { onclick: () => chat.showVersions(data.node) }, "Show all versions of the conversation as a tree"),
    ];
  }

  /** Ask for another model or temperature, and generate another version with them. */
  retryWith() {
    this.askModelAndTemperature(RETRY, (other) => this.chat.act("retry", { node: this.data.node, with: other }));
  }

  /** Ask for another model or temperature, and compare this answer with theirs. */
  compareWith() {
    this.askModelAndTemperature(COMPARE, (other) => this.chat.compare([{ answer: this.data.node }, other]));
  }

  /**
   * @param {typeof RETRY} words
   * @param {(other: { model: string, temperature: number }) => void} use
   */
  askModelAndTemperature(words, use) {
    this.element.querySelector(".pl-retry")?.remove();
    const { data, chat } = this;
    const done = () => {
      form.remove();
      this.focus(words.name);
    };
    const own = { model: data.model ?? "", temperature: data.sampling?.temperature ?? 0 };
    const form = retryForm(chat.models, own, words, {
      onCancel: done,
      onDone: (other) => {
        if (words.needsIdle && chat.busy) return; // the form stays until it can be used
        done();
        use(other);
      },
    });
    this.tools.after(form);
    /** @type {HTMLElement | null} */ (form.querySelector("select"))?.focus();
  }

  /** Forget the edited text that has become another version. */
  forgetEdit() {
    if (this.savedEdit !== null && (typed.get(editKey(this.data.node)) || this.savedEdit) === this.savedEdit) typed.set(editKey(this.data.node), "");
  }

  /** Let the user edit the message; Escape cancels. */
  edit() {
    const field = make("textarea", { class: "pl-field", "aria-label": "Edit the message", rows: Math.min(12, this.data.text.split("\n").length + 1) });
    const key = editKey(this.data.node); // kept like drafts: the page may be reloaded while this is open
    field.value = typed.get(key) || this.data.text;
    field.addEventListener("input", () => typed.set(key, field.value));
    const done = () => {
      typed.set(key, "");
      form.remove();
      this.body.hidden = this.tools.hidden = false;
      /** @type {HTMLElement | null} */ (this.tools.querySelector(".pl-edit-button"))?.focus();
    };
    const save = () => {
      if (this.chat.busy) return; // the text stays until it can be sent
      this.savedEdit = field.value; // the form stays until the new version is there: the server may refuse it
      this.chat.act("edit", { node: this.data.node, text: field.value });
    };
    const form = make(
      "div",
      { class: "pl-edit" },
      field,
      button(this.data.role === "user" ? "Save & resend" : "Save", { class: "pl-button pl-first", onclick: save }, "Ctrl+Enter"),
      button("Cancel", { onclick: done }, "Escape"),
    );
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.preventDefault(); // this Escape does not stop an answer
        done();
      }
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
    });
    this.body.hidden = this.tools.hidden = true;
    this.body.after(form);
    field.focus();
  }
}

const areDetailsShown = () => memory.get(DETAILS) === "shown";

/** @param {Page.Chat} chat */
function toggleDetails(chat) {
  memory.set(DETAILS, areDetailsShown() ? null : "shown");
  drawDetails();
  chat.inspection.askForPlaces(); // which come with the mean surprisal
}

function drawDetails() {
  document.body.toggleAttribute("data-details", areDetailsShown());
  for (const one of document.querySelectorAll(".pl-details-button")) one.setAttribute("aria-pressed", String(areDetailsShown()));
}

drawDetails();

/**
 * @param {number} node
 * @returns {string} the key of a message's edited text in `typed`
 */
const editKey = (node) => `edit.${node}`;

/**
 * @param {Page.ChatMessage} data of an answer that has ended
 * @returns {string} how it ended; empty for one that is complete
 */
export const endingOf = ({ end, isFull }) => (end === "stop" ? "" : isFull ? CONTEXT_FULL : ENDINGS[end || ""] || "");

/**
 * @param {Page.ChatMessage} data
 * @returns {boolean} whether it is an answer that ended before the model ended it, and that can be continued
 */
const isUnfinished = (data) => data.role === "assistant" && !data.live && data.end !== "stop" && Boolean(data.canContinue);
