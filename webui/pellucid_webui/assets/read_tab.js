// Read: a text scored by a model, with its figures and its most surprising lines.
"use strict";

(() => {
  const { make, button, download, contentOf } = window.Pellucid;

  class Reading {
    /**
     * @param {Page.Component<Page.ReadValue | null>} component
     */
    constructor({ element, props, watch, act }) {
      this.send = act;
      this.number = -1; // of the reading that is drawn
      this.seen = 0;
      this.status = make("p", { class: "pl-note", role: "status" });
      this.bar = make("progress", { max: 1, "aria-label": "How much of the text has been read" });
      this.count = make("span", { class: "pl-quiet" });
      this.progress = make("div", { class: "pl-row pl-progress" }, button("Stop", { onclick: () => this.send({ verb: "stop" }) }), this.bar, this.count);
      this.figures = make("dl", { class: "pl-figures" });
      this.body = make("div", { class: "pl-body" });
      this.lines = make("section", { "aria-label": "Lines by surprisal" });
      this.tools = make(
        "div",
        { class: "pl-row" },
        button("Export CSV", { onclick: () => this.send({ verb: "export", form: "csv" }) }),
        button("Export JSON", { onclick: () => this.send({ verb: "export", form: "json" }) }),
        button("Histograms as PNG", { onclick: () => saveHistograms("png") }),
        button("Histograms as SVG", { onclick: () => saveHistograms("svg") }),
      );
      this.tools.hidden = true;
      const parts = [this.status, this.progress, this.figures, this.body, this.tools, this.lines];
      element.replaceChildren(make("section", { class: "pl-reading", "aria-label": "The text as the model reads it" }, ...parts));
      this.progress.hidden = true;
      this.map = new window.Pellucid.HeatMap(this.body, { label: "Tokens of the text", onBranch: null });
      this.batches = 0; // drawn so far
      watch("value", () => this.update(props.value));
      this.update(props.value);
    }

    /** @param {Page.ReadValue | null} value */
    update(value) {
      if (!value) return;
      if (this.status.textContent !== value.status) this.status.textContent = value.status; // else a screen reader would read it again
      this.status.classList.toggle("pl-wrong", value.wrong);
      this.progress.hidden = value.progress === null;
      if (value.progress !== null) {
        this.bar.value = value.progress.share;
        this.count.textContent = value.progress.words;
      }
      if (value.number !== this.number) {
        this.number = value.number;
        this.map.set([]);
        this.batches = 0;
      }
      const fresh = value.batches.slice(this.batches).flatMap((batch) => JSON.parse(batch));
      if (fresh.length) this.map.add(fresh);
      this.batches = value.batches.length;
      this.figures.replaceChildren(...value.figures.map(([name, figure, hint]) => make("div", { title: hint }, make("dt", {}, name), make("dd", {}, figure))));
      this.tools.hidden = !value.figures.length;
      this.drawLines(value.lines);
      if (value.file && value.file.n !== this.seen) {
        this.seen = value.file.n;
        download(value.file.name, value.file.text, value.file.type);
      }
    }

    /** @param {Page.ReadLine[]} lines */
    drawLines(lines) {
      this.lines.hidden = !lines.length;
      const heads = ["line", "mean", "highest", "text"].map((name) => make("th", { scope: "col" }, name));
      const rows = lines.map((line) =>
        make(
          "tr",
          {},
          make("td", {}, String(line.number)),
          make("td", {}, line.mean.toFixed(2)),
          make("td", {}, line.most.toFixed(2)),
          make("td", {}, button(line.text.trim() || "(blank)", { class: "pl-line pl-mono", dir: "auto", onclick: () => this.map.focusToken(line.token) }, "Go to this line")),
        ),
      );
      this.lines.replaceChildren(make("h3", {}, "Lines by surprisal, in bits per token"), make("table", { class: "pl-table" }, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows)));
    }
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

  /**
   * Have the browser save the histograms below the reading as pictures.
   * @param {"png" | "svg"} format
   */
  function saveHistograms(format) {
    for (const [index, plot] of document.querySelectorAll("#pl-histograms .js-plotly-plot").entries()) {
      window.Plotly.downloadImage(plot, { format, filename: ["ranks", "entropies"][index], width: 700, height: 420 });
    }
  }

  window.Pellucid.mountOpener = (options) => new Opener(options);
  window.Pellucid.mountReading = (options) => new Reading(options);
})();
