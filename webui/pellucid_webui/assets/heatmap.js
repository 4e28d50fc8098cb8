// A text as its tokens, coloured by how the model saw them. Each opens a card; arrow keys walk from one to the next.
"use strict";

(() => {
  const { make, memory, colours, visible, whatIf, Card, Cells, Sparkline, Toolbar, WhatIfPanel } = window.Pellucid;

  const HOVER_MS = 120; // a pointer that rests this long on a token asks for its card
  const LEAVE_MS = 250; // and has this long to reach the card
  const WORDS = ["less likely", "likelier"]; // for a difference of -1 and of 1
  const KEYS = "Arrow keys walk from token to token, n and p to the next and the previous surprising one, Enter opens the alternatives.";

  let maps = 0;
  let opened = null; // the map that has its card open: one on a page is enough

  class HeatMap {
    /**
     * A map within `element`. `label` is its accessible name; `onBranch(index, alternative)` is called when the user chooses another
     * token in the place of one, and is null where one cannot branch; `onSelect(index)` when a token gets the focus.
     */
    constructor(element, { label, onBranch = null, onSelect = null }) {
      maps += 1;
      this.onBranch = onBranch;
      this.onSelect = onSelect;
      this.records = [];
      this.marks = [];
      this.dropped = null; // of each token, while one asks what if; what else was found is made anew for the card: kept, it would cost more
      this.settings = null;
      this.own = null;
      this.current = 0;
      this.visited = false;
      this.dismissed = false;
      this.shown = null;
      this.column = null;
      this.ranks = rememberedRanks();
      this.mode = rememberedMode();
      this.build(element, label, `pl-heat-${maps}`);
      this.setMode(this.mode);
    }

    /** Show these tokens and no others. */
    set(records) {
      const hadFocus = this.list.contains(document.activeElement);
      this.hideCard();
      this.cells.clear();
      Object.assign(this, { records: [], marks: [], current: 0, visited: false, column: null });
      if (this.dropped !== null) this.dropped = [];
      this.toolbar.allowDifference(false);
      if (this.mode === "difference") this.setMode(rememberedMode());
      this.spark.mark(null);
      this.add(records);
      if (hadFocus && records.length) this.focusToken(0);
    }

    /** Show more tokens behind them. */
    add(records) {
      const first = this.records.length;
      this.records.push(...records);
      if (this.dropped !== null) this.dropped.push(...records.map((record) => this.isDropped(record)));
      this.cells.append(records, (index) => this.description(index));
      this.list.hidden = !this.records.length;
      this.empty.hidden = !this.list.hidden;
      if (first === 0 && records.length) this.makeTabStop(0);
      this.spark.set(this.records);
    }

    /** Say of each token how it differs: {text, value from -1 to 1}, or null. `words` are what a difference of -1 and of 1 is called. */
    annotate(marks, words = WORDS) {
      this.marks = [...marks];
      this.toolbar.allowDifference(true, words);
      this.repaint();
    }

    /** The settings {temperature, top_k, top_p, min_p} with which the tokens were sampled; null where they were read. */
    setSampling(settings) {
      this.own = settings;
      this.panel.setOwn(settings);
    }

    /** Ask what the sampler would have done at these settings, as the sliders do; null asks no more. */
    ask(settings) {
      this.panel.element.open = settings !== null;
      if (settings !== null) this.panel.change(settings);
    }

    /** Colour by "probability", "rank", "surprisal", "two" or "difference". */
    setMode(mode) {
      if (!(mode in colours.MODES)) throw new RangeError(`There is no colour mode ${mode}: take one of ${Object.keys(colours.MODES).join(", ")}.`);
      this.mode = mode;
      this.root.dataset.mode = mode;
      this.toolbar.show(mode);
    }

    /** Go to a token and open its card. */
    focusToken(index) {
      const cell = this.cells.all[index];
      if (!cell) throw new RangeError(`There is no token ${index}: the map has ${this.records.length}.`);
      cell.focus({ preventScroll: true });
      cell.scrollIntoView({ block: "nearest", inline: "nearest" });
      if (this.shown === index) this.card.place();
    }

    /** Take the map off the page. */
    destroy() {
      this.hideCard();
      this.spark.destroy();
      this.listeners.abort();
      cancelAnimationFrame(this.frame);
      this.root.remove();
    }

    build(element, label, id) {
      this.list = make("div", { class: "pl-tokens", role: "listbox", "aria-label": label, "aria-orientation": "horizontal", "aria-describedby": `${id}-keys` });
      this.empty = make("p", { class: "pl-hint" }, "No tokens yet.");
      this.cells = new Cells(this.list, id);
      this.card = new Card();
      this.spark = new Sparkline({ onGo: (index) => this.focusToken(index), onPoint: (index) => this.point(index) });
      this.toolbar = new Toolbar({
        mode: this.mode,
        ranks: this.ranks,
        words: WORDS,
        onMode: (mode) => this.chooseMode(mode),
        onRanks: (ranks) => this.chooseRanks(ranks),
        onNext: () => this.goSurprising(1),
      });
      this.frame = 0;
      this.panel = new WhatIfPanel((settings) => this.reweigh(settings));
      this.root = make(
        "div",
        { class: "pl-heat" },
        this.toolbar.element,
        this.panel.element,
        this.spark.element,
        this.empty,
        this.list,
        this.card.element,
        make("span", { id: `${id}-keys`, hidden: true }, KEYS),
      );
      this.listen();
      element.append(this.root);
    }

    listen() {
      this.listeners = new AbortController();
      const { signal } = this.listeners;
      const on = (target, name, handler, options = {}) => target.addEventListener(name, handler, { signal, ...options });
      on(this.list, "keydown", (event) => this.key(event));
      on(this.list, "focusin", (event) => this.focused(this.cells.indexOf(event.target)));
      on(this.list, "click", (event) => this.clicked(this.cells.indexOf(event.target)));
      on(this.list, "pointerover", (event) => event.pointerType === "mouse" && this.hovered(event));
      on(this.list, "pointerleave", () => this.wait(LEAVE_MS, () => this.unhover()));
      on(this.card.element, "pointerenter", () => this.cancel());
      on(this.card.element, "pointerleave", () => this.wait(LEAVE_MS, () => this.unhover()));
      on(this.root, "focusout", (event) => this.root.contains(event.relatedTarget) || this.hideCard());
      on(document, "keydown", (event) => event.key === "Escape" && this.escape(event), { capture: true });
      on(document, "pointerdown", (event) => this.root.contains(event.target) || this.hideCard());
      on(window, "scroll", () => this.follow(), { capture: true, passive: true });
      on(window, "resize", () => this.follow());
    }

    // Colours

    description(index) {
      const record = this.records[index];
      const mark = this.marks[index] || null;
      const isDropped = this.dropped !== null && this.dropped[index];
      const said = [`token ${visible.spoken(record.t, record.b)}`];
      if (record.l === null) said.push("no probability");
      else said.push(visible.spokenPercent(Math.exp(record.l)), `rank ${record.r}`);
      if (mark && mark.text) said.push(mark.text);
      if (isDropped) said.push("would have been dropped");
      const classes = ["pl-token", ...colours.levels(record, this.ranks, mark)];
      if (isDropped) classes.push("pl-dropped");
      return { className: classes.join(" "), label: said.join(", ") };
    }

    repaint() {
      this.records.forEach((_, index) => this.cells.describe(index, this.description(index)));
      if (this.shown !== null) this.showCard(this.shown);
    }

    chooseMode(mode) {
      this.setMode(mode);
      if (mode !== "difference") memory.set("heat.mode", mode); // which not every map has
    }

    chooseRanks(ranks) {
      this.ranks = ranks;
      memory.set("heat.ranks", ranks.join(" "));
      this.repaint();
    }

    // What-if

    weigh(record) {
      return this.settings === null ? null : whatIf.weigh(record, this.settings, this.own);
    }

    isDropped(record) {
      const verdict = this.weigh(record);
      return verdict !== null && !verdict.chosen.kept;
    }

    /** The sliders have moved: once a frame is often enough. */
    reweigh(settings) {
      this.settings = settings;
      if (this.frame) return;
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        this.drawVerdicts();
      });
    }

    drawVerdicts() {
      const before = this.dropped;
      this.dropped = this.settings === null ? null : this.records.map((record) => this.isDropped(record));
      const isDifferent = (index) => (before !== null && before[index]) !== (this.dropped !== null && this.dropped[index]);
      this.records.forEach((_, index) => isDifferent(index) && this.cells.describe(index, this.description(index)));
      if (this.shown !== null) this.showCard(this.shown);
    }

    // The card

    showCard(index) {
      this.cancel();
      if (opened !== null && opened !== this) opened.hideCard();
      opened = this;
      const anchor = this.markShown(index);
      this.card.show({
        index,
        record: this.records[index],
        mark: this.marks[index] || null,
        verdict: this.dropped === null ? null : this.weigh(this.records[index]),
        onBranch: this.onBranch ? (alternative) => this.branch(index, alternative) : null,
        onClose: () => this.leaveCard(),
        anchor,
      });
    }

    hideCard() {
      this.cancel();
      this.markShown(null);
      this.card.hide();
    }

    /** The token that the card is about, or none; its element. */
    markShown(index) {
      if (this.shown !== null) this.cells.all[this.shown].toggleAttribute("data-shown", false);
      this.shown = index;
      if (index === null) return null;
      this.cells.all[index].toggleAttribute("data-shown", true);
      return this.cells.all[index];
    }

    /** Back to the token from within its card. */
    leaveCard() {
      const cell = this.cells.all[this.shown];
      this.hideCard();
      cell.focus({ preventScroll: true });
      this.dismiss();
    }

    /** The user has seen enough of this token. */
    dismiss() {
      this.hideCard();
      this.dismissed = true;
    }

    branch(index, alternative) {
      this.leaveCard();
      this.onBranch(index, alternative);
    }

    escape(event) {
      if (this.shown === null) return;
      if (this.card.hasFocus) this.leaveCard();
      else this.dismiss();
      event.preventDefault();
    }

    /** The page has moved below the card. */
    follow() {
      if (this.shown === null) return;
      const { top, bottom } = this.cells.place(this.shown);
      if (bottom < 0 || top > window.innerHeight) this.card.hide();
      else if (!this.card.isOpen) this.showCard(this.shown);
      else this.card.place();
    }

    // The pointer

    /** Do something later, in the place of what was to be done. */
    wait(milliseconds, action) {
      this.cancel();
      this.timer = setTimeout(action, milliseconds);
    }

    cancel() {
      clearTimeout(this.timer);
    }

    hovered(event) {
      const index = this.cells.indexOf(event.target);
      if (event.buttons || this.card.hasFocus) return;
      if (index === null) this.wait(LEAVE_MS, () => this.unhover());
      else if (index === this.shown) this.cancel();
      else this.wait(HOVER_MS, () => this.showCard(index));
    }

    /** The pointer is gone: the card of the token with the focus comes back, if there was one. */
    unhover() {
      if (this.card.hasFocus) return;
      if (!this.dismissed && this.list.contains(document.activeElement)) this.showCard(this.current);
      else this.hideCard();
    }

    clicked(index) {
      if (index !== null && index !== this.shown) this.showCard(index);
    }

    /** The pointer is at a token's bar in the sparkline. */
    point(index) {
      if (this.pointed) this.pointed.classList.remove("pl-pointed");
      this.pointed = index === null ? null : this.cells.all[index];
      if (this.pointed) this.pointed.classList.add("pl-pointed");
    }

    // The keyboard

    focused(index) {
      if (index === null) return;
      this.visited = true;
      this.dismissed = false;
      this.makeTabStop(index);
      this.spark.mark(index);
      this.showCard(index);
      if (this.onSelect) this.onSelect(index);
    }

    makeTabStop(index) {
      const before = this.cells.all[this.current];
      before.tabIndex = -1;
      before.removeAttribute("aria-selected");
      this.current = index;
      this.cells.all[index].tabIndex = 0;
      this.cells.all[index].setAttribute("aria-selected", "true");
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const moves = {
        ArrowLeft: () => this.walk(this.current - 1),
        ArrowRight: () => this.walk(this.current + 1),
        ArrowUp: () => this.walkLines(-1),
        ArrowDown: () => this.walkLines(1),
        Home: () => this.walk(0),
        End: () => this.walk(this.records.length - 1),
        n: () => this.goSurprising(1),
        p: () => this.goSurprising(-1),
        Enter: () => this.enterCard(),
        " ": () => this.enterCard(),
      };
      if (!(event.key in moves)) return;
      event.preventDefault();
      if (event.key !== "ArrowUp" && event.key !== "ArrowDown") this.column = null;
      moves[event.key]();
    }

    walk(index) {
      if (index >= 0 && index < this.records.length) this.focusToken(index);
    }

    walkLines(direction) {
      const { left, right } = this.cells.place(this.current);
      if (this.column === null) this.column = (left + right) / 2;
      this.walk(this.cells.inNextLine(this.current, direction, this.column));
    }

    /** The next (1) or previous (-1) token to stop at, beginning anew at the other end. */
    goSurprising(direction) {
      const count = this.records.length;
      const start = this.visited ? this.current : direction > 0 ? -1 : count;
      for (let step = 1; step <= count; step += 1) {
        const index = (((start + direction * step) % count) + count) % count;
        if (!colours.isSurprising(this.mode, this.records[index], this.ranks, this.marks[index])) continue;
        this.toolbar.say("");
        this.focusToken(index);
        return;
      }
      this.toolbar.say(this.mode === "difference" ? "Nothing here is far apart." : "Nothing here is surprising.");
    }

    enterCard() {
      this.showCard(this.current);
      this.card.enter();
    }
  }

  /** The mode that the user chose the last time, in any map. */
  function rememberedMode() {
    const mode = memory.get("heat.mode");
    return mode in colours.MODES && mode !== "difference" ? mode : "probability";
  }

  function rememberedRanks() {
    const ranks = (memory.get("heat.ranks") || "").split(" ").map(Number);
    const rise = ranks.length === colours.RANKS.length && ranks.every((rank, at) => Number.isInteger(rank) && rank > (at ? ranks[at - 1] : 0));
    return rise ? ranks : [...colours.RANKS];
  }

  window.Pellucid.HeatMap = HeatMap;
})();
