// The card of a token: what it is, how probable it was, and what could have stood in its place. It floats next to the token.
"use strict";

(() => {
  const { make, colours, visible } = window.Pellucid;

  const GAP = 6; // pixels between a token and its card
  const MARGIN = 8; // pixels that the card keeps from the edges of the window
  const LEAST_HEIGHT = 160; // pixels of a card that must scroll; in a window lower than that it covers its token
  const HALF = "This is half a character, from which nothing can be continued.";

  const rounded = (value, digits) => (value === null ? "–" : value.toFixed(digits));
  const share = (value) => (value === null ? "–" : `${visible.percent(value)} %`);

  class Card {
    constructor() {
      this.onBranch = null;
      this.onClose = null;
      this.rows = [];
      // Focusable, so that a click into it takes the focus and does not lose it.
      this.element = make("div", { class: "pl-card", popover: "manual", role: "dialog", tabindex: "-1", onkeydown: (event) => this.key(event) });
    }

    get isOpen() {
      return this.element.matches(":popover-open");
    }

    /** Whether the keyboard is in it. */
    get hasFocus() {
      return this.element.contains(document.activeElement);
    }

    /**
     * Show a token: its `record`, a `mark` of a comparison or null, a `verdict` of what-if or null. `anchor` is its element;
     * `onBranch(alternative)` is null where one cannot branch, `onClose()` is asked to close the card.
     */
    show({ index, record, mark, verdict, onBranch, onClose, anchor }) {
      this.onBranch = onBranch;
      this.onClose = onClose;
      this.anchor = anchor;
      this.describe(index, record);
      this.rows = [];
      const parts = [this.head(record), this.figures(record)];
      if (mark && mark.text) parts.push(make("p", { class: "pl-remark" }, mark.text));
      if (verdict) parts.push(this.verdict(verdict));
      if (record.a.length) parts.push(this.alternatives(record, verdict));
      this.element.replaceChildren(...parts);
      if (!this.isOpen) this.element.showPopover();
      this.place();
    }

    hide() {
      if (this.isOpen) this.element.hidePopover();
    }

    /** Next to its token, and within the window: where it is too high for that it scrolls, and the token stays in sight. */
    place() {
      const token = this.anchor.getClientRects()[0] || this.anchor.getBoundingClientRect();
      const [width, height] = [document.documentElement.clientWidth, window.innerHeight];
      const { offsetWidth, offsetHeight, clientHeight, scrollHeight } = this.element;
      const whole = offsetHeight - clientHeight + scrollHeight; // measured so, and not by letting it grow, it stays where it was scrolled to
      const room = { below: height - MARGIN - token.bottom - GAP, above: token.top - GAP - MARGIN };
      const isBelow = whole <= room.below || room.below >= room.above;
      const most = Math.max(LEAST_HEIGHT, isBelow ? room.below : room.above);
      const shown = Math.min(whole, most);
      this.element.style.maxHeight = `${Math.floor(most)}px`;
      const beside = isBelow ? token.bottom + GAP : token.top - GAP - shown;
      const top = Math.max(MARGIN, Math.min(beside, height - MARGIN - shown));
      const left = Math.max(MARGIN, Math.min(token.left, width - offsetWidth - MARGIN));
      this.element.style.left = `${Math.round(left)}px`;
      this.element.style.top = `${Math.round(top)}px`;
    }

    /** Walk into the alternatives: to the token itself where it is one of them. */
    enter() {
      const chosen = this.rows.find((row) => row.getAttribute("aria-current") === "true") || this.rows[0];
      if (chosen) chosen.focus();
      return Boolean(chosen);
    }

    /** The numbers as they came, for whoever reads the page with a program. */
    describe(index, record) {
      const numbers = {
        index,
        id: record.i,
        logprob: record.l,
        probability: record.l === null ? null : Math.exp(record.l),
        surprisal: colours.bits(record.l),
        rank: record.r,
        entropy: record.e,
        sampled: record.s,
        rest: record.o,
      };
      for (const [name, value] of Object.entries(numbers)) {
        if (value === null) delete this.element.dataset[name];
        else this.element.dataset[name] = String(value);
      }
      this.element.setAttribute("aria-label", `Token ${visible.spoken(record.t, record.b)}`);
    }

    head(record) {
      const parts = [make("span", { class: "pl-name" }, ...visible.standing(visible.piecesOf(record.t, record.b)))];
      if (record.b !== undefined) parts.push(make("span", { class: "pl-bytes" }, `bytes ${visible.hexOf(visible.bytesOf(record.b))}`));
      parts.push(make("span", { class: "pl-id" }, `id ${record.i}`));
      // For fingers, which have neither Escape nor, where the map fills the screen, a place beside it. It is no tab stop: keys have Escape.
      parts.push(make("button", { type: "button", class: "pl-close", tabindex: "-1", title: "Close", "aria-label": "Close", onclick: () => this.onClose() }, "×"));
      return make("div", { class: "pl-card-head" }, ...parts);
    }

    figures(record) {
      const probability = record.l === null ? null : Math.exp(record.l);
      const figure = (name, text, value) => make("div", {}, make("dt", {}, name), make("dd", { title: value === null ? null : String(value) }, text));
      return make(
        "dl",
        { class: "pl-numbers" },
        figure("probability", share(probability), probability),
        figure("as sampled", share(record.s), record.s),
        figure("rank", record.r === null ? "–" : String(record.r), record.r),
        figure("surprisal", record.l === null ? "–" : `${rounded(colours.bits(record.l), 2)} bits`, colours.bits(record.l)),
        figure("entropy", record.e === null ? "–" : `${rounded(colours.toBits(record.e), 3)} bits`, record.e),
      );
    }

    verdict({ chosen }) {
      const text = chosen.kept ? `What if: ${about(chosen.probability)}` : `What if: would ${chosen.sure ? "" : "probably "}have been dropped`;
      return make("p", { class: "pl-remark pl-verdict", title: range(chosen.probability), "data-whatif": String(chosen.probability.middle) }, text);
    }

    alternatives(record, verdict) {
      const rows = record.a.map((one, index) => this.row(one, index, one[0] === record.i, verdict));
      const chosenIsListed = record.a.some((one) => one[0] === record.i);
      if (!chosenIsListed && record.l !== null) rows.push(this.unlisted(record, verdict));
      rows.push(this.rest(record, chosenIsListed || record.l === null, verdict));
      return make("ul", { class: `pl-alternatives${verdict ? " pl-weighed" : ""}`, "aria-label": "Alternatives" }, ...rows);
    }

    row([id, text, logprob, base64], index, isChosen, verdict) {
      const probability = Math.exp(logprob);
      const weighed = verdict ? verdict.alternatives[index] : null;
      const half = base64 !== undefined;
      const said = [visible.spoken(text, base64), visible.spokenPercent(probability)];
      if (isChosen) said.push("chosen");
      if (weighed) said.push(saidOf(weighed));
      const attributes = { class: "pl-alternative", tabindex: "-1" };
      if (isChosen) attributes["aria-current"] = "true";
      const name = visible.standing(visible.piecesOf(text, base64));
      const cells = this.cells(isChosen, name, probability, weighed);
      let row;
      if (this.onBranch) {
        const hint = half ? HALF : isChosen ? "Go on from here once more" : "Go on from here with this instead";
        Object.assign(attributes, { type: "button", title: hint, "aria-label": `${said.join(", ")}. ${hint}`, "aria-disabled": half ? "true" : null });
        row = make("button", { ...attributes, onclick: () => half || this.onBranch(index) }, ...cells);
      } else {
        row = make("div", attributes, ...cells);
      }
      Object.assign(row.dataset, { alternative: String(index), id: String(id), logprob: String(logprob), probability: String(probability) });
      if (weighed) row.dataset.whatif = String(weighed.probability.middle);
      row.classList.toggle("pl-out", Boolean(weighed) && !weighed.kept);
      this.rows.push(row);
      return make("li", {}, row);
    }

    /** The token itself, where it is not among the alternatives. */
    unlisted(record, verdict) {
      const weighed = verdict ? verdict.chosen : null;
      const name = visible.standing(visible.piecesOf(record.t, record.b));
      const row = make("div", { class: "pl-alternative", "aria-current": "true" }, ...this.cells(true, name, Math.exp(record.l), weighed));
      row.classList.toggle("pl-out", Boolean(weighed) && !weighed.kept);
      return make("li", { class: "pl-unlisted" }, row);
    }

    rest(record, excludesChosen, verdict) {
      const weighed = verdict ? { kept: verdict.rest.high > 0, sure: true, probability: verdict.rest } : null;
      const name = excludesChosen ? "all others" : "all others, with it";
      const row = make("div", { class: "pl-alternative pl-rest" }, ...this.cells(false, [name], record.o, weighed));
      row.dataset.probability = String(record.o);
      if (weighed) row.dataset.whatif = String(weighed.probability.middle);
      row.classList.toggle("pl-out", Boolean(weighed) && !weighed.kept);
      return make("li", {}, row);
    }

    cells(isChosen, name, probability, weighed) {
      const bar = (className, value) => {
        const part = make("span", { class: className });
        part.style.setProperty("--share", `${(100 * value).toFixed(2)}%`);
        return part;
      };
      const bars = make("span", { class: "pl-bars" }, bar("pl-bar", probability), weighed && bar("pl-bar pl-bar-weighed", weighed.probability.middle));
      return [
        make("span", { class: "pl-dot", "aria-hidden": "true" }, isChosen ? "●" : ""),
        make("span", { class: "pl-name" }, ...name),
        bars,
        make("span", { class: "pl-number", title: String(probability) }, share(probability)),
        weighed && make("span", { class: "pl-number pl-number-weighed", title: range(weighed.probability) }, weighed.kept ? about(weighed.probability) : "dropped"),
      ];
    }

    key(event) {
      const at = this.rows.indexOf(document.activeElement);
      const last = this.rows.length - 1;
      const goals = { ArrowUp: Math.max(at - 1, 0), ArrowDown: Math.min(at + 1, last), Home: 0, End: last };
      if (!(event.key in goals) || last < 0) return;
      this.rows[goals[event.key]].focus();
      event.preventDefault();
      event.stopPropagation();
    }
  }

  /** Whether an interval is wider than what is shown of it. */
  const isWide = ({ low, high }) => high - low > 0.001;

  const about = (probability) => `${isWide(probability) ? "≈ " : ""}${share(probability.middle)}`;
  const range = (probability) =>
    isWide(probability) ? `between ${share(probability.low)} and ${share(probability.high)}` : String(probability.middle);
  const saidOf = (weighed) => (weighed.kept ? `what if: ${visible.spokenPercent(weighed.probability.middle)}` : "what if: dropped");

  window.Pellucid.Card = Card;
})();
