// What the sampler would have done with the tokens of a text, at the settings of the what-if sliders.

import * as whatIf from "./sampler_whatif.js";

export class WhatIfVerdicts {
  /** @param {() => void} onChange called after new settings, at most once a frame */
  constructor(onChange) {
    this.onChange = onChange;
    /** @type {Page.Sampling | null} */
    this.used = null; // the settings with which the tokens were sampled; null for tokens that were read
    /** @type {Page.Sampling | null} */
    this.settings = null; // those of the sliders; null while they are closed
    this.frame = 0;
  }

  /**
   * Take new settings of the sliders.
   * @param {Page.Sampling | null} settings
   */
  change(settings) {
    if (settings === null && this.settings === null) return;
    this.settings = settings;
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.onChange();
    });
  }

  /**
   * @param {Page.TokenRecord} record
   * @returns {Page.WhatIfResult | null}
   */
  of(record) {
    if (this.settings === null || record.g !== undefined) return null; // under a grammar the sampler's choices are unknown
    return whatIf.weigh(record, this.settings, this.used);
  }

  /**
   * Return the part that is about the token itself.
   * @param {Page.TokenRecord} record
   * @returns {Page.Weighed | null}
   */
  chosen(record) {
    return this.of(record)?.chosen ?? null;
  }

  destroy() {
    cancelAnimationFrame(this.frame);
  }
}
