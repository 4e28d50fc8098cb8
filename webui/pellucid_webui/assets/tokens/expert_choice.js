// The experts that computed the prediction of a token, by layer; only for a model with experts.

import { make } from "../shared/dom.js";
import { call } from "../shared/wire.js";

const LOST = "The connection was lost: close and open this again.";

export class ExpertChoice {
  constructor() {
    /** @type {Page.PlaceInAnswer | null} */
    this.place = null;
    /** @type {AbortController | null} */
    this.request = null;
    this.status = make("p", { class: "pl-remark", role: "status" });
    this.layers = make("div");
    /** @type {HTMLDetailsElement} */
    this.element = make("details", { class: "pl-experts", hidden: true, ontoggle: () => this.open() }, make("summary", {}, "Experts"), this.status, this.layers);
  }

  /**
   * Take a token.
   * @param {Page.PlaceInAnswer | null} place null without a token, or without experts
   */
  show(place) {
    if (JSON.stringify(place) === JSON.stringify(this.place)) return;
    this.place = place;
    this.element.hidden = place === null;
    this.ask();
  }

  async open() {
    await this.ask();
    if (this.element.open) this.element.scrollIntoView({ block: "start" });
  }

  async ask() {
    this.request?.abort();
    this.layers.replaceChildren();
    this.status.textContent = "";
    if (!this.place || !this.element.open) return;
    const { signal } = (this.request = new AbortController());
    this.status.textContent = "Reading the text before this token…";
    /** @param {string} sentence */
    const onRefused = (sentence) => {
      this.status.textContent = sentence;
    };
    /** @param {{ layers: [expert: number, weight: number][][] }} value */
    const onEvent = ({ layers }) => signal.aborted || this.draw(layers);
    const isWhole = await call("experts", this.place, onEvent, { signal, onRefused });
    if (!isWhole && !signal.aborted && !this.status.textContent) onRefused(LOST);
  }

  /** @param {[expert: number, weight: number][][]} layers */
  draw(layers) {
    const rows = layers.map((chosen, layer) => make("tr", {}, make("th", { scope: "row" }, `Layer ${layer + 1}`), ...chosen.map(cell)));
    const caption = make("caption", {}, "The numbers of the experts, and the weights of their outputs");
    this.layers.replaceChildren(make("table", {}, caption, make("tbody", {}, ...rows)));
    this.status.textContent = "";
  }
}

/**
 * @param {[expert: number, weight: number]} chosen
 * @returns {HTMLElement}
 */
function cell([expert, weight]) {
  const made = make("td", { title: `Expert ${expert}: ${weight}` }, String(expert), make("small", {}, ` ${Math.round(100 * weight)} %`));
  made.style.setProperty("--weight", String(weight));
  return made;
}
