// Read: a text as a model reads it, with its figures and the lines that surprise it most.
"use strict";

(() => {
  const { make, button, download } = window.Pellucid;

  class Reading {
    constructor({ element, props, watch, act }) {
      this.send = act;
      this.seen = 0;
      this.status = make("p", { class: "pl-note", role: "status" });
      this.bar = make("progress", { max: 1, "aria-label": "How much of the text is read" });
      this.count = make("span", { class: "pl-quiet" });
      this.progress = make("div", { class: "pl-row pl-progress" }, button("Stop", { onclick: () => this.send({ verb: "stop" }) }), this.bar, this.count);
      this.figures = make("dl", { class: "pl-figures" });
      this.body = make("div", { class: "pl-body" });
      this.lines = make("section", { "aria-label": "Lines by surprise" });
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
      element.replaceChildren(make("section", { class: "pl-reading", "aria-label": "What the model thinks of the text" }, ...parts));
      this.progress.hidden = true;
      this.map = new window.Pellucid.HeatMap(this.body, { label: "Tokens of the text", onBranch: null });
      this.tokens = 0;
      watch("value", () => this.update(props.value));
      this.update(props.value);
    }

    update(value) {
      if (!value) return;
      if (this.status.textContent !== value.status) this.status.textContent = value.status; // else it would be said again
      this.status.classList.toggle("pl-wrong", value.wrong);
      this.progress.hidden = value.progress === null;
      if (value.progress !== null) {
        this.bar.value = value.progress.share;
        this.count.textContent = value.progress.words;
      }
      if (value.number !== this.number) {
        this.number = value.number;
        this.map.set([]);
        this.tokens = 0;
      }
      const fresh = value.batches.slice(this.tokens).flatMap((batch) => JSON.parse(batch));
      if (fresh.length) this.map.add(fresh);
      this.tokens = value.batches.length;
      this.figures.replaceChildren(...value.figures.map(([name, figure, hint]) => make("div", { title: hint }, make("dt", {}, name), make("dd", {}, figure))));
      this.tools.hidden = !value.figures.length;
      this.drawLines(value.lines);
      if (value.file && value.file.n !== this.seen) {
        this.seen = value.file.n;
        download(value.file.name, value.file.text, value.file.type);
      }
    }

    drawLines(lines) {
      this.lines.hidden = !lines.length;
      const heads = ["line", "mean", "most", "text"].map((name) => make("th", { scope: "col" }, name));
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
      this.lines.replaceChildren(make("h3", {}, "Lines by surprise, in bits a token"), make("table", { class: "pl-table" }, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows)));
    }
  }

  /** Have the browser save the histograms below the reading as pictures. */
  function saveHistograms(format) {
    for (const [index, plot] of document.querySelectorAll("#pl-histograms .js-plotly-plot").entries()) {
      window.Plotly.downloadImage(plot, { format, filename: ["ranks", "entropies"][index], width: 700, height: 420 });
    }
  }

  window.Pellucid.mountReading = (options) => new Reading(options);
})();
