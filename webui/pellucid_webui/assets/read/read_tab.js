// Read: a text scored by a model, with its figures and its most surprising lines; or a diff, before and after.
"use strict";

(() => {
  const { make, button, download, contentOf, chart, diffView, HeatMap, LineList, Minimap, PartLoader } = window.Pellucid;

  const SETTLED_MS = 100; // after the last scroll, the alternatives of the tokens in view are asked for
  const PART_TOKENS = 256; // as in stored_reading.py
  const STRONGEST_BITS = 6; // a difference of this many bits has the strongest colour
  const MARGIN = 0.25; // share of the map above a line that is gone to
  const MEMORY = "pellucid.read";

  /** @type {Reading | null} */
  let mounted = null;
  /** @type {Page.Component<Page.ReadPart | null> | null} */
  let channel = null;

  class Reading {
    /**
     * @param {Page.Component<Page.ReadValue | null>} component
     */
    constructor({ element, props, watch, act }) {
      this.send = act;
      /** @type {Page.ReadValue | null} */
      this.value = null;
      this.number = -1; // of the reading that is drawn
      this.seen = 0;
      /** @type {Page.TokenRecord[]} */
      this.records = [];
      this.isComplete = false;
      /** @type {Set<number>} */
      this.detailed = new Set(); // the parts whose alternatives are there
      /** @type {Page.LineColumns | null} */
      this.columns = null;
      this.timer = 0;
      this.loader = new PartLoader((part) => this.take(part));
      this.status = make("p", { class: "pl-note", role: "status" });
      this.bar = make("progress", { max: 1, "aria-label": "How much of the text has been read" });
      this.count = make("span", { class: "pl-quiet" });
      this.progress = make("div", { class: "pl-row pl-progress" }, button("Stop", { onclick: () => this.send({ verb: "stop" }) }), this.bar, this.count);
      this.summary = make("p", { class: "pl-read-summary" });
      this.figures = make("dl", { class: "pl-figures pl-read-figures" });
      this.body = make("div", { class: "pl-body pl-read-body" });
      this.minimap = new Minimap({ onGo: (line) => this.scrollTo(line) });
      this.lines = new LineList({ onGo: (index) => this.goTo(index), onEnter: (index) => this.enter(index), onSort: () => this.drawMinimap() });
      this.text = make("div", { class: "pl-read-text", onkeydown: (event) => this.key(event) }, this.body, this.minimap.element, this.lines.element);
      this.diff = make("div", { class: "pl-diffs" });
      this.charts = make("div", { class: "pl-charts" });
      this.tools = make(
        "div",
        { class: "pl-row" },
        button("Export CSV", { onclick: () => this.send({ verb: "export", form: "csv" }) }),
        button("Export JSON", { onclick: () => this.send({ verb: "export", form: "json" }) }),
      );
      const parts = [this.status, this.progress, this.summary, this.figures, this.text, this.diff, this.tools, this.charts];
      element.replaceChildren(make("section", { class: "pl-reading", "aria-label": "The text as the model reads it" }, ...parts));
      this.map = new HeatMap(this.body, { label: "Tokens of the text", onBranch: null, onSelect: (index) => this.detail(index, index + 1) });
      this.map.cells.numberLines();
      this.tokens = /** @type {HTMLElement} */ (this.body.querySelector(".pl-tokens"));
      this.tokens.addEventListener("scroll", () => this.scrolled(), { passive: true });
      new ResizeObserver(() => this.scrolled()).observe(this.tokens);
      watch("value", () => this.update(props.value));
      this.update(props.value);
      const key = remembered();
      if (key && !props.value) this.send({ verb: "restore", key });
    }

    /** @param {Page.ReadValue | null} value */
    update(value) {
      this.progress.hidden = !value || value.progress === null;
      this.text.hidden = !value || !value.tokens;
      this.tools.hidden = !value || !value.lines;
      if (!value) return;
      this.value = value;
      if (this.status.textContent !== value.status) this.status.textContent = value.status; // else a screen reader would read it again
      this.status.classList.toggle("pl-wrong", value.wrong);
      if (value.progress !== null) {
        this.bar.value = value.progress.share;
        this.count.textContent = value.progress.words;
      }
      if (value.number !== this.number) this.begin(value);
      if (value.key) this.drawResult(value);
      else if (this.records.length < value.tokens) this.loader.ask("tokens", this.records.length);
      if (value.file && value.file.n !== this.seen) {
        this.seen = value.file.n;
        download(value.file.name, value.file.text, value.file.type);
      }
    }

    /** @param {Page.ReadValue} value */
    begin(value) {
      this.number = value.number;
      this.map.set([]);
      Object.assign(this, { records: [], isComplete: false, columns: null });
      this.detailed.clear();
      this.loader.reset(value.number);
      this.lines.set(null, [], "");
      this.minimap.set(0, [], []);
      this.summary.textContent = "";
      this.figures.replaceChildren();
      this.charts.replaceChildren();
      this.diff.replaceChildren();
    }

    /** @param {Page.ReadValue} value */
    drawResult(value) {
      remember(value.key);
      if (this.records.length < value.tokens) this.loader.ask("tokens", this.records.length);
      if (this.figures.childElementCount) {
        this.complete();
        return; // it is the same reading with another status
      }
      this.summary.textContent = value.summary;
      this.figures.replaceChildren(...value.figures.map(([name, figure, hint], index) => explained(name, figure, hint, index)));
      this.charts.replaceChildren(...value.charts.map((one) => chart(one)));
      this.diff.replaceChildren(...(value.diff === null ? [] : diffView(JSON.parse(value.diff))));
      this.complete();
    }

    /** Draw the lines, once all tokens are there. */
    complete() {
      const { value } = this;
      if (this.isComplete || !value || value.lines === null || this.records.length < value.tokens) return;
      this.isComplete = true;
      /** @type {Page.LineColumns} */
      const columns = JSON.parse(value.lines);
      const texts = this.records
        .map((record) => record.t)
        .join("")
        .split("\n");
      this.columns = columns;
      this.lines.set(columns, texts, value.second);
      this.drawMinimap();
      if (value.compared) this.loader.ask("saved", 0);
      this.scrolled();
    }

    drawMinimap() {
      const last = this.columns === null ? 0 : (this.columns.number.at(-1) ?? 0);
      this.minimap.set(last, this.columns?.number ?? [], this.lines.values);
      this.drawWindow();
    }

    // Parts

    /** @param {Page.ReadPart} part */
    take({ kind, start, data }) {
      if (kind === "tokens") this.takeTokens(JSON.parse(data), start);
      else if (kind === "alternatives") this.takeAlternatives(JSON.parse(data), start);
      else this.takeSaved(JSON.parse(data));
    }

    /**
     * @param {Page.TokenColumns} columns
     * @param {number} start
     */
    takeTokens(columns, start) {
      if (start !== this.records.length) return;
      const records = columns.t.map((text, at) => recordOf(columns, text, at));
      this.records.push(...records);
      this.map.add(records);
      const { value } = this;
      if (value && records.length && this.records.length < value.tokens) this.loader.ask("tokens", this.records.length);
      this.complete();
      this.scrolled();
    }

    /**
     * Complete the records of a part, and show the alternatives of a token in it that has the focus.
     * @param {Page.TokenRecord[]} records
     * @param {number} part
     */
    takeAlternatives(records, part) {
      const first = part * PART_TOKENS;
      records.forEach(({ i, o, a, s }, at) => this.records[first + at] && Object.assign(this.records[first + at], { i, o, a, s }));
      if (records.length === PART_TOKENS || this.isComplete) this.detailed.add(part);
      const focused = this.map.cells.indexOf(document.activeElement);
      if (focused === null || focused < first || focused >= first + records.length) return;
      const cell = this.map.cells.all[focused];
      cell.blur();
      cell.focus({ preventScroll: true });
    }

    /** @param {(number | null)[]} saved bits, for each token */
    takeSaved(saved) {
      const second = this.value?.second ?? "";
      const marks = saved.map((bits) => (bits === null ? null : savedMark(bits, second)));
      this.map.annotate(marks, [`more surprising to ${second}`, `less surprising to ${second}`]);
      this.map.setMode("difference");
    }

    /**
     * Ask for the alternatives of tokens, which their cards show.
     * @param {number} from
     * @param {number} to exclusive
     */
    detail(from, to) {
      for (let part = Math.floor(from / PART_TOKENS); part * PART_TOKENS < Math.min(to, this.records.length); part += 1) {
        if (!this.detailed.has(part)) this.loader.ask("alternatives", part);
      }
    }

    // Places

    scrolled() {
      this.drawWindow();
      clearTimeout(this.timer);
      this.timer = setTimeout(() => {
        const { scrollTop, clientHeight } = this.tokens;
        if (clientHeight) this.detail(...this.map.cells.between(scrollTop, scrollTop + clientHeight));
      }, SETTLED_MS);
    }

    drawWindow() {
      const { scrollTop, clientHeight } = this.tokens;
      this.minimap.show(this.map.cells.lineAt(scrollTop), this.map.cells.lineAt(scrollTop + clientHeight));
    }

    /** @param {number} line */
    scrollTo(line) {
      this.tokens.scrollTop = this.map.cells.offsetOf(line) - this.tokens.clientHeight * MARGIN;
    }

    /**
     * Show a line in the map, and mark it.
     * @param {number} index of the columns
     */
    goTo(index) {
      const columns = /** @type {Page.LineColumns} */ (this.columns);
      const [number, first] = [columns.number[index], columns.first[index]];
      this.scrollTo(number);
      this.map.markRange(first, first + columns.tokens[index]);
      const { top } = this.map.cells.place(first);
      this.tokens.scrollTop += top - this.tokens.getBoundingClientRect().top - this.tokens.clientHeight * MARGIN;
      for (const gutter of this.tokens.querySelectorAll(".pl-gutter[data-marked]")) gutter.removeAttribute("data-marked");
      this.tokens.querySelector(`.pl-gutter[data-line="${number}"]`)?.setAttribute("data-marked", "");
    }

    /**
     * Move to the most surprising token of a line.
     * @param {number} index of the columns
     */
    enter(index) {
      if (this.columns !== null) this.map.focusToken(this.columns.peak[index]);
    }

    /** @param {KeyboardEvent} event */
    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || (event.key !== "." && event.key !== ",")) return;
      if (event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement) return;
      event.preventDefault();
      this.lines.step(event.key === "." ? 1 : -1);
    }
  }

  /**
   * @param {Page.TokenColumns} columns
   * @param {string} text
   * @param {number} at
   * @returns {Page.TokenRecord} without alternatives, which are asked for when they are shown
   */
  function recordOf({ l, r, e, b }, text, at) {
    /** @type {Page.TokenRecord} */
    const record = { i: -1, t: text, l: l[at], r: r[at], e: e[at], s: null, o: 0, a: [] };
    if (b[at] !== undefined) record.b = b[at];
    return record;
  }

  /**
   * @param {number} bits
   * @param {string} model
   * @returns {Page.Mark} whose words are written when they are read: a long text has many marks, and shows few
   */
  const savedMark = (bits, model) => ({
    value: Math.max(-1, Math.min(bits / STRONGEST_BITS, 1)),
    get text() {
      return savedWords(bits, model);
    },
  });

  /**
   * @param {number} bits
   * @param {string} model
   * @returns {string}
   */
  const savedWords = (bits, model) => (Math.abs(bits) < 0.005 ? `equally surprising to ${model}` : `${Math.abs(bits).toFixed(2)} bits ${bits > 0 ? "less" : "more"} surprising to ${model}`);

  /**
   * Return a figure that explains itself on hover and focus.
   * @param {string} name
   * @param {string} figure
   * @param {string} hint
   * @param {number} index
   * @returns {HTMLElement}
   */
  function explained(name, figure, hint, index) {
    const id = `pl-read-hint-${index}`;
    return make(
      "div",
      {},
      make("dt", {}, button(name, { class: "pl-explained", "aria-describedby": id })),
      make("dd", {}, figure),
      make("dd", { id, class: "pl-explanation", role: "tooltip" }, hint),
    );
  }

  /** @returns {string | null} the key of this tab's last reading */
  function remembered() {
    try {
      return sessionStorage.getItem(MEMORY);
    } catch {
      return null; // a browser that stores nothing starts without a reading
    }
  }

  /** @param {string} key */
  function remember(key) {
    try {
      sessionStorage.setItem(MEMORY, key);
    } catch {
      // a browser that stores nothing starts without a reading
    }
  }

  /** Connect the channel for tokens, which is another component. */
  function connect() {
    if (mounted !== null && channel !== null) mounted.loader.connect(channel);
  }

  /** Opens a text file that is chosen or dropped. This script reads its bytes: the server never gets a path. */
  class Opener {
    /**
     * @param {Omit<Page.Component<{ limit: number }>, "watch">} component
     */
    constructor({ element, props, act }) {
      this.send = act;
      this.limit = props.value.limit;
      this.input = make("input", { type: "file", class: "pl-heard", tabindex: "-1", "aria-label": "A text file to read" });
      this.notice = make("p", { class: "pl-notice", role: "alert" });
      const choose = button("Open a file", { onclick: () => this.input.click() }, "Open a text file; its text replaces the one above");
      element.replaceChildren(make("div", { class: "pl-row" }, choose, this.input, make("span", { class: "pl-quiet" }, "or drop one here")), this.notice);
      this.input.addEventListener("change", async () => {
        await this.open(/** @type {FileList} */ (this.input.files));
        this.input.value = ""; // so that the same file can be chosen again
      });
      this.takeDrops(/** @type {HTMLElement} */ (element.closest("#pl-read-side")));
    }

    /**
     * Accept dropped files; the browser handles everything else that is dragged.
     * @param {HTMLElement} place
     */
    takeDrops(place) {
      /**
       * @param {DragEvent} event
       * @returns {FileList | null} null if something else is dragged
       */
      const filesOf = ({ dataTransfer }) => (dataTransfer?.types.includes("Files") ? dataTransfer.files : null);
      place.addEventListener("dragover", (event) => {
        if (filesOf(event) === null) return;
        event.preventDefault();
        place.classList.add("pl-drop");
      });
      place.addEventListener("dragleave", (event) => {
        if (!place.contains(/** @type {Node | null} */ (event.relatedTarget))) place.classList.remove("pl-drop");
      });
      place.addEventListener("drop", (event) => {
        place.classList.remove("pl-drop");
        const files = filesOf(event);
        if (files === null) return;
        event.preventDefault();
        this.open(files);
      });
    }

    /** @param {FileList} files */
    async open(files) {
      this.notice.textContent = files.length > 1 ? "Open one file at a time." : "";
      if (files.length !== 1) return;
      try {
        this.send(await contentOf(files[0], this.limit));
      } catch {
        this.notice.textContent = `${files[0].name} cannot be read: choose a file that you have access to, not a folder.`;
      }
    }
  }

  window.Pellucid.mountOpener = (options) => new Opener(options);
  window.Pellucid.mountReading = (options) => {
    mounted = new Reading(options);
    connect();
    return mounted;
  };
  window.Pellucid.mountReadingParts = (options) => {
    channel = options;
    connect();
  };
})();
