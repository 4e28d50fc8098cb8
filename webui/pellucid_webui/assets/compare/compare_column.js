// A column of Compare: an answer as tokens, coloured by probability or by which column finds them more likely.
"use strict";

(() => {
  const { make, visible, Cells, compared } = window.Pellucid;

  const STEPS = 8; // of a colour scale
  const STRONG_NATS = 4; // the log ratio that has the strongest colour
  const LARGE_NATS = 2; // the log ratio from which a token has a line as well
  const MAX_BITS = 12; // the surprisal that has the strongest colour
  const UNLIKELY = 0.1;
  const CONTEXT = 4; // equal tokens that stay visible at each end of a folded part
  const LEAST_FOLDED = 12;

  let columns = 0;

  class CompareColumn {
    /**
     * @param {string} letter
     * @param {{ onSelect: (index: number) => void, onHover: (index: number | null) => void }} actions
     */
    constructor(letter, { onSelect, onHover }) {
      columns += 1;
      this.letter = letter;
      this.batches = 0; // drawn so far
      /** @type {Page.TokenRecord[]} */
      this.records = [];
      this.current = 0;
      /** @type {[from: number, to: number][]} */
      this.folds = [];
      /** @type {HTMLElement[]} */
      this.linked = [];
      /** @type {HTMLElement | null} */
      this.shown = null;
      this.model = make("span", { class: "pl-column-model" });
      this.about = make("p", { class: "pl-quiet" });
      this.note = make("p", { class: "pl-note" });
      this.list = make("div", { class: "pl-tokens", role: "listbox", "aria-label": `Tokens of answer ${letter}`, "aria-orientation": "horizontal", tabindex: "-1" });
      this.cells = new Cells(this.list, `pl-column-${columns}`);
      this.element = make(
        "article",
        { class: "pl-column", "data-column": letter, "aria-label": `Answer ${letter}` },
        make("h3", {}, compared.badge(letter), this.model),
        this.about,
        this.list,
        this.note,
      );
      this.onSelect = onSelect;
      this.list.addEventListener("focusin", (event) => this.focused(this.cells.indexOf(event.target)));
      this.list.addEventListener("keydown", (event) => this.key(event));
      this.list.addEventListener("click", (event) => this.clicked(this.cells.indexOf(event.target)));
      this.list.addEventListener("pointerover", (event) => event.pointerType === "mouse" && !event.buttons && onHover(this.cells.indexOf(event.target)));
      this.list.addEventListener("pointerleave", () => onHover(null));
    }

    /** @param {Page.CompareColumnValue} value */
    update(value) {
      this.model.textContent = value.model;
      this.about.textContent = value.about;
      this.note.textContent = value.note;
      this.note.classList.toggle("pl-wrong", value.wrong);
      const fresh = value.batches.slice(this.batches).flatMap((batch) => JSON.parse(batch));
      this.batches = value.batches.length;
      if (!fresh.length) return;
      this.records.push(...fresh);
      this.cells.append(fresh, (index) => ({ className: "pl-token", label: `token ${visible.spoken(this.records[index].t, this.records[index].b)}` }));
      this.makeTabStop(this.current);
    }

    /**
     * Colour the tokens.
     * @param {(index: number) => Page.CompareLook} lookOf
     */
    paint(lookOf) {
      this.records.forEach((record, index) => {
        const { probability, ratio, other, isApart } = lookOf(index);
        const said = [`token ${visible.spoken(record.t, record.b)}`];
        const classes = ["pl-token"];
        if (probability === null) said.push("no probability");
        else {
          said.push(visible.spokenPercent(probability));
          classes.push(`pl-p${step(1 - probability)}`, `pl-s${step(-Math.log2(Math.max(probability, 1e-12)) / MAX_BITS)}`);
          if (probability < UNLIKELY) classes.push("pl-unlikely");
        }
        if (ratio !== null) {
          const more = ratio[0] + ratio[1] >= 0 ? this.letter : other;
          const size = Math.abs(ratio[0] + ratio[1]) / 2;
          classes.push(`pl-d${step(size / STRONG_NATS)}`, `pl-more-${more}`);
          if (size >= LARGE_NATS) classes.push("pl-large");
          said.push(compared.ratioWords(this.letter, other, ratio));
        }
        if (isApart) {
          classes.push("pl-apart");
          said.push("not in all answers");
        }
        this.cells.describe(index, { className: classes.join(" "), label: said.join(", ") });
      });
    }

    /**
     * Fold the parts without these tokens, or show all of them again.
     * @param {[from: number, to: number][] | null} apart ranges of tokens that not all answers have; null shows all
     */
    fold(apart) {
      this.unfold();
      if (apart === null) return;
      let start = 0;
      for (const [from, to] of [...apart, [this.records.length, this.records.length]]) {
        const first = start === 0 ? 0 : start + CONTEXT;
        const last = from === this.records.length ? from : from - CONTEXT;
        if (last - first >= LEAST_FOLDED) this.folds.push([first, last]);
        start = Math.max(start, to);
      }
      this.folds.forEach((range) => this.drawFold(range, true));
      this.makeTabStop(this.visibleFrom(this.current, 1) ?? this.visibleFrom(this.current, -1) ?? 0);
    }

    /** Show all folded parts, or the one that has this token. */
    unfold(index = -1) {
      const [opened, kept] = [/** @type {[number, number][]} */ ([]), /** @type {[number, number][]} */ ([])];
      for (const range of this.folds) (index < 0 || (index >= range[0] && index < range[1]) ? opened : kept).push(range);
      opened.forEach((range) => this.drawFold(range, false));
      this.folds = kept;
      return opened.length > 0;
    }

    /**
     * The first token of a folded part stands for all of them.
     * @param {[from: number, to: number]} range
     * @param {boolean} folded
     */
    drawFold([from, to], folded) {
      const [first, ...others] = this.cells.all.slice(from, to);
      for (const cell of others) cell.hidden = folded;
      if (folded) {
        first.dataset.folded = `… ${to - from} equal tokens …`;
        first.dataset.label = first.getAttribute("aria-label") ?? "";
        first.setAttribute("aria-label", `${to - from} equal tokens, folded. Enter shows them.`);
      } else {
        delete first.dataset.folded;
        first.setAttribute("aria-label", first.dataset.label ?? "");
      }
    }

    /**
     * Mark the token that the card shows, or the tokens at the same place as it; an empty range marks the place between two tokens.
     * @param {[from: number, to: number] | null} range
     * @param {boolean} isShown whether it is the card's token itself
     */
    mark(range, isShown) {
      for (const cell of this.linked) ["linked", "shown", "gap"].forEach((name) => delete cell.dataset[name]);
      this.linked = [];
      if (range === null || !this.cells.all.length) return;
      const [from, to] = range;
      this.linked = from < to ? this.cells.all.slice(from, to) : this.cells.all.slice(from, from + 1);
      for (const cell of this.linked) cell.dataset[isShown ? "shown" : from < to ? "linked" : "gap"] = to - from === 1 ? "one" : "several";
      if (!isShown && !this.list.contains(document.activeElement)) this.makeTabStop(Math.min(from, this.records.length - 1));
    }

    /** @param {number} index */
    focusToken(index) {
      const isOpened = this.unfold(index);
      const cell = this.cells.all[index];
      if (!cell) return;
      if (isOpened && cell === document.activeElement) cell.blur();
      cell.focus({ preventScroll: true });
      cell.scrollIntoView({ block: "nearest", inline: "nearest" });
    }

    /** Scroll the marked tokens into view, if the column scrolls. */
    reveal() {
      const cell = this.linked[0];
      if (!cell) return;
      const [list, place] = [this.list.getBoundingClientRect(), cell.getBoundingClientRect()];
      if (place.top < list.top) this.list.scrollTop += place.top - list.top - 8;
      else if (place.bottom > list.bottom) this.list.scrollTop += place.bottom - list.bottom + 8;
    }

    /** @param {number | null} index */
    focused(index) {
      if (index === null) return;
      this.makeTabStop(index);
      this.onSelect(index);
    }

    /** @param {number | null} index */
    clicked(index) {
      if (index === null) return;
      if (this.cells.all[index].dataset.folded) this.unfold(index);
      this.cells.all[index].focus({ preventScroll: true });
    }

    /** @param {number} index */
    makeTabStop(index) {
      const before = this.cells.all[this.current];
      if (before) {
        before.tabIndex = -1;
        before.removeAttribute("aria-selected");
      }
      const cell = this.cells.all[index];
      if (!cell) return;
      this.current = index;
      cell.tabIndex = 0;
      cell.setAttribute("aria-selected", "true");
    }

    /**
     * @param {number} index
     * @param {number} direction
     * @returns {number | null} the nearest token from this one on that is not folded away
     */
    visibleFrom(index, direction) {
      for (let at = index; at >= 0 && at < this.records.length; at += direction) if (!this.cells.all[at].hidden) return at;
      return null;
    }

    /** @param {KeyboardEvent} event */
    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || !this.records.length) return;
      const last = this.records.length - 1;
      /** @param {number} direction */
      const inLine = (direction) => {
        const { left, right } = this.cells.place(this.current);
        return this.cells.inNextLine(this.current, direction, (left + right) / 2);
      };
      /** @type {Record<string, () => number | null>} */
      const goals = {
        ArrowLeft: () => this.visibleFrom(this.current - 1, -1),
        ArrowRight: () => this.visibleFrom(this.current + 1, 1),
        ArrowUp: () => this.visibleFrom(inLine(-1), -1),
        ArrowDown: () => this.visibleFrom(inLine(1), 1),
        Home: () => this.visibleFrom(0, 1),
        End: () => this.visibleFrom(last, -1),
      };
      const isFolded = Boolean(this.cells.all[this.current].dataset.folded);
      if (event.key === "Enter" && isFolded) this.focusToken(this.current);
      else if (event.key in goals) {
        const goal = goals[event.key]();
        const cell = goal === null ? null : this.cells.all[goal];
        cell?.focus({ preventScroll: true });
        cell?.scrollIntoView({ block: "nearest", inline: "nearest" });
      } else return;
      event.preventDefault();
    }
  }

  /**
   * @param {number} share from 0 to 1
   * @returns {number}
   */
  const step = (share) => Math.max(0, Math.min(STEPS, Math.round(share * STEPS)));

  window.Pellucid.CompareColumn = CompareColumn;
})();
