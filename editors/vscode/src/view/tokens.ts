/** Draws the last suggestion's tokens, and the alternatives of the selected one. */

import type { Alternative, Token } from "../tokenTypes";
import { Listbox } from "./listbox";
import type { FromView, ToView } from "./messages";
import { entropy, fits, percent, pieces, probability, spoken, typed } from "./tokenText";

declare function acquireVsCodeApi(): { postMessage(message: FromView): void };

const vscode = acquireVsCodeApi();
const tokens = new Listbox(element("tokens"), {
  oneClick: false,
  onSelect: drawChoice,
  onEnter: () => alternatives.focus(),
  onLeave: () => send({ kind: "leave" }),
});
const alternatives = new Listbox(element("alternatives"), {
  oneClick: true,
  onSelect: () => undefined,
  onEnter: branch,
  onLeave: () => tokens.focus(),
});

let drawn: Token[] = [];
let insertable = false;

window.addEventListener("message", ({ data }: MessageEvent<ToView>) => {
  element("problem").hidden = data.kind !== "problem";
  switch (data.kind) {
    case "tokens":
      draw(data);
      break;
    case "focus":
      document.body.focus();
      focusTokens();
      break;
    case "problem":
      element("problem").textContent = data.sentence;
  }
});

document.addEventListener(
  "keydown",
  (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && insertable) {
      event.preventDefault();
      event.stopPropagation();
      send({ kind: "insert" });
    }
  },
  true,
);
window.addEventListener("focus", focusTokens);
element("insert").addEventListener("click", () => send({ kind: "insert" }));
element("explain").addEventListener("click", () => send({ kind: "explain" }));
send({ kind: "ready" });

function draw(message: Extract<ToView, { kind: "tokens" }>): void {
  const { tokens: suggestion } = message;
  drawn = suggestion.tokens;
  insertable = message.insertable;
  element("empty").hidden = true;
  element("suggestion").hidden = false;
  element("insert").hidden = !insertable;
  element("summary").textContent = summary(drawn, suggestion.model, suggestion.accepted);
  const chips = drawn.map(chip);
  tokens.fill(chips, message.selected);
  chips.filter((_, index) => drawn[index]?.token.includes("\n")).forEach((last) => last.after(make("span", "line-end")));
  focusTokens();
}

/** Focuses the tokens if the page has the focus but none of its elements has. */
function focusTokens(): void {
  if (document.hasFocus() && document.activeElement === document.body) {
    tokens.focus();
  }
}

function summary(all: Token[], model: string, accepted: boolean): string {
  const known = all.flatMap((token) => Math.log(probability(token, token.allowed) ?? NaN)).filter((one) => !Number.isNaN(one));
  const mean = Math.exp(known.reduce((sum, one) => sum + one, 0) / Math.max(1, known.length));
  const count = `${all.length} token${all.length === 1 ? "" : "s"}`;
  return `${accepted ? "Accepted" : "Suggested"}: ${count}, ${percent(mean)}% on average, ${model}`;
}

function chip(token: Token): HTMLElement {
  const likely = probability(token, token.allowed);
  const rank = token.rank === null ? "" : `, rank ${token.rank}`;
  const option = make(
    "div",
    "chip",
    text(token),
    make("span", "percent", likely === undefined ? "–" : `${percent(likely)}%`),
    make("span", "meter"),
  );
  option.style.setProperty("--p", String(likely ?? 0));
  option.setAttribute(
    "aria-label",
    `token ${spoken(token)}, ${likely === undefined ? "no probability" : `${percent(likely)} percent`}${rank}`,
  );
  return option;
}

function drawChoice(index: number): void {
  const token = drawn[index];
  if (token === undefined) {
    return;
  }
  const allowed = token.allowed ?? 1;
  const likely = probability(token, allowed);
  const choice = entropy(token);
  element("chosen").replaceChildren(text(token));
  element("figures").textContent = [
    likely !== undefined && `${percent(likely)}%`,
    token.rank !== null && `rank ${token.rank}`,
    choice !== undefined && `entropy ${choice}`,
  ]
    .filter(Boolean)
    .join(", ");
  const begun = typed(token);
  const bars = token.top.map((one) => bar(one, allowed, one.id === token.id, fits(one, begun)));
  const firstOther = token.top.findIndex((one) => one.id !== token.id && fits(one, begun));
  alternatives.fill(bars, Math.max(0, firstOther));
  alternatives.append(rest(Math.max(0, token.rest + allowed - 1) / allowed));
}

function bar(one: Alternative, allowed: number, taken: boolean, possible: boolean): HTMLElement {
  const likely = probability(one, allowed) ?? 0;
  const row = make(
    "div",
    `bar ${taken ? "taken" : possible ? "" : "impossible"}`,
    make("span", "name", text(one)),
    make("span", "track"),
    make("span", "percent", `${percent(likely)}%`),
  );
  const remark = taken ? "suggested" : possible ? "" : "does not begin with the typed text";
  row.style.setProperty("--p", String(likely));
  row.setAttribute("aria-label", [spoken(one), `${percent(likely)} percent`, remark].filter(Boolean).join(", "));
  row.title = remark === "" ? "Continue with this token instead." : `This ${taken ? "was suggested" : remark}.`;
  return row;
}

function rest(mass: number): HTMLElement {
  const row = make(
    "div",
    "bar rest",
    make("span", "name", "all others"),
    make("span", "track"),
    make("span", "percent", `${percent(mass)}%`),
  );
  row.style.setProperty("--p", String(mass));
  return row;
}

function branch(alternative: number): void {
  const token = tokens.selected;
  const taken = drawn[token]?.top[alternative]?.id === drawn[token]?.id;
  if (!taken) {
    send({ kind: "branch", token, alternative });
    tokens.focus();
  }
}

function text(token: Alternative): HTMLElement {
  return make("span", "text", ...pieces(token).map((piece) => make("span", piece.blank ? "blank" : "", piece.text)));
}

function make(tag: string, className: string, ...content: (Node | string)[]): HTMLElement {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...content);
  return made;
}

function element(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) {
    throw new Error(`The page has no element ${id}.`);
  }
  return found;
}

function send(message: FromView): void {
  vscode.postMessage(message);
}
