// The inspector of the chat: the card of a token at a fixed place next to the answers, with what can be done there.

import { make, button } from "../shared/dom.js";
import { ExpertChoice } from "./expert_choice.js";
import { TokenCard } from "./token_card.js";
import { WhatIfSliders } from "./whatif_sliders.js";

const ITSELF = -1; // among the alternatives of a token, as in continue_from_token.py
const HINT = "Click a word of an answer, or press › for the next word that the model was unsure of.";
const CHOOSE = "Click a row to continue from it.";
const TITLE = "Inspector";
const WAITING = "Reading the tokens of this answer…";

export class Inspector {
  /**
   * `onStep` goes to the next (1) or previous (-1) unsure token while none is shown, `onClose` closes the inspector, `onSamples`
   * generates more versions from an alternative on, and `onTree` shows all continuations from a token on. `placeWithExperts` is null
   * for an answer of a model without experts.
   * @param {Page.InspectorOptions} options
   */
  constructor({ onStep, onClose, onSamples, onTree, placeWithExperts }) {
    this.onClose = onClose;
    this.onSamples = onSamples;
    this.placeWithExperts = placeWithExperts;
    /** @type {Page.TokenOwner | null} */
    this.owner = null;
    /** @type {Page.CardOptions | null} */
    this.options = null;
    this.card = new TokenCard({ docked: true });
    this.experts = new ExpertChoice();
    this.sliders = new WhatIfSliders((settings) => this.owner?.verdicts.change(settings));
    this.place = make("strong", { class: "pl-inspector-place" }, TITLE);
    this.hint = make("p", { class: "pl-hint pl-inspector-hint" }, HINT);
    this.words = make("div", { class: "pl-heat pl-inspector-words", "data-mode": "probability" });
    /** @param {number} direction */
    const step = (direction) => (this.owner ? this.owner.step(direction) : onStep(direction));
    this.again = button("Regenerate from this token", { onclick: () => this.regenerate(1) }, "Generate the text after this token again, as another version");
    this.tree = button("Likely continuations", { onclick: () => this.options && onTree(this.options.index) }, "Show all likely continuations from this token as a tree");
    this.samples = button("3 more samples", { onclick: () => this.regenerate(3) }, "Generate the text after this token three times; each is a version");
    this.element = make(
      "aside",
      { class: "pl-heat pl-inspector", "aria-label": "Token inspector" },
      make(
        "header",
        { class: "pl-inspector-head" },
        this.place,
        button("‹", { "aria-label": "Previous unsure word", onclick: () => step(-1) }, "Previous unsure word (p)"),
        button("›", { "aria-label": "Next unsure word", onclick: () => step(1) }, "Next unsure word (n)"),
      ),
      make("div", { class: "pl-inspector-body", role: "group", "aria-label": "The token", tabindex: "0" }, this.hint, this.words, this.card.element, this.experts.element),
      make("div", { class: "pl-inspector-actions" }, this.again, this.samples, this.tree),
      this.sliders.element,
    );
    this.draw();
  }

  /** Whether a token is shown, or waited for. */
  get isOpen() {
    return this.owner !== null;
  }

  /**
   * Show a token.
   * @param {Page.TokenOwner} owner
   * @param {Page.CardOptions} options
   * @param {number} count of all tokens of the owner
   */
  show(owner, options, count) {
    this.take(owner);
    this.options = options;
    this.card.show({ ...options, hint: options.onBranch ? CHOOSE : "", onClose: () => this.close(options) });
    this.place.textContent = `Token ${options.index + 1} of ${count}`;
    this.draw();
  }

  /**
   * Offer words while no token is shown. The keys n and p reach them too, so that they are no stops of the Tab key.
   * @param {Page.OfferedWord[]} words
   */
  offer(words) {
    this.words.replaceChildren(...words.map(({ text, step, go }) => button(text, { class: `pl-button pl-inspector-word p${step}`, tabindex: "-1", onclick: go })));
  }

  /**
   * Say that the tokens of an owner are on their way.
   * @param {Page.TokenOwner} owner
   */
  wait(owner) {
    this.take(owner);
    this.options = null;
    this.card.hide();
    this.place.textContent = TITLE;
    this.draw();
  }

  /**
   * Show nothing of this owner any more.
   * @param {Page.TokenOwner} owner
   */
  release(owner) {
    if (this.owner !== owner) return;
    owner.verdicts.change(null);
    this.owner = this.options = null;
    this.card.hide();
    this.place.textContent = TITLE;
    this.draw();
  }

  /** @param {Page.TokenOwner} owner */
  take(owner) {
    if (this.owner === owner) return;
    this.owner?.lose();
    this.owner = owner;
    this.sliders.setUsed(owner.verdicts.used); // which applies the sliders, if they are open
  }

  /** @param {Page.CardOptions} options */
  close(options) {
    options.onClose();
    this.onClose();
  }

  /** @param {number} count of versions */
  regenerate(count) {
    const { options } = this;
    if (!options?.onBranch) return;
    if (count === 1) options.onBranch(ITSELF);
    else this.onSamples(options.index, ITSELF, count);
  }

  draw() {
    const isIdle = this.options === null;
    this.element.toggleAttribute("data-open", this.isOpen);
    this.hint.hidden = !isIdle;
    this.words.hidden = this.isOpen;
    this.hint.textContent = this.isOpen ? WAITING : HINT;
    this.experts.show(this.options && this.placeWithExperts(this.options.index));
    for (const one of [this.again, this.samples, this.tree]) one.disabled = !this.options?.onBranch;
  }
}
