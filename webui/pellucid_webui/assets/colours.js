// How a token is coloured: the modes, how strong each colour is for a token, and the words of the legends. The colours are in heatmap.css.
"use strict";

window.Pellucid = window.Pellucid || {};

(() => {
  const MODES = {
    probability: "Probability",
    rank: "Rank",
    surprisal: "Surprisal",
    two: "Surprisal and entropy",
    difference: "Difference",
  };

  /** The ranks up to which GLTR has its colours (Gehrmann et al. 2019, arXiv 1906.04043). */
  const RANKS = [10, 100, 1000];

  const STRONGEST = 8; // a scale has this many steps above plain
  const MOST_BITS = 12; // the surprisal from which a fill is the strongest
  const ENTROPIES = [1, 2, 3, 4]; // bits from which an underline is another one
  const UNLIKELY = 0.1; // below this probability a token is surprising
  const APART = 0.5; // from this difference on, two models disagree

  const toBits = (nats) => nats / Math.LN2;
  const bits = (logprob) => (logprob === null ? null : toBits(-logprob));
  const step = (share) => Math.max(0, Math.min(STRONGEST, Math.round(share * STRONGEST)));
  const bin = (value, borders) => borders.filter((border) => value > border).length;

  /** The classes that colour a token in every mode, so that another mode is another attribute of the map and nothing else. */
  function levels(record, ranks, mark) {
    const classes = [];
    if (record.l !== null) {
      const probability = Math.exp(record.l);
      classes.push(`p${step(1 - probability)}`, `s${step(bits(record.l) / MOST_BITS)}`);
      if (probability < UNLIKELY) classes.push("unlikely");
    }
    if (record.r !== null) classes.push(`r${bin(record.r, ranks)}`);
    if (record.e !== null) classes.push(`e${ENTROPIES.filter((least) => toBits(record.e) >= least).length}`);
    if (mark) classes.push(...differenceClasses(mark.value));
    return classes;
  }

  function differenceClasses(value) {
    const found = [`${value < 0 ? "lower" : "higher"}${step(Math.abs(value))}`];
    if (Math.abs(value) >= APART) found.push("apart");
    return found;
  }

  /** Whether a token is one to stop at: what the mode marks with a line. */
  function isSurprising(mode, record, ranks, mark) {
    if (mode === "difference") return Boolean(mark) && Math.abs(mark.value) >= APART;
    if (mode === "rank") return record.r !== null && record.r > ranks[0];
    return record.l !== null && Math.exp(record.l) < UNLIKELY;
  }

  const scale = (name) => Array.from({ length: STRONGEST + 1 }, (_, index) => `${name}${index}`);

  /**
   * What the colours of a mode mean: scales, of which the ends have words, and single samples.
   * `words` are those for a difference of -1 and of 1.
   */
  function legend(mode, words) {
    const unlikely = { sample: "unlikely", text: "below 10 %" };
    if (mode === "probability") return [{ scale: scale("p"), from: "100 %", to: "0 %" }, unlikely];
    if (mode === "surprisal") return [{ scale: scale("s"), from: "0", to: `${MOST_BITS} bits` }, unlikely];
    if (mode === "rank") return [0, 1, 2, 3].map((index) => ({ sample: `r${index}`, threshold: index < RANKS.length ? index : null }));
    if (mode === "difference") {
      const steps = [...scale("lower").reverse(), ...scale("higher").slice(1)];
      return [{ scale: steps, from: words[0], to: words[1] }, { sample: "apart", text: "far apart" }];
    }
    return [
      { scale: scale("s"), from: "surprisal 0", to: `${MOST_BITS} bits` },
      ...ENTROPIES.map((least, index) => ({ sample: `e${index + 1}`, text: `${index ? "" : "entropy "}${least}+${index === ENTROPIES.length - 1 ? " bits" : ""}` })),
      unlikely,
    ];
  }

  window.Pellucid.colours = { MODES, RANKS, toBits, bits, levels, isSurprising, legend };
})();
