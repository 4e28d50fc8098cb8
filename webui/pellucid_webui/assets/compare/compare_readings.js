// What each column of Compare makes of each token: its own distribution, the one at its temperature, or at the what-if sliders' settings.

import * as whatIf from "../tokens/sampler_whatif.js";
import * as compareParts from "./compare_parts.js";

const { INFINITE, keyOf, range } = compareParts;

const ROUNDING = 1e-6; // masses are known to about this precision

/** @typedef {{ low: number, high: number }} Share */

export class CompareReadings {
  /**
   * @param {Page.CompareAnalysis} analysis
   * @param {number[]} temperatures of the columns
   */
  constructor(analysis, temperatures) {
    this.analysis = analysis;
    this.temperatures = temperatures;
    /** @type {Page.CompareView} */
    this.view = analysis.view;
    /** @type {Page.Sampling} of the sliders, for all columns */
    this.settings = { ...whatIf.OFF };
    /** @type {WeakMap<Page.TokenRecord, Page.WhatIfResult | null>} */
    this.weighed = new WeakMap(); // at these settings
  }

  /**
   * @param {Page.CompareView} view
   * @param {Page.Sampling | null} settings null keeps the last ones
   */
  choose(view, settings) {
    this.view = view;
    if (settings === null || whatIf.isSame(settings, this.settings)) return;
    this.settings = settings;
    this.weighed = new WeakMap();
  }

  /** @param {Page.TokenRecord} record */
  weigh(record) {
    let found = this.weighed.get(record);
    if (found === undefined) {
      found = whatIf.weigh(record, this.settings);
      this.weighed.set(record, found);
    }
    return found;
  }

  /**
   * Return the token of a text as a column reads it; null if that column has none that begins there.
   * @param {number} text
   * @param {number} column
   * @param {number} index of the token in the text's own answer
   * @returns {Page.CompareReading | null}
   */
  reading(text, column, index) {
    const token = text === column ? index : (this.analysis.links[text][column][index]?.[0] ?? -1);
    return token < 0 ? null : this.at(text, column, token);
  }

  /**
   * @param {number} text
   * @param {number} column
   * @param {number} token of the column's own reading
   * @returns {Page.CompareReading | null}
   */
  at(text, column, token) {
    const { analysis, view } = this;
    const record = analysis.readings[text][column]?.[token];
    if (record === undefined) return null;
    const weighed = view === "whatif" ? this.weigh(record) : null;
    if (view === "whatif" && weighed === null) return null;
    const scale = view === "sampled" ? (analysis.sampled[text][column][token] ?? null) : null;
    return { record, temperature: this.temperatures[column], scale, weighed };
  }

  /**
   * Return how far another column is from a text's own column at a token.
   * @param {number} text
   * @param {number} other
   * @param {number} index
   * @returns {Page.CompareLink | null}
   */
  link(text, other, index) {
    const row = this.analysis.links[text][other][index];
    if (!row) return null;
    const [from, to] = [row[1] ?? 0, row[2] ?? 0];
    if (this.view === "whatif") return { ratio: this.ratio(text, other, from, to), kl: this.divergence(text, other, index), tokens: to - from, isWhatIf: true };
    const at = this.view === "own" ? 3 : 7;
    return { ratio: range(row, at), kl: range(row, at + 2), tokens: to - from };
  }

  /**
   * Return bounds of the log ratio of a segment at the sliders' settings.
   * @param {number} text
   * @param {number} other
   * @param {number} from
   * @param {number} to
   * @returns {[low: number, high: number] | null}
   */
  ratio(text, other, from, to) {
    const links = this.analysis.links[text][other];
    const [first, end] = [links[from]?.[0] ?? -1, links[to]?.[0] ?? this.analysis.readings[text][other]?.length ?? 0];
    const [a, b] = [this.logprob(text, text, from, to), first < 0 ? null : this.logprob(text, other, first, end)];
    return a === null || b === null ? null : [less(a[0], b[1]), less(a[1], b[0])];
  }

  /**
   * @param {number} text
   * @param {number} column
   * @param {number} from
   * @param {number} to
   * @returns {[low: number, high: number] | null}
   */
  logprob(text, column, from, to) {
    let [low, high] = [0, 0];
    for (let token = from; token < to; token += 1) {
      const chosen = this.at(text, column, token)?.weighed?.chosen.probability;
      if (!chosen) return null;
      low += Math.log(chosen.low);
      high += Math.log(chosen.high);
    }
    return [low, high];
  }

  /**
   * Return bounds of the KL divergence at a token, at the sliders' settings.
   * @param {number} text
   * @param {number} other
   * @param {number} index
   * @returns {[low: number, high: number] | null}
   */
  divergence(text, other, index) {
    const [p, q] = [this.reading(text, text, index), this.reading(text, other, index)];
    if (!p?.weighed || !q?.weighed) return null;
    const low = leastDivergence(p.record, p.weighed, q.record, q.weighed);
    return [low, INFINITE];
  }

  /**
   * Sum up the divergences at the tokens of a text, at the sliders' settings.
   * @param {number} text
   * @param {number} other
   * @returns {{ known: number, infinite: number, mean: number }} the mean is of the finite ones, in nats
   */
  divergences(text, other) {
    const found = this.analysis.links[text][other].map((_, index) => this.divergence(text, other, index)?.[0]);
    const known = found.filter((low) => low !== undefined);
    const finite = known.filter((low) => low < INFINITE);
    return { known: known.length, infinite: known.length - finite.length, mean: finite.reduce((sum, low) => sum + low, 0) / Math.max(finite.length, 1) };
  }
}

/**
 * Return the interval of the probability of a token with this logprob, in the view of a reading.
 * @param {Page.CompareReading} reading
 * @param {number} logprob
 * @param {boolean} isFirst whether it is the first alternative
 * @param {Page.Weighed} [weighed] the token at the what-if sliders' settings
 * @returns {[low: number, high: number]}
 */
export function probabilityIn({ record, temperature, scale }, logprob, isFirst, weighed) {
  if (weighed) return [weighed.probability.low, weighed.probability.high];
  if (scale === null) return [Math.exp(logprob), Math.exp(logprob)];
  if (temperature === 0) return isFirst ? [1, 1] : [0, 0];
  const weight = Math.exp((logprob - record.a[0][2]) / temperature);
  return [Math.min(1, scale[0] * weight), Math.min(1, scale[1] * weight)];
}

/**
 * Return the interval of the probability of a reading's own token.
 * @param {Page.CompareReading} reading
 * @returns {[low: number, high: number] | null}
 */
export function ownProbability(reading) {
  const { record } = reading;
  return record.l === null ? null : probabilityIn(reading, record.l, record.r === 1, reading.weighed?.chosen);
}

/**
 * Return a - b within ±INFINITE; 0 for two that are both impossible.
 * @param {number} a
 * @param {number} b
 */
const less = (a, b) => (a === -Infinity && b === -Infinity ? 0 : Math.max(-INFINITE, Math.min(INFINITE, a - b)));

/**
 * Return a lower bound of KL(p || q) in nats, INFINITE if p surely takes a token that q surely never takes.
 *
 * The tokens that both list are compared one by one and all others as one class, which can only lower the divergence (the log sum
 * inequality). A token that p alone lists, and finds more likely than q can find any token that it does not list, is kept out of that
 * class as well, with this limit in place of q. The greater of the two bounds counts, as in model_divergence.py.
 * @param {Page.TokenRecord} recordP
 * @param {Page.WhatIfResult} p
 * @param {Page.TokenRecord} recordQ
 * @param {Page.WhatIfResult} q
 * @returns {number}
 */
export function leastDivergence(recordP, p, recordQ, q) {
  const [listedP, listedQ] = [listed(recordP, p), listed(recordQ, q)];
  const most = Math.min(q.rest.high, q.alternatives[q.alternatives.length - 1].probability.high || q.rest.high);
  for (const [key, x] of listedP) {
    const y = listedQ.get(key);
    if (x.low > 0 && (y ? y.high === 0 : q.rest.high === 0)) return INFINITE;
  }
  return Math.max(boundOf(listedP, listedQ, Infinity), boundOf(listedP, listedQ, Math.max(most, ROUNDING)), 0);
}

/**
 * @param {Map<string, Share>} listedP
 * @param {Map<string, Share>} listedQ
 * @param {number} most that q can give a token which it does not list; Infinity keeps none out of the class of all others
 * @returns {number}
 */
function boundOf(listedP, listedQ, most) {
  let bound = 0;
  const [x, y] = [{ low: 1, high: 1 }, { low: 1, high: 1 }]; // of all others
  for (const [key, one] of listedP) {
    const other = listedQ.get(key);
    if (!other && one.low <= most) continue;
    bound += least(one, other ? other.high : most);
    x.low -= one.high;
    x.high -= one.low;
    y.high -= other ? other.low : 0;
  }
  return bound + least({ low: Math.max(x.low, 0), high: Math.max(x.high, 0) }, Math.max(y.high, ROUNDING));
}

/**
 * Return the least of x log(x / y).
 * @param {Share} x
 * @param {number} y
 */
function least(x, y) {
  const at = Math.max(x.low, Math.min(x.high, y / Math.E));
  return at > 0 && y > 0 ? at * Math.log(at / y) : 0;
}

/**
 * Return the probabilities of the tokens that are known one by one.
 * @param {Page.TokenRecord} record
 * @param {Page.WhatIfResult} weighed
 * @returns {Map<string, Share>}
 */
function listed(record, weighed) {
  const found = new Map(record.a.map(([, text, , bytes], index) => [keyOf(text, bytes), weighed.alternatives[index].probability]));
  if (!record.a.some((one) => one[0] === record.i)) found.set(keyOf(record.t, record.b), weighed.chosen.probability);
  return found;
}
