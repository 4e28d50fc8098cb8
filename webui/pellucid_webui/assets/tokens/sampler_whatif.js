// Estimates what the sampler would have done at other settings, from the alternatives that were kept with each token.

import * as colours from "./colours.js";

/**
 * A choice at a temperature, in weights relative to that of the best alternative.
 * @typedef {object} Choice
 * @property {number[]} weights of the alternatives
 * @property {number} known sum of `weights`
 * @property {number} least the last of `weights`
 * @property {number} place of the chosen token among the alternatives, or -1
 * @property {number} chosen weight of the chosen token
 * @property {Page.Interval} tail weight of all other tokens
 */

/**
 * What top-k keeps: the weight of alternatives and that of all other tokens.
 * @typedef {{ known: number, tail: Page.Interval }} InCount
 */

/**
 * How a token was sampled, and its probability then.
 * @typedef {{ settings: Page.Sampling, probability: number }} Sampled
 */

/** The settings at which the sampler uses the model's own distribution. */
export const OFF = Object.freeze({ temperature: 1, top_k: 0, top_p: 1, min_p: 0 });
const NAMES = /** @type {(keyof Page.Sampling)[]} */ (Object.keys(OFF));

const VOCABULARY = 2 ** 18; // at least the size of any vocabulary
const MASS_NOISE = 1e-6; // by how much the rounding of logprobs may shift the mass of all others
const SUM_NOISE = 1e-4; // by how much, relatively, it may shift a sum of weights
const BORDER_NOISE = 1e-4; // so close to a border, relatively, the rounding of logprobs here and of probabilities in the server decides
const BORDER = Object.freeze({ low: 1 - BORDER_NOISE, middle: 1, high: 1 + BORDER_NOISE });
const STEPS = 30;

const NOTHING = Object.freeze({ low: 0, middle: 0, high: 0 });

/**
 * @param {number} value
 * @returns {Page.Interval}
 */
const exactly = (value) => ({ low: value, middle: value, high: value });

/**
 * @param {(side: Page.Side) => number} compute
 * @returns {Page.Interval}
 */
const each = (compute) => ({ low: compute("low"), middle: compute("middle"), high: compute("high") });

/**
 * @param {number} value
 * @param {number} low
 * @param {number} high
 * @returns {number}
 */
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/**
 * @param {number[]} values
 * @returns {number}
 */
const sum = (values) => values.reduce((total, value) => total + value, 0);

/**
 * @param {Page.TokenRecord} record
 * @returns {record is Page.PredictedRecord}
 */
const isGiven = (record) => record.l !== null && colours.entropyRange(record) !== null && record.a.length > 0 && record.c === undefined;

/**
 * @param {Page.Sampling} one
 * @param {Page.Sampling} other
 * @returns {boolean}
 */
export const isSame = (one, other) => NAMES.every((name) => one[name] === other[name]);

/**
 * @param {Page.Sampling} settings
 * @returns {boolean}
 */
const truncates = (settings) => settings.top_k > 0 || settings.top_p < 1 || settings.min_p > 0;

/**
 * Estimate what the sampler would have done with a token's choice at `settings`.
 *
 * The order is the server's: temperature, top_k, top_p, min_p. Only the best alternatives, the mass of all other tokens and the
 * entropy of the choice or its bounds are known, so whatever depends on how that mass is spread has bounds. At the settings with which the
 * token was sampled its probability is known, and with it the sum that divides all weights.
 * @param {Page.TokenRecord} record
 * @param {Page.Sampling} settings
 * @param {Page.Sampling | null} [used] the settings with which the token was sampled, if it was
 * @returns {Page.WhatIfResult | null} null for a token without a prediction
 */
export function weigh(record, settings, used = null) {
  if (!isGiven(record)) return null;
  if (settings.temperature === 0) return greedy(record);
  const sampled = used !== null && used.temperature > 0 && record.s !== null && record.s > 0 ? { settings: used, probability: record.s } : null;
  const choice = choiceAt(record, settings.temperature, sampled);
  const isUsed = sampled !== null && isSame(settings, sampled.settings) && choice.chosen > 0;
  return truncated(record, choice, settings, isUsed ? choice.chosen / sampled.probability : null);
}

/**
 * At temperature 0 the first alternative is certain.
 * @param {Page.PredictedRecord} record
 * @returns {Page.WhatIfResult}
 */
function greedy(record) {
  /**
   * @param {boolean} kept
   * @returns {Page.Weighed}
   */
  const verdict = (kept) => ({ kept, sure: true, probability: exactly(kept ? 1 : 0) });
  return { chosen: verdict(record.a[0][0] === record.i), alternatives: record.a.map((_, index) => verdict(index === 0)), rest: NOTHING };
}

/**
 * @param {Page.PredictedRecord} record
 * @param {number} temperature
 * @param {Sampled | null} sampled
 * @returns {Choice}
 */
function choiceAt(record, temperature, sampled) {
  const best = record.a[0][2];
  const weights = record.a.map((one) => Math.exp((one[2] - best) / temperature));
  const choice = {
    weights,
    known: sum(weights),
    least: weights[weights.length - 1],
    place: record.a.findIndex((one) => one[0] === record.i),
    chosen: Math.exp((record.l - best) / temperature),
    tail: tailAt(record, temperature),
  };
  if (sampled && sampled.settings.temperature === temperature) {
    choice.tail = tailFromSampled(choice, choice.chosen / sampled.probability, sampled.settings);
  }
  return choice;
}

/**
 * Return bounds of the weight of all other tokens at a temperature. Let d be how far a token's logprob is below that of the
 * least alternative. Each of the other tokens has d >= 0, the entropy gives the mean of d by mass, and the size of the
 * vocabulary bounds the mean of exp(d). Their weight is their mass times the mean of exp(c d), c = 1 - 1/T: at least that of
 * the mean (Jensen), and at most that of the two points 0 and D which agree with both means (Karlin and Studden 1966,
 * Tchebycheff Systems).
 * @param {Page.PredictedRecord} record
 * @param {number} temperature
 * @returns {Page.Interval}
 */
function tailAt(record, temperature) {
  const least = record.a[record.a.length - 1][2];
  const best = record.a[0][2];
  const curve = 1 - 1 / temperature;
  const masses = { low: Math.max(record.o - MASS_NOISE, 0), middle: record.o, high: record.o + MASS_NOISE };
  /**
   * @param {number} mass
   * @returns {number}
   */
  const weight = (mass) => mass * Math.exp(-curve * least - best / temperature);
  if (curve === 0) return each((side) => weight(masses[side]));
  /**
   * @param {number} mass
   * @returns {number} the mean of exp(d), at most
   */
  const spread = (mass) => Math.max((VOCABULARY * Math.exp(least)) / mass, 1);
  const depth = meanDepth(record, least, masses, spread);
  const [shallow, deep] = curve < 0 ? [depth.high, depth.low] : [depth.low, depth.high];
  const low = weight(masses.low) * Math.exp(curve * shallow);
  const high = weight(masses.high) * twoPoints(deep, spread(masses.high), curve);
  const middle = masses.middle && weight(masses.middle) * likelySpread(depth.middle, spread(masses.middle), curve);
  return { low, middle: clamp(middle, low, Math.max(low, high)), high: Math.max(low, high) };
}

/**
 * Return bounds of the mean of d by mass (see tailAt), with the effect of rounding.
 * @param {Page.PredictedRecord} record
 * @param {number} least logprob of the least alternative
 * @param {Page.Interval} masses
 * @param {(mass: number) => number} spread
 * @returns {Page.Interval}
 */
function meanDepth(record, least, masses, spread) {
  const listed = sum(record.a.map((one) => -Math.exp(one[2]) * one[2]));
  const [fewest, most] = /** @type {[number, number]} */ (colours.entropyRange(record));
  const noise = MASS_NOISE * (1 + most + least * least);
  /**
   * @param {number} entropy the other tokens' part of it
   * @param {number} mass
   * @returns {number}
   */
  const depth = (entropy, mass) => clamp(least + entropy / mass, 0, Math.log(spread(mass)));
  return {
    low: depth(Math.max(fewest - listed - noise, 0), masses.high),
    middle: masses.middle ? depth((fewest + most) / 2 - listed, masses.middle) : 0,
    high: masses.low ? depth(most - listed + noise, masses.low) : Math.log(spread(masses.high)),
  };
}

/**
 * Return the mean of exp(c d) where d is 0 or D, its mean is `depth` and that of exp(d) is `spread`.
 * @param {number} depth
 * @param {number} spread
 * @param {number} curve c
 * @returns {number}
 */
function twoPoints(depth, spread, curve) {
  if (depth === 0) return 1;
  const ratio = (spread - 1) / depth; // (exp(D) - 1) / D
  let far = 2 * Math.log(ratio + 1) + 2;
  for (let step = 0; step < STEPS; step += 1) far = Math.log1p(ratio * far); // from above, so that it stays a bound
  far = Math.max(far, depth);
  return 1 + (depth / far) * Math.expm1(curve * far);
}

/**
 * Guess the mean of exp(c d) from the mean of d and that of exp(d): d falls off exponentially, or is normal.
 * @param {number} depth
 * @param {number} spread
 * @param {number} curve c
 * @returns {number}
 */
function likelySpread(depth, spread, curve) {
  return curve < 0 ? 1 / (1 - curve * depth) : Math.exp(curve * depth + curve * curve * (Math.log(spread) - depth));
}

/**
 * Return bounds of the tail at the temperature of the server, where the sampled probability gives the sum of all kept weights.
 * @param {Choice} choice
 * @param {number} kept sum of all kept weights
 * @param {Page.Sampling} used
 * @returns {Page.Interval}
 */
function tailFromSampled(choice, kept, used) {
  const beyond = Math.max(kept - choice.known, 0);
  if (!truncates(used)) return exactly(beyond);
  let { low, high } = choice.tail;
  const [least, most] = [kept * (1 - SUM_NOISE), kept * (1 + SUM_NOISE)];
  low = Math.max(low, least - choice.known);
  if (used.top_p < 1 && !used.top_k) {
    if (least > choice.known) low = Math.max(low, (least - choice.least) / used.top_p - choice.known);
    if (!used.min_p) high = Math.min(high, Math.max(most / used.top_p - choice.known, 0));
  }
  high = Math.max(low, high);
  return { low, middle: clamp(choice.tail.middle, low, high), high };
}

/**
 * Truncate as the server does.
 * @param {Page.PredictedRecord} record
 * @param {Choice} choice
 * @param {Page.Sampling} settings
 * @param {number | null} sampled the sum of the weights that the server kept, if known
 * @returns {Page.WhatIfResult}
 */
function truncated(record, choice, settings, sampled) {
  const inCount = topK(choice, record, settings);
  const goal = settings.top_p < 1 ? each((side) => settings.top_p * (inCount.known + inCount.tail[side]) * BORDER[side]) : null;
  let verdicts = verdictsOf(choice, settings, goal);
  if (sampled !== null) verdicts = withSampled(choice, verdicts, sampled);
  /**
   * @param {(verdict: Page.Decision) => boolean} count
   * @returns {number}
   */
  const kept = (count) => sum(choice.weights.filter((_, index) => count(verdicts[index])));
  const tail = sampled === null ? tailKept(choice, record, settings, inCount, goal) : tailSampled(choice, verdicts, sampled);
  const listed = kept((verdict) => verdict.kept);
  const total = {
    low: kept((verdict) => verdict.kept && verdict.sure) + tail.low,
    middle: listed + tail.middle,
    high: kept((verdict) => verdict.kept || !verdict.sure) + tail.high,
  };
  /**
   * @param {Page.Decision} verdict
   * @param {number} weight
   * @returns {Page.Weighed}
   */
  const finish = (verdict, weight) => ({ ...verdict, probability: probabilityOf(verdict, weight, sampled === null ? total : exactly(sampled)) });
  const alternatives = verdicts.map((verdict, index) => finish(verdict, choice.weights[index]));
  const unlisted = () => (sampled === null ? outsider(choice, record, settings, inCount, goal) : { kept: true, sure: true });
  const chosen = choice.place >= 0 ? alternatives[choice.place] : finish(unlisted(), choice.chosen);
  return { chosen, alternatives, rest: each((side) => tail[side] / (listed + tail[side] || 1)) };
}

/**
 * Decide by the known sum: the kept alternatives are the first ones that fit into it. Very small weights stay undecided.
 * @param {Choice} choice
 * @param {Page.Decision[]} verdicts
 * @param {number} total
 * @returns {Page.Decision[]}
 */
function withSampled(choice, verdicts, total) {
  let before = 0;
  return verdicts.map((verdict, index) => {
    const weight = choice.weights[index];
    before += weight;
    const isDecided = index === choice.place || weight > 10 * SUM_NOISE * total;
    return isDecided ? { kept: index === choice.place || before <= total * (1 + SUM_NOISE), sure: true } : verdict;
  });
}

/**
 * Return the part of the known sum that is left for all other tokens.
 * @param {Choice} choice
 * @param {Page.Decision[]} verdicts
 * @param {number} total
 * @returns {Page.Interval}
 */
function tailSampled(choice, verdicts, total) {
  if (choice.place >= 0 && !verdicts[verdicts.length - 1].kept) return NOTHING;
  return exactly(Math.max(total - sum(choice.weights.filter((_, index) => verdicts[index].kept)), 0));
}

/**
 * @param {Page.Decision} verdict
 * @param {number} weight
 * @param {Page.Interval} total
 * @returns {Page.Interval}
 */
function probabilityOf(verdict, weight, total) {
  /**
   * @param {number} whole
   * @returns {number}
   */
  const share = (whole) => Math.min(weight / whole, 1);
  if (!verdict.kept) return verdict.sure ? NOTHING : { low: 0, middle: 0, high: share(total.low + weight) };
  return { low: verdict.sure ? share(total.high) : 0, middle: share(total.middle), high: share(total.low + (verdict.sure ? 0 : weight)) };
}

/**
 * Return the weights that top-k keeps.
 * @param {Choice} choice
 * @param {Page.PredictedRecord} record
 * @param {Page.Sampling} settings
 * @returns {InCount}
 */
function topK(choice, record, settings) {
  const listed = choice.weights.length;
  const count = settings.top_k || Infinity;
  if (count <= listed) return { known: sum(choice.weights.slice(0, count)), tail: NOTHING };
  if (count === Infinity) return { known: choice.known, tail: choice.tail };
  const high = Math.min(choice.tail.high, (count - listed) * choice.least);
  const middle = choice.tail.middle * zipfShare(record, settings.temperature, () => settings.top_k);
  return { known: choice.known, tail: { low: 0, middle: Math.min(middle, high), high } };
}

/**
 * Decide which alternatives top-k, top-p and min-p keep. Top-p keeps the one that crosses the border, and all keep the best one.
 * @param {Choice} choice
 * @param {Page.Sampling} settings
 * @param {Page.Interval | null} goal the weight that top-p keeps
 * @returns {Page.Decision[]}
 */
function verdictsOf(choice, settings, goal) {
  const count = settings.top_k || Infinity;
  let before = 0;
  return choice.weights.map((weight, index) => {
    const nucleus = goal === null ? withinAll(weight, choice, settings) : within(exactly(before), goal);
    before += weight;
    if (index === 0) return { kept: true, sure: true };
    return index < count ? both(nucleus, atLeast(weight, settings.min_p)) : { kept: false, sure: true };
  });
}

/**
 * Decide whether min-p keeps a weight.
 * @param {number} weight
 * @param {number} least
 * @returns {Page.Decision}
 */
function atLeast(weight, least) {
  return { kept: weight >= least, sure: weight >= least * BORDER.high || weight < least * BORDER.low };
}

/**
 * Decide for top-p switched off: it keeps all, but a truncating server adds rounded numbers and may reach 1 before the very last.
 * @param {number} weight
 * @param {Choice} choice
 * @param {Page.Sampling} settings
 * @returns {Page.Decision}
 */
function withinAll(weight, choice, settings) {
  return { kept: true, sure: !truncates(settings) || weight > MASS_NOISE * (choice.known + choice.tail.high) };
}

/**
 * @param {Page.Decision} one
 * @param {Page.Decision} other
 * @returns {Page.Decision}
 */
function both(one, other) {
  const isSurelyOut = [one, other].some((verdict) => verdict.sure && !verdict.kept);
  return { kept: one.kept && other.kept, sure: isSurelyOut || (one.sure && other.sure) };
}

/**
 * Decide whether a token is inside the nucleus.
 * @param {Page.Interval} before the weight of all tokens before it
 * @param {Page.Interval} goal
 * @returns {Page.Decision}
 */
function within(before, goal) {
  if (before.high < goal.low) return { kept: true, sure: true };
  if (before.low >= goal.high) return { kept: false, sure: true };
  return { kept: before.middle < goal.middle, sure: false };
}

/**
 * Return the kept weight of all other tokens.
 * @param {Choice} choice
 * @param {Page.PredictedRecord} record
 * @param {Page.Sampling} settings
 * @param {InCount} inCount
 * @param {Page.Interval | null} goal
 * @returns {Page.Interval}
 */
function tailKept(choice, record, settings, inCount, goal) {
  let { low, middle, high } = inCount.tail;
  if (choice.least < settings.min_p * BORDER.low) return NOTHING;
  if (goal !== null) {
    const left = each((side) => Math.max(goal[side] - inCount.known, 0));
    low = Math.min(left.low, high);
    high = left.high > 0 ? Math.min(left.high + choice.least, high) : 0;
    middle = left.middle;
  }
  if (settings.min_p > 0) {
    low = 0;
    /**
     * @param {number} power
     * @returns {number}
     */
    const lastRank = (power) => choice.weights.length * (settings.min_p / choice.least) ** (-1 / power);
    middle = Math.min(middle, choice.tail.middle * zipfShare(record, settings.temperature, lastRank));
  }
  return { low, middle: clamp(middle, low, Math.max(low, high)), high: Math.max(low, high) };
}

/**
 * Decide whether a token that is not among the alternatives is kept; its rank is the number of tokens before it, plus 1.
 * @param {Choice} choice
 * @param {Page.PredictedRecord} record
 * @param {Page.Sampling} settings
 * @param {InCount} inCount
 * @param {Page.Interval | null} goal
 * @returns {Page.Decision}
 */
function outsider(choice, record, settings, inCount, goal) {
  if (record.r > (settings.top_k || Infinity)) return { kept: false, sure: true };
  const share = atLeast(choice.chosen, settings.min_p);
  if (goal === null) return both(withinAll(choice.chosen, choice, settings), share);
  const between = Math.max(record.r - 1 - choice.weights.length, 0);
  const low = choice.known + between * choice.chosen;
  const high = Math.max(low, choice.known + Math.min(between * choice.least, inCount.tail.high));
  return both(within({ low, middle: (low + high) / 2, high }, goal), share);
}

/**
 * Guess which part of the other tokens' weight comes before a rank: they fall off as a power of their rank, as words do (Zipf),
 * so steeply that they sum up to their mass.
 * @param {Page.PredictedRecord} record
 * @param {number} temperature
 * @param {(power: number) => number} lastRank for the power at the temperature
 * @returns {number}
 */
function zipfShare(record, temperature, lastRank) {
  const listed = record.a.length;
  const power = zipfPower(record, listed) / temperature;
  return clamp(zipfSum(listed, lastRank(power), power) / zipfSum(listed, VOCABULARY, power), 0, 1);
}

/**
 * Return the sum over ranks up to `last` of (rank / listed) ** -power, in units of `listed`.
 * @param {number} listed
 * @param {number} last
 * @param {number} power
 * @returns {number}
 */
function zipfSum(listed, last, power) {
  const span = clamp(last, listed, VOCABULARY) / listed;
  return Math.abs(1 - power) < 1e-9 ? Math.log(span) : (span ** (1 - power) - 1) / (1 - power);
}

/** @type {WeakMap<Page.TokenRecord, number>} */
const powers = new WeakMap(); // needed again with every move of a slider

/**
 * Return the power with which the other tokens' probabilities sum up to their mass.
 * @param {Page.PredictedRecord} record
 * @param {number} listed
 * @returns {number}
 */
function zipfPower(record, listed) {
  let power = powers.get(record);
  if (power === undefined) {
    power = computedZipfPower(record, listed);
    powers.set(record, power);
  }
  return power;
}

/**
 * @param {Page.PredictedRecord} record
 * @param {number} listed
 * @returns {number}
 */
function computedZipfPower(record, listed) {
  const goal = record.o / Math.exp(record.a[listed - 1][2]) / listed;
  let [low, high] = [0, 20];
  for (let step = 0; step < STEPS; step += 1) {
    const middle = (low + high) / 2;
    if (zipfSum(listed, VOCABULARY, middle) > goal) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}
