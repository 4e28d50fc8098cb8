// What the sampler would have done at other settings, as far as what was kept of a choice tells.
"use strict";

window.Pellucid = window.Pellucid || {};

(() => {
  /** The settings at which the sampler takes the model's own distribution as it is. */
  const OFF = Object.freeze({ temperature: 1, top_k: 0, top_p: 1, min_p: 0 });

  const VOCABULARY = 2 ** 18; // at least as many tokens as any vocabulary has
  const MASS_NOISE = 1e-6; // by how much the rounding of logprobs may shift the mass of all others
  const SUM_NOISE = 1e-4; // by how much, relatively, it may shift a sum of weights
  const BORDER_NOISE = 1e-4; // so near a border, relatively, rounding decides: ours of logprobs, and the server's of probabilities
  const BORDER = Object.freeze({ low: 1 - BORDER_NOISE, middle: 1, high: 1 + BORDER_NOISE });
  const STEPS = 30;

  const NOTHING = Object.freeze({ low: 0, middle: 0, high: 0 });
  const exactly = (value) => ({ low: value, middle: value, high: value });
  const each = (compute) => ({ low: compute("low"), middle: compute("middle"), high: compute("high") });
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const sum = (values) => values.reduce((total, value) => total + value, 0);

  const isGiven = (record) => record.l !== null && record.e !== null && record.a.length > 0;
  const isSame = (one, other) => Object.keys(OFF).every((name) => one[name] === other[name]);
  const truncates = (settings) => settings.top_k > 0 || settings.top_p < 1 || settings.min_p > 0;

  /**
   * What the sampler would have done with a token's choice at `settings`: {chosen, alternatives, rest}, or null where nothing is
   * known of the choice. Each of them has a `probability`, an interval {low, middle, high}; the chosen one and the alternatives
   * also say whether the sampler would have `kept` them, and whether that is `sure`.
   *
   * The order is the server's: temperature, top_k, top_p, min_p. Only the best alternatives, the mass of all others and the entropy
   * of the choice are known, so what depends on how that mass is spread has bounds. `own` are the settings with which the token
   * was sampled, if it was: at these its probability is known, and with it the sum by which all of them are divided.
   */
  function weigh(record, settings, own = null) {
    if (!isGiven(record)) return null;
    if (settings.temperature === 0) return greedy(record);
    const sampled = own !== null && own.temperature > 0 && record.s !== null && record.s > 0 ? own : null;
    const choice = choiceAt(record, settings.temperature, sampled);
    const isOwn = sampled !== null && isSame(settings, sampled) && choice.chosen > 0;
    return truncated(record, choice, settings, isOwn ? choice.chosen / record.s : null);
  }

  /** At temperature 0 the model's first choice is certain. */
  function greedy(record) {
    const verdict = (kept) => ({ kept, sure: true, probability: exactly(kept ? 1 : 0) });
    return { chosen: verdict(record.a[0][0] === record.i), alternatives: record.a.map((_, index) => verdict(index === 0)), rest: NOTHING };
  }

  /** A choice at a temperature, in weights relative to the best alternative's; `tail` is the weight of all that were not kept. */
  function choiceAt(record, temperature, sampled) {
    const best = record.a[0][2];
    const weights = record.a.map((one) => Math.exp((one[2] - best) / temperature));
    const choice = {
      weights,
      known: sum(weights),
      least: weights[weights.length - 1],
      place: record.a.findIndex((one) => one[0] === record.i),
      chosen: Math.exp((record.l - best) / temperature),
    };
    choice.tail = tailAt(record, temperature);
    if (sampled && sampled.temperature === temperature) choice.tail = tailFromSampled(choice, choice.chosen / record.s, sampled);
    return choice;
  }

  /**
   * Bounds of the others' weight at a temperature. Let d be how far a token's logprob is below that of the least alternative:
   * each of the others has d >= 0, the entropy tells the mean of d by mass, and the size of the vocabulary bounds the mean of
   * exp(d). Their weight is their mass times the mean of exp(c d), c = 1 - 1/T: at least that of the mean (Jensen), and at most
   * that of the two points 0 and D which agree with both means (Karlin and Studden 1966, Tchebycheff Systems).
   */
  function tailAt(record, temperature) {
    const least = record.a[record.a.length - 1][2];
    const best = record.a[0][2];
    const curve = 1 - 1 / temperature;
    const masses = { low: Math.max(record.o - MASS_NOISE, 0), middle: record.o, high: record.o + MASS_NOISE };
    const weight = (mass) => mass * Math.exp(-curve * least - best / temperature);
    if (curve === 0) return each((side) => weight(masses[side]));
    const spread = (mass) => Math.max((VOCABULARY * Math.exp(least)) / mass, 1); // the mean of exp(d), at most
    const depth = meanDepth(record, least, masses, spread);
    const [shallow, deep] = curve < 0 ? [depth.high, depth.low] : [depth.low, depth.high];
    const low = weight(masses.low) * Math.exp(curve * shallow);
    const high = weight(masses.high) * twoPoints(deep, spread(masses.high), curve);
    const middle = masses.middle && weight(masses.middle) * likelySpread(depth.middle, spread(masses.middle), curve);
    return { low, middle: clamp(middle, low, Math.max(low, high)), high: Math.max(low, high) };
  }

  /** The mean by mass of how far the others' logprobs are below the least alternative's, with what rounding does to it. */
  function meanDepth(record, least, masses, spread) {
    const told = sum(record.a.map((one) => -Math.exp(one[2]) * one[2]));
    const left = record.e - told; // of the entropy, for the others
    const noise = MASS_NOISE * (1 + record.e + least * least);
    const depth = (entropy, mass) => clamp(least + entropy / mass, 0, Math.log(spread(mass)));
    return {
      low: depth(Math.max(left - noise, 0), masses.high),
      middle: masses.middle ? depth(left, masses.middle) : 0,
      high: masses.low ? depth(left + noise, masses.low) : Math.log(spread(masses.high)),
    };
  }

  /** The mean of exp(c d) where d is 0 or D, its mean is `depth` and that of exp(d) is `spread`. */
  function twoPoints(depth, spread, curve) {
    if (depth === 0) return 1;
    const ratio = (spread - 1) / depth; // (exp(D) - 1) / D
    let far = 2 * Math.log(ratio + 1) + 2;
    for (let step = 0; step < STEPS; step += 1) far = Math.log1p(ratio * far); // from above, so that it stays a bound
    far = Math.max(far, depth);
    return 1 + (depth / far) * Math.expm1(curve * far);
  }

  /** A guess of the mean of exp(c d) that agrees with the mean of d and that of exp(d): d falls off exponentially, or is normal. */
  function likelySpread(depth, spread, curve) {
    return curve < 0 ? 1 / (1 - curve * depth) : Math.exp(curve * depth + curve * curve * (Math.log(spread) - depth));
  }

  /** The same at the temperature of the server, where the sampled probability tells the sum of all weights that were kept. */
  function tailFromSampled(choice, kept, own) {
    const beyond = Math.max(kept - choice.known, 0);
    if (!truncates(own)) return exactly(beyond);
    let { low, high } = choice.tail;
    const [least, most] = [kept * (1 - SUM_NOISE), kept * (1 + SUM_NOISE)];
    low = Math.max(low, least - choice.known);
    if (own.top_p < 1 && !own.top_k) {
      if (least > choice.known) low = Math.max(low, (least - choice.least) / own.top_p - choice.known);
      if (!own.min_p) high = Math.min(high, Math.max(most / own.top_p - choice.known, 0));
    }
    high = Math.max(low, high);
    return { low, middle: clamp(choice.tail.middle, low, high), high };
  }

  /** Truncate as the server does. `sampled` is the sum of what it kept, where that is known. */
  function truncated(record, choice, settings, sampled) {
    const inCount = topK(choice, record, settings);
    const goal = settings.top_p < 1 ? each((side) => settings.top_p * (inCount.known + inCount.tail[side]) * BORDER[side]) : null;
    let verdicts = verdictsOf(choice, settings, goal);
    if (sampled !== null) verdicts = withSampled(choice, verdicts, sampled);
    const kept = (count) => sum(choice.weights.filter((_, index) => count(verdicts[index])));
    const tail = sampled === null ? tailKept(choice, record, settings, inCount, goal) : tailSampled(choice, verdicts, sampled);
    const listed = kept((verdict) => verdict.kept);
    const total = {
      low: kept((verdict) => verdict.kept && verdict.sure) + tail.low,
      middle: listed + tail.middle,
      high: kept((verdict) => verdict.kept || !verdict.sure) + tail.high,
    };
    const finish = (verdict, weight) => ({ ...verdict, probability: probabilityOf(verdict, weight, sampled === null ? total : exactly(sampled)) });
    const alternatives = verdicts.map((verdict, index) => finish(verdict, choice.weights[index]));
    const unlisted = () => (sampled === null ? outsider(choice, record, settings, inCount, goal) : { kept: true, sure: true });
    const chosen = choice.place >= 0 ? alternatives[choice.place] : finish(unlisted(), choice.chosen);
    return { chosen, alternatives, rest: each((side) => tail[side] / (listed + tail[side] || 1)) };
  }

  /** The alternatives that were kept are the first ones that the sum has room for; of very light ones it tells nothing. */
  function withSampled(choice, verdicts, total) {
    let before = 0;
    return verdicts.map((verdict, index) => {
      const weight = choice.weights[index];
      before += weight;
      const tells = index === choice.place || weight > 10 * SUM_NOISE * total;
      return tells ? { kept: index === choice.place || before <= total * (1 + SUM_NOISE), sure: true } : verdict;
    });
  }

  /** What of the sum is left for the others. */
  function tailSampled(choice, verdicts, total) {
    if (choice.place >= 0 && !verdicts[verdicts.length - 1].kept) return NOTHING;
    return exactly(Math.max(total - sum(choice.weights.filter((_, index) => verdicts[index].kept)), 0));
  }

  function probabilityOf(verdict, weight, total) {
    const share = (sum) => Math.min(weight / sum, 1);
    if (!verdict.kept) return verdict.sure ? NOTHING : { low: 0, middle: 0, high: share(total.low + weight) };
    return { low: verdict.sure ? share(total.high) : 0, middle: share(total.middle), high: share(total.low + (verdict.sure ? 0 : weight)) };
  }

  /** What top-k leaves: the alternatives' weight and the others'. */
  function topK(choice, record, settings) {
    const listed = choice.weights.length;
    const count = settings.top_k || Infinity;
    if (count <= listed) return { known: sum(choice.weights.slice(0, count)), tail: NOTHING };
    if (count === Infinity) return { known: choice.known, tail: choice.tail };
    const high = Math.min(choice.tail.high, (count - listed) * choice.least);
    const middle = choice.tail.middle * zipfShare(record, settings.temperature, () => settings.top_k);
    return { known: choice.known, tail: { low: 0, middle: Math.min(middle, high), high } };
  }

  /** Which alternatives top-k, top-p (the one that crosses the border stays) and min-p keep; the best one always stays. */
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

  /** Whether a weight is as high as min-p asks. */
  function atLeast(weight, least) {
    return { kept: weight >= least, sure: weight >= least * BORDER.high || weight < least * BORDER.low };
  }

  /** With top-p off all are inside; but a truncating server adds up rounded numbers, and may find the whole before the very last ones. */
  function withinAll(weight, choice, settings) {
    return { kept: true, sure: !truncates(settings) || weight > MASS_NOISE * (choice.known + choice.tail.high) };
  }

  function both(one, other) {
    const isSurelyOut = [one, other].some((verdict) => verdict.sure && !verdict.kept);
    return { kept: one.kept && other.kept, sure: isSurelyOut || (one.sure && other.sure) };
  }

  /** Whether what comes `before` a token leaves it inside the nucleus. */
  function within(before, goal) {
    if (before.high < goal.low) return { kept: true, sure: true };
    if (before.low >= goal.high) return { kept: false, sure: true };
    return { kept: before.middle < goal.middle, sure: false };
  }

  /** What of the others' weight is kept. */
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
      const lastRank = (power) => choice.weights.length * (settings.min_p / choice.least) ** (-1 / power);
      middle = Math.min(middle, choice.tail.middle * zipfShare(record, settings.temperature, lastRank));
    }
    return { low, middle: clamp(middle, low, Math.max(low, high)), high: Math.max(low, high) };
  }

  /** Whether a token that is not among the alternatives would have been kept: its rank says how many come before it. */
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
   * A guess of which part of the others' weight stands before a rank: they fall off as a power of their rank, as words do (Zipf),
   * so steeply that they sum up to their mass. `lastRank` is asked with the power at the temperature.
   */
  function zipfShare(record, temperature, lastRank) {
    const listed = record.a.length;
    const power = zipfPower(record, listed) / temperature;
    return clamp(zipfSum(listed, lastRank(power), power) / zipfSum(listed, VOCABULARY, power), 0, 1);
  }

  /** The sum over ranks up to `last` of (rank / listed) ** -power, in units of `listed`. */
  function zipfSum(listed, last, power) {
    const span = clamp(last, listed, VOCABULARY) / listed;
    return Math.abs(1 - power) < 1e-9 ? Math.log(span) : (span ** (1 - power) - 1) / (1 - power);
  }

  const powers = new WeakMap(); // of records: they are asked for with every move of a slider

  /** The power with which the others' probabilities sum up to their mass. */
  function zipfPower(record, listed) {
    if (!powers.has(record)) powers.set(record, computedZipfPower(record, listed));
    return powers.get(record);
  }

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

  window.Pellucid.whatIf = { OFF, weigh, isSame };
})();
