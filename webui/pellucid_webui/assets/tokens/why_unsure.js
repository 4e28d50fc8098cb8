// Says in a sentence why the model was unsure of a token: which choices competed, and whether they differ in more than their form.

import * as colours from "./colours.js";
import * as visible from "./token_text.js";

const SURE = 0.8; // the probability of the first choice from which nothing is to be explained
const RIVAL = 0.4; // the part of the first choice's probability that a competing choice has at least
const MOST_RIVALS = 4;
const TOGETHER = 0.6; // the probability of all competing choices; with less, no choice leads
const NUMBERS = ["", "", "two", "three", "four"];

/** @typedef {{ text: string, words: string, probability: number }} Choice */

/**
 * Return the sentence for a token's card.
 * @param {Page.TokenRecord} record
 * @returns {string} empty where the model was sure, and for a token that a format restricted or that has no alternatives
 */
export function whyUnsure(record) {
  if (record.g || record.l === null || record.a.length < 2) return "";
  const choices = record.a.map(([, text, logprob, bytes]) => choiceOf(text, Math.exp(colours.constrain(record, logprob)), bytes));
  const [first] = choices;
  const isFirst = record.a[0][0] === record.i;
  if (first.probability >= SURE) return isFirst ? "" : `The model was sure of another choice: ${named(first)}.`;
  const rivals = choices.filter(({ probability }) => probability >= RIVAL * first.probability).slice(0, MOST_RIVALS);
  const together = sum(rivals);
  if (rivals.length === 1) return `One choice leads, but not by itself: ${named(first)}, all others ${visible.percent(1 - first.probability)} %.`;
  if (together < TOGETHER) return `No choice leads: the first, ${first.words}, has ${visible.percent(first.probability)} %, and the first ${choices.length} have ${visible.percent(sum(choices))} % together.`;
  return `${rivals.map(named).join(", ")}: ${NUMBERS[rivals.length]} choices compete${formWords(rivals)}.`;
}

/**
 * @param {string} text
 * @param {number} probability
 * @param {string | undefined} bytes
 * @returns {Choice}
 */
function choiceOf(text, probability, bytes) {
  const shown = text.trim();
  return { text, words: bytes === undefined && /[\p{L}\p{N}]/u.test(shown) ? shown : `“${visible.spoken(text, bytes)}”`, probability };
}

/** @param {Choice} choice */
const named = ({ words, probability }) => `${visible.percent(probability)} % ${words}`;

/** @param {Choice[]} choices */
const sum = (choices) => choices.reduce((total, { probability }) => total + probability, 0);

/**
 * @param {Choice[]} rivals
 * @returns {string} the end of a sentence
 */
function formWords(rivals) {
  const plain = new Set(rivals.map(({ text }) => text.trim().toLowerCase()));
  if (plain.size === 1) return ", which differ only in spaces or capitals";
  return rivals.every(({ text }) => !/[\p{L}\p{N}]/u.test(text)) ? " over punctuation, not over words" : "";
}
