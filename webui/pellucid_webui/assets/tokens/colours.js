// How a token is coloured: the modes, the strength of each colour, and the legends. The colours themselves are in colours.css.

export const MODES = {
  probability: "Probability",
  rank: "Rank",
  surprisal: "Surprisal",
  entropy: "Entropy",
  difference: "Difference",
};

/** Modes that earlier versions had and browsers may remember: the mode instead, and what to say about it. @type {Record<string, Page.RetiredMode>} */
export const RETIRED = {
  two: { mode: "surprisal", text: "“Surprisal and entropy” is now two modes: this one, and “Entropy”." },
};

/** The highest ranks of GLTR's colours (Gehrmann et al. 2019, arXiv 1906.04043). */
export const RANKS = [10, 100, 1000];

export const STEPS = 8; // steps of a scale above plain
const MAX_BITS = 12; // the surprisal that has the strongest colour
const MAX_ENTROPY = 4; // the entropy in bits that has the strongest colour: a choice among 16 equally likely tokens
const UNSURE_BITS = 2; // from this entropy on, a choice is unsure
export const UNLIKELY = 0.1; // below this probability a token is surprising
const LARGE_DIFFERENCE = 0.5; // from this difference on, two models disagree

/**
 * @param {number} nats
 * @returns {number}
 */
export const toBits = (nats) => nats / Math.LN2;

/**
 * @param {number} logprob
 * @returns {number} the surprisal in bits
 */
const bits = (logprob) => toBits(-logprob);

/**
 * Return the logprob of a token among the tokens that a constraint allowed, such as those that repeat what was typed.
 * @param {Page.TokenRecord} record
 * @param {number} logprob of the token or of an alternative
 * @returns {number}
 */
export const constrain = (record, logprob) => (record.c === undefined ? logprob : Math.min(0, logprob - Math.log(record.c)));

/**
 * @param {Page.TokenRecord} record
 * @returns {number | null} the surprisal of a token in bits
 */
export const surprisal = (record) => (record.l === null ? null : bits(constrain(record, record.l)));

/**
 * @param {Page.TokenRecord} record
 * @returns {number | null} the probability of a token
 */
export const probabilityOf = (record) => (record.l === null ? null : Math.exp(constrain(record, record.l)));

/**
 * @param {number} share from 0 to 1
 * @returns {number} a step of a scale
 */
export const step = (share) => Math.max(0, Math.min(STEPS, Math.round(share * STEPS)));

/**
 * Return the classes that colour a token by its probability and by its surprisal.
 * @param {number} probability
 * @returns {string[]}
 */
export function likelihoodClasses(probability) {
  const classes = [`p${step(1 - probability)}`, `s${step(-Math.log2(probability) / MAX_BITS)}`];
  if (probability < UNLIKELY) classes.push("unlikely");
  return classes;
}

/**
 * @param {number} value
 * @param {number[]} borders
 * @returns {number} how many borders are below the value
 */
const bin = (value, borders) => borders.filter((border) => value > border).length;

/**
 * Return bounds of the entropy of a choice in nats, which are equal if it is known exactly.
 * @param {Page.TokenRecord} record
 * @returns {[least: number, most: number] | null} null if nothing is known
 */
export const entropyRange = (record) => (record.e === null ? (record.h ?? null) : [record.e, record.e]);

/**
 * Return the entropy to colour and to judge a token by, in nats: the exact one, else the middle of its range.
 * @param {Page.TokenRecord} record
 * @returns {number | null} null if nothing is known
 */
export function entropyOf(record) {
  const range = entropyRange(record);
  return range === null ? null : (range[0] + range[1]) / 2;
}

/**
 * Return what to mark a predicted token with whose exact entropy is not known: only its range is, or nothing.
 * @param {Page.TokenRecord} record
 * @returns {Page.InexactEntropy | null}
 */
export function inexact(record) {
  if (record.l === null || record.e !== null) return null;
  return record.h === undefined ? "unmeasured" : "bounded";
}

/**
 * Return whether the engine that generated these tokens did not report with which probabilities it sampled them. If some have one,
 * the others were chosen by the user.
 * @param {Page.TokenRecord[]} records
 * @returns {boolean}
 */
export const isUnreported = (records) => !records.some((record) => record.s !== null);

/**
 * Return an entropy in words: a number of bits, or a range.
 * @param {[least: number, most: number] | null} range in nats
 * @param {number} digits
 * @returns {string}
 */
export function entropyWords(range, digits) {
  if (range === null) return "–";
  const [least, most] = range.map((nats) => toBits(nats).toFixed(digits));
  return least === most ? `${least} bits` : `${least} to ${most} bits`;
}

/** @param {number} entropy in nats */
const isUnsure = (entropy) => toBits(entropy) >= UNSURE_BITS;

/**
 * Return the classes that colour a token in every mode, so that changing the mode changes one attribute of the map.
 * @param {Page.TokenRecord} record
 * @param {number[]} ranks
 * @param {Page.TokenDifference | null} difference
 * @param {number | null} [likely] the probability to colour by instead, at other settings of the sampler
 * @returns {string[]}
 */
export function levels(record, ranks, difference, likely = null) {
  const classes = [];
  const entropy = entropyOf(record);
  const probability = record.l === null ? null : (likely ?? probabilityOf(record));
  if (probability !== null) classes.push(...likelihoodClasses(probability));
  if (record.r !== null) classes.push(`r${bin(record.r, ranks)}`);
  if (entropy !== null) {
    classes.push(`e${step(toBits(entropy) / MAX_ENTROPY)}`);
    if (isUnsure(entropy)) classes.push("unsure");
  }
  const mark = inexact(record);
  if (mark) classes.push(mark);
  if (difference) classes.push(...differenceClasses(difference.value));
  return classes;
}

/**
 * @param {number} value from -1 to 1
 * @returns {string[]}
 */
function differenceClasses(value) {
  const found = [`${value < 0 ? "lower" : "higher"}${step(Math.abs(value))}`];
  if (Math.abs(value) >= LARGE_DIFFERENCE) found.push("large");
  return found;
}

/**
 * Return whether the mode marks a token with a line, which makes it one to stop at.
 * @param {Page.Mode} mode
 * @param {Page.TokenRecord} record
 * @param {number[]} ranks
 * @param {Page.TokenDifference | null | undefined} difference
 * @returns {boolean}
 */
export function isSurprising(mode, record, ranks, difference) {
  if (mode === "difference") return difference ? Math.abs(difference.value) >= LARGE_DIFFERENCE : false;
  if (mode === "entropy") return isUnsure(entropyOf(record) ?? 0);
  if (mode === "rank") return record.r !== null && record.r > ranks[0];
  const probability = probabilityOf(record);
  return probability !== null && probability < UNLIKELY;
}

/**
 * @param {string} name
 * @returns {string[]} the classes of a scale
 */
const scale = (name) => Array.from({ length: STEPS + 1 }, (_, index) => `${name}${index}`);

/**
 * Return the legend of a mode, in words and numbers for readers who see it for the first time.
 * @param {Page.Mode} mode
 * @param {string[]} words for a difference of -1 and of 1
 * @param {Set<Page.InexactEntropy>} [marks] those of inexact entropies that some tokens have
 * @returns {Page.LegendPart[]}
 */
export function legend(mode, words, marks = new Set()) {
  if (mode === "probability") {
    return [
      { scale: scale("p"), from: ["expected", "100 %"], to: ["0 %", "unexpected"] },
      { sample: "unlikely", text: "below 10 %, 1 chance in 10" },
      { meaning: "The stronger the colour, the less probable the model found the token." },
    ];
  }
  if (mode === "surprisal") {
    return [
      { scale: scale("s"), from: ["expected", "0 bits"], to: [`${MAX_BITS} bits`, "surprising"] },
      { sample: "unlikely", text: "over 3.3 bits, less than 1 chance in 10" },
      { meaning: "The stronger the colour, the more the token surprised the model. Each bit halves the chance: 4 bits are 1 chance in 16, 12 bits 1 in 4,096." },
    ];
  }
  if (mode === "rank") {
    const bins = [0, 1, 2, 3].map((index) => ({ sample: `r${index}`, threshold: index < RANKS.length ? index : null }));
    return [...bins, { meaning: "Rank 1 is the model's first choice. The stronger the colour, the further down its list the token is." }];
  }
  if (mode === "entropy") {
    return [
      { scale: scale("e"), from: ["sure", "0 bits"], to: [`${MAX_ENTROPY} bits or more`, "unsure"] },
      { sample: "unsure", text: `${UNSURE_BITS} bits or more` },
      ...(marks.has("bounded") ? [{ sample: "bounded", text: "only a range is known; the colour is that of its middle" }] : []),
      ...(marks.has("unmeasured") ? [{ sample: "unmeasured", text: "not reported by the engine" }] : []),
      { meaning: "The stronger the colour, the less sure the model was before the token. 2 bits are like a choice among 4 equally likely tokens, 4 bits among 16." },
    ];
  }
  const steps = [...scale("lower").reverse(), ...scale("higher").slice(1)];
  return [
    { scale: steps, from: [words[0], ""], to: ["", words[1]] },
    { sample: "large", text: "large difference" },
    { meaning: "The stronger the colour, the more the two models differ on the token." },
  ];
}
