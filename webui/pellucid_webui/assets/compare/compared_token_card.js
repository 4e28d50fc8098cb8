// The card of Compare: the distributions of all columns at one place, next to each other.

import { make } from "../shared/dom.js";
import * as visible from "../tokens/token_text.js";
import * as compareParts from "./compare_parts.js";
import { probabilityIn } from "./compare_readings.js";

const { INFINITE, badge, keyOf } = compareParts;

const EQUAL_NATS = 0.03; // log ratios below this are called equal
const EXACT = 0.001; // an interval of probabilities that is narrower than this counts as one number

/**
 * Return the most that a token that is not listed can have, and the most that all of them can have together.
 * @param {Page.CompareReading} reading
 * @returns {[one: number, all: number]}
 */
function unlisted({ record, scale, weighed }) {
  if (weighed) return [Math.min(weighed.rest.high, weighed.alternatives[weighed.alternatives.length - 1].probability.high), weighed.rest.high];
  if (scale !== null) return [scale[2], scale[3]];
  const last = record.a[record.a.length - 1];
  const isListed = record.l === null || record.a.some((one) => one[0] === record.i);
  const rest = Math.max(0, record.o - (isListed ? 0 : Math.exp(record.l ?? 0)));
  return [Math.min(rest, Math.exp(last[2])), rest];
}

/**
 * Return the union of the alternatives of all columns, the most likely first, each with its probability by column; null: not listed.
 * @param {(Page.CompareReading | null)[]} readings
 * @returns {Page.CompareRow[]}
 */
function rowsOf(readings) {
  /** @type {Map<string, Page.CompareRow>} */
  const rows = new Map();
  readings.forEach((reading, column) => {
    if (reading === null) return;
    const { record } = reading;
    /** @type {[text: string, bytes: string | undefined, logprob: number, isFirst: boolean, weighed: Page.Weighed | undefined][]} */
    const known = record.a.map(([, text, logprob, bytes], index) => [text, bytes, logprob, index === 0, reading.weighed?.alternatives[index]]);
    if (record.l !== null && !record.a.some((one) => one[0] === record.i)) known.push([record.t, record.b, record.l, false, reading.weighed?.chosen]);
    for (const [text, bytes, logprob, isFirst, weighed] of known) {
      const key = keyOf(text, bytes);
      const row = rows.get(key) ?? { key, text, bytes, shares: readings.map(() => null) };
      row.shares[column] ??= probabilityIn(reading, logprob, isFirst, weighed);
      rows.set(key, row);
    }
  });
  /** @param {Page.CompareRow} row */
  const most = (row) => Math.max(...row.shares.map((share) => (share === null ? 0 : share[0] + share[1])));
  return [...rows.values()].sort((one, other) => most(other) - most(one));
}

export class CompareCard {
  constructor() {
    this.title = make("h3", {});
    this.remark = make("p", { class: "pl-compare-remark" });
    this.about = make("div", { class: "pl-compare-kl" });
    this.body = make("div", { class: "pl-compare-rows", tabindex: "0", role: "region", "aria-label": "Alternatives of all columns" });
    this.element = make("aside", { class: "pl-compare-card", "aria-label": "The token in all columns" }, this.title, this.remark, this.about, this.body);
  }

  /** @param {Page.CompareCardOptions} options */
  show({ letters, text, index, count, readings, links, upper, remark, reads }) {
    const own = /** @type {Page.CompareReading} */ (readings[text]);
    const letter = letters[text];
    this.title.replaceChildren(
      badge(letter),
      make("span", { class: "pl-token-name" }, ...visible.standing(visible.piecesOf(own.record.t, own.record.b))),
      make("span", { class: "pl-quiet" }, `token ${index + 1} of ${count} in ${reads ? "the text" : `${letter}'s answer`}`),
    );
    this.remark.textContent = remark;
    this.element.dataset.columns = String(letters.length);
    this.element.dataset.place = `${letter}${index}`;
    const lines = links.flatMap((link, other) => (link === null ? [] : [line(letter, letters[other], link, upper[other], readings[other] === null)]));
    this.about.replaceChildren(...lines);
    this.body.replaceChildren(this.table(letters, readings, own));
    this.body.scrollTop = 0;
  }

  /**
   * @param {string[]} letters
   * @param {(Page.CompareReading | null)[]} readings
   * @param {Page.CompareReading} own
   * @returns {HTMLElement}
   */
  table(letters, readings, own) {
    const chosen = keyOf(own.record.t, own.record.b);
    const limits = readings.map((reading) => (reading === null || !reading.record.a.length ? null : unlisted(reading)));
    const rows = rowsOf(readings).map((row) => {
      const name = make("th", { scope: "row" }, ...visible.standing(visible.piecesOf(row.text, row.bytes)));
      if (row.key === chosen) name.append(make("span", { class: "pl-visually-hidden" }, " (in the answer)"));
      const cells = row.shares.map((share, column) => cell(letters[column], share, limits[column], readings[column]));
      return make("tr", { "aria-current": row.key === chosen ? "true" : null }, name, ...cells);
    });
    const rest = limits.map((limit, column) => make("td", {}, ...(limit === null ? ["–"] : [bar(letters[column], limit[1]), `${visible.percent(limit[1])} %`])));
    return make(
      "table",
      { class: "pl-compare-table" },
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Alternative"), ...letters.map((letter) => make("th", { scope: "col" }, badge(letter))))),
      make("tbody", {}, ...rows, make("tr", {}, make("th", { scope: "row" }, "all others"), ...rest)),
    );
  }
}

/**
 * Return how far two columns are apart at a place, as a line.
 * @param {string} here
 * @param {string} there
 * @param {Page.CompareLink} link
 * @param {boolean} hasUpper whether both have the same vocabulary
 * @param {boolean} isBetween whether the other column has no token border here
 * @returns {HTMLElement}
 */
function line(here, there, { ratio, kl, tokens, isWhatIf = false }, hasUpper, isBetween) {
  const parts = [];
  if (kl !== null) parts.push(`KL(${here}‖${there}) ${klWords(kl)}`);
  else if (isBetween) parts.push(`${there} has no token border here`);
  if (ratio !== null) parts.push(`${tokens > 1 ? `these ${tokens} tokens` : "this token"}: ${ratioWords(here, there, ratio)}`);
  const hint = isWhatIf ? "At other settings only a lower bound is computed." : hasUpper ? "The upper bound assumes that no token is less likely than 0.0000001 % under the other model." : "The vocabularies differ, so there is no upper bound.";
  const element = make("p", { title: kl === null ? null : hint }, badge(there), parts.join("; "));
  if (kl !== null) Object.assign(element.dataset, { klLow: String(kl[0]), klHigh: String(kl[1]) });
  if (ratio !== null) Object.assign(element.dataset, { ratioLow: String(ratio[0]), ratioHigh: String(ratio[1]) });
  return element;
}

/**
 * @param {number} nats
 * @returns {string}
 */
const bits = (nats) => (nats / Math.LN2).toFixed(2);

/**
 * @param {[low: number, high: number]} kl
 * @returns {string}
 */
function klWords([low, high]) {
  if (low >= INFINITE) return "is infinite";
  if (high >= INFINITE) return `at least ${bits(low)} bits`;
  return bits(low) === bits(high) ? `${bits(low)} bits` : `${bits(low)} to ${bits(high)} bits`;
}

/**
 * @param {string} here
 * @param {string} there
 * @param {[low: number, high: number]} ratio
 * @returns {string}
 */
export function ratioWords(here, there, [low, high]) {
  const middle = (low + high) / 2;
  const [more, less] = middle > 0 ? [here, there] : [there, here];
  if (Math.abs(middle) >= INFINITE / 2) return `${less} never takes it`;
  if (Math.abs(middle) < EQUAL_NATS) return `equally likely in ${here} and ${there}`;
  const times = Math.exp(Math.abs(middle));
  const about = high - low > 0.01 ? "about " : "";
  const said = times >= 1e6 ? "over a million" : times >= 100 ? times.toFixed(0) : times.toPrecision(2);
  return `${about}${said} times as likely in ${more} as in ${less} (log ratio ${middle > 0 ? "+" : "−"}${bits(Math.abs(middle))} bits)`;
}

/**
 * @param {string} letter
 * @param {[low: number, high: number] | null} share
 * @param {[one: number, all: number] | null} limit
 * @param {Page.CompareReading | null} reading
 * @returns {HTMLElement}
 */
function cell(letter, share, limit, reading) {
  if (reading === null || limit === null) return make("td", { class: "pl-unknown" }, "–");
  if (share === null) {
    const most = `${visible.percent(limit[0])} %`;
    const words = `not among the top ${reading.record.a.length}: at most ${most}`;
    return make("td", { class: "pl-unknown", title: words }, make("span", { "aria-hidden": "true" }, `≤ ${most}`), make("span", { class: "pl-visually-hidden" }, words));
  }
  const [low, high] = share;
  const middle = (low + high) / 2;
  const isWide = high - low > EXACT;
  const range = `between ${visible.percent(low)} % and ${visible.percent(high)} %`;
  const found = make("td", { title: isWide ? range : null }, bar(letter, middle), `${isWide ? "≈ " : ""}${visible.percent(middle)} %`);
  found.dataset.share = String(middle);
  return found;
}

/**
 * @param {string} letter
 * @param {number} share
 * @returns {HTMLElement}
 */
function bar(letter, share) {
  const element = make("span", { class: "pl-compare-bar", "data-column": letter });
  element.style.setProperty("--share", `${(100 * share).toFixed(2)}%`);
  return element;
}
