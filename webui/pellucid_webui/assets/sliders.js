// The sliders of what-if: temperature, top-k, top-p and min-p.
"use strict";

(() => {
  const { make } = window.Pellucid;
  const { OFF, isSame } = window.Pellucid.whatIf;

  const SLIDERS = [
    { name: "temperature", label: "Temperature", least: 0, most: 2, step: 0.05 },
    { name: "top_k", label: "Top-k", least: 0, most: 50, step: 1 },
    { name: "top_p", label: "Top-p", least: 0.01, most: 1, step: 0.01 },
    { name: "min_p", label: "Min-p", least: 0, most: 0.5, step: 0.01 },
  ];

  function wordOf(name, value) {
    if (name === "temperature") return value === 0 ? "0 (greedy)" : String(value);
    return value === OFF[name] ? "off" : String(value);
  }

  /** The sliders, in a part that opens: they count while it is open. `onChange` is told the settings, or null when it is closed. */
  class WhatIfPanel {
    constructor(onChange) {
      this.onChange = onChange;
      this.own = null;
      this.settings = { ...OFF };
      this.sliders = SLIDERS.map((slider) => this.buildSlider(slider));
      this.resetButton = make("button", { type: "button", class: "pl-tool", onclick: () => this.change({ ...(this.own || OFF) }) });
      this.element = make(
        "details",
        { class: "pl-whatif", ontoggle: () => this.tell() },
        make("summary", {}, "What if…"),
        make("p", { class: "pl-hint" }, "How the alternatives would weigh, and what the sampler would have dropped. Nothing is generated anew."),
        make("div", { class: "pl-sliders" }, ...this.sliders.map((slider) => slider.row)),
        this.resetButton,
      );
      this.draw();
    }

    /** The settings of the sliders; null while the part is closed. */
    get value() {
      return this.element.open ? this.settings : null;
    }

    /** The settings with which the tokens were sampled, or null where they were read; the sliders start there. */
    setOwn(own) {
      const untouched = isSame(this.settings, this.own || OFF);
      this.own = own;
      if (untouched) this.settings = { ...(own || OFF) };
      this.draw();
      this.tell();
    }

    change(settings) {
      this.settings = { ...this.settings, ...settings };
      this.draw();
      this.tell();
    }

    tell() {
      this.onChange(this.value);
    }

    buildSlider({ name, label, least, most, step }) {
      const output = make("output", {});
      const input = make("input", { type: "range", min: least, max: most, step, oninput: () => this.change({ [name]: Number(input.value) }) });
      input.dataset.setting = name;
      const row = make("label", { class: "pl-slider" }, make("span", {}, label), input, output);
      return { name, most, input, output, row };
    }

    draw() {
      for (const { name, most, input, output } of this.sliders) {
        const value = this.settings[name];
        input.max = String(Math.max(most, this.own ? this.own[name] : 0, value));
        input.value = String(value);
        output.textContent = wordOf(name, value);
        input.setAttribute("aria-valuetext", output.textContent);
      }
      this.resetButton.textContent = this.own ? "Back to the server's settings" : "Back to the model's own distribution";
      this.resetButton.disabled = isSame(this.settings, this.own || OFF);
    }
  }

  window.Pellucid.WhatIfPanel = WhatIfPanel;
})();
