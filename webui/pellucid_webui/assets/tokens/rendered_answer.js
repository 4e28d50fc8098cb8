// An answer as rendered text whose tokens can be inspected: what is painted on it, and the token that the inspector shows.

import { make, announce } from "../shared/dom.js";
import * as colours from "./colours.js";
import { RenderedTokens } from "./rendered_tokens.js";
import * as visible from "./token_text.js";
import { TokenWalk } from "./token_walk.js";
import { WhatIfVerdicts } from "./whatif_verdicts.js";

export class RenderedAnswer {
  /**
   * @param {Page.Inspection} inspection
   * @param {Page.Message} message
   * @param {Page.Marks} marks
   */
  constructor(inspection, message, marks) {
    this.inspection = inspection;
    this.message = message;
    this.marks = marks;
    this.blocks = message.drawn;
    this.tokens = new RenderedTokens(message.body, marks);
    this.walk = new TokenWalk(this.tokens);
    this.verdicts = new WhatIfVerdicts(() => this.drawChange());
    this.verdicts.used = message.data.sampling ?? null;
    /** @type {Page.TokenRecord[] | null} */
    this.records = null;
    /** @type {number | null} */
    this.shown = null; // the token that the inspector shows
    this.branchMark = make("span", { class: "pl-branch-mark", role: "img", hidden: true }, "↳");
    message.element.append(this.branchMark);
    const { body } = message;
    body.dataset.tokens = "";
    body.tabIndex = 0;
    body.setAttribute("role", "group");
    body.setAttribute("aria-label", "Text of the answer: arrow keys move from token to token, n and p to unsure words");
    this.paint();
  }

  /** Paint what the state of the switch asks for. */
  paint() {
    const { state } = this.inspection;
    this.tokens.paint("pl-unsure", []);
    if (state === "unsure") this.tokens.paintUnsure();
    this.drawVerdicts();
    this.placeBranch();
  }

  /** Put the mark of a branch in front of its token. */
  placeBranch() {
    const { branched } = this.marks;
    const place = branched ? this.tokens.place(branched.at) : null;
    this.branchMark.hidden = !place;
    this.tokens.paint("pl-branch", branched ? this.tokens.ranges(branched.at) : []);
    if (!branched || !place) return;
    const box = this.message.element.getBoundingClientRect();
    this.branchMark.style.left = `${Math.round(place.left - box.left)}px`;
    this.branchMark.style.top = `${Math.round(place.top - box.top)}px`;
    const words = branchWords(branched);
    this.branchMark.title = words;
    this.branchMark.setAttribute("aria-label", words);
  }

  /**
   * Show a token in the inspector.
   * @param {number} token
   * @param {boolean} [spoken] whether to say it too, as the focus stays where it is
   */
  show(token, spoken = false) {
    this.shown = token;
    this.tokens.paint("pl-here", this.tokens.ranges(token));
    const { inspector } = this.inspection;
    if (this.records === null) {
      inspector.wait(this);
      this.inspection.askForTokens(this.message.data.node);
      return;
    }
    const record = this.records[token];
    const { branched } = this.marks;
    inspector.show(
      this,
      {
        index: token,
        record,
        difference: null,
        verdict: this.verdicts.of(record),
        isUnreported: this.verdicts.used !== null && branched?.at !== token && colours.isUnreported(this.records),
        note: branched?.at === token ? `${sentence(branchWords(branched))}.` : "",
        onBranch: this.inspection.canBranch(this.message) ? (alternative) => this.inspection.branch(this.message.data.node, token, alternative) : null,
        onClose: () => this.inspection.unpin(),
        anchor: this.message.body,
      },
      this.records.length,
    );
    if (spoken) announce(spokenOf(record));
  }

  /**
   * Take the records of all tokens.
   * @param {Page.TokenRecord[]} records
   */
  arrive(records) {
    if (this.records !== null || records.length !== this.tokens.count) return;
    this.records = records;
    if (this.shown !== null && this.inspection.inspector.owner === this) this.show(this.shown, document.activeElement === this.message.body);
    this.verdicts.change(this.verdicts.settings);
  }

  /** The inspector shows another answer's token now. */
  lose() {
    this.shown = null;
    this.tokens.paint("pl-here", []);
    this.verdicts.change(null);
  }

  /**
   * Go to the next unsure token, in a circle.
   * @param {number} direction
   * @returns {boolean} whether there is one
   */
  step(direction) {
    const { stops } = this.tokens;
    const goal = this.tokens.next(this.shown, direction, stops) ?? this.tokens.next(null, direction, stops);
    if (goal === null) {
      announce("No unsure words in this answer.");
      return false;
    }
    this.go(goal);
    return true;
  }

  /**
   * Show a token and keep it, and scroll to it if it is out of view.
   * @param {number} token
   */
  go(token) {
    this.inspection.pin(this);
    this.show(token, true);
    const place = this.tokens.place(token);
    if (place) this.inspection.reveal(place);
  }

  /**
   * @param {string} key
   * @returns {boolean} whether it moved
   */
  move(key) {
    const goal = this.walk.goal(key, this.shown);
    if (goal === undefined) return false;
    if (goal !== null) this.go(goal);
    return true;
  }

  /** Show other verdicts. */
  drawChange() {
    this.inspection.drawLegend();
    this.drawVerdicts();
    if (this.shown !== null && this.records !== null) this.show(this.shown);
  }

  /** While the sliders are open, colour the whole answer by what they ask for. */
  drawVerdicts() {
    const { records, tokens, verdicts } = this;
    if (verdicts.settings === null || records === null) {
      tokens.paint("pl-out", []);
      if (this.inspection.state === "heat") tokens.paintSteps(null);
      else tokens.clearSteps();
      return;
    }
    const chosen = records.map((record) => verdicts.chosen(record));
    tokens.paint("pl-out", tokens.order.filter((token) => chosen[token]?.kept === false).flatMap((token) => tokens.ranges(token)));
    tokens.paintSteps((token) => {
      const one = chosen[token];
      return one === null ? null : colours.step(1 - one.probability.middle);
    });
  }

  destroy() {
    this.inspection.inspector.release(this);
    this.verdicts.destroy();
    this.tokens.clear();
    this.branchMark.remove();
    const { body } = this.message;
    delete body.dataset.tokens;
    for (const name of ["tabindex", "role", "aria-label"]) body.removeAttribute(name);
  }
}

/**
 * @param {Page.BranchedToken} branched
 * @returns {string}
 */
export function branchWords({ text, p }) {
  if (text === undefined) return "branched here";
  const share = typeof p === "number" ? ` ${visible.percent(p)} %` : "";
  return `branched here: was “${text.replaceAll("\n", "↵")}”${share}`;
}

/** @param {string} text */
const sentence = (text) => text[0].toUpperCase() + text.slice(1);

/**
 * @param {Page.TokenRecord} record
 * @returns {string}
 */
function spokenOf(record) {
  const probability = colours.probabilityOf(record);
  const name = visible.spoken(record.t, record.b);
  return probability === null ? `${name}, no probability` : `${name}, ${visible.spokenPercent(probability)}, rank ${record.r}`;
}
