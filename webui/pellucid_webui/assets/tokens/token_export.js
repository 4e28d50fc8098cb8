// The tokens of an answer as CSV and JSON, with the columns of pellucid_webui/inspection/token_rows.py; and their mean surprisal.

import { button, copy, download, make } from "../shared/dom.js";
import { toBits } from "./colours.js";
import { bytesOf } from "./token_text.js";

/**
 * Return a token's figures; null if unknown. The numbers are not rounded.
 * @param {Page.TokenRecord} record
 * @param {number} index
 */
export function tokenRow({ i, t, b, l, r, e, h, s, o, a, c, g }, index) {
  const bytes = b === undefined ? [...new TextEncoder().encode(t)] : bytesOf(b);
  return {
    place: index + 1,
    id: i < 0 ? null : i,
    token: t,
    bytes_hex: bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(""),
    logprob: l,
    probability: l === null ? null : Math.exp(l),
    surprisal_bits: surprisalBits(l),
    rank: r,
    entropy_bits: e === null ? null : toBits(e),
    entropy_bits_low: h === undefined ? null : toBits(h[0]),
    entropy_bits_high: h === undefined ? null : toBits(h[1]),
    sampling_probability: s,
    allowed_probability: g?.[0] ?? c ?? 1,
    rest_probability: o,
    alternatives: a.map(([, text, logprob]) => [text, logprob]),
  };
}

/**
 * @param {number | null} logprob of the model's own distribution
 * @returns {number | null}
 */
export const surprisalBits = (logprob) => (logprob === null ? null : toBits(-logprob) + 0); // + 0: no negative zero

/**
 * Return tokens as CSV: a row for each, alternatives as JSON, and empty cells for what is unknown.
 * @param {Page.TokenRecord[]} records
 * @returns {string}
 */
export function tokensAsCsv(records) {
  const rows = records.map(tokenRow);
  const columns = Object.keys(tokenRow({ i: -1, t: "", l: null, r: null, e: null, s: null, o: 0, a: [] }, 0));
  const lines = [columns, ...rows.map((row) => Object.values(row))].map((values) => values.map(csvCell).join(","));
  return lines.map((line) => `${line}\r\n`).join("");
}

/**
 * @param {unknown} value
 * @returns {string}
 */
function csvCell(value) {
  const text = value === null ? "" : Array.isArray(value) ? JSON.stringify(value) : String(value);
  return /[",\r\n]/u.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * Return tokens as JSON, with what is known of the whole.
 * @param {Page.TokenRecord[]} records
 * @param {object} about
 * @returns {string}
 */
export function tokensAsJson(records, about) {
  const { bits, known, unknown } = meanSurprisal(records);
  const perplexity = bits === null ? null : 2 ** bits;
  return JSON.stringify({ ...about, mean_surprisal_bits: bits, perplexity, tokens_with_probability: known, tokens_without_probability: unknown, tokens: records.map(tokenRow) });
}

/**
 * @param {Page.TokenRecord[]} records
 * @returns {Page.MeanSurprisal}
 */
export function meanSurprisal(records) {
  const known = records.flatMap(({ l }) => surprisalBits(l) ?? []);
  const bits = known.length ? known.reduce((sum, one) => sum + one, 0) / known.length : null;
  return { bits, known: known.length, unknown: records.length - known.length };
}

/**
 * Return a mean surprisal and its perplexity in words. Tokens without a probability are not counted, and named.
 * @param {Page.MeanSurprisal | undefined} mean
 * @returns {string} empty without any token
 */
export function surprisalWords(mean) {
  if (!mean || mean.known + mean.unknown === 0) return "";
  if (mean.bits === null) return "perplexity unknown: no token has a probability";
  const perplexity = 2 ** mean.bits;
  const without = mean.unknown ? ` (without ${mean.unknown === 1 ? "a token that has" : `${mean.unknown.toLocaleString("en")} tokens that have`} no probability)` : "";
  return `surprisal ${mean.bits.toFixed(3)} bits per token, perplexity ${perplexity < 1e6 ? perplexity.toFixed(3) : perplexity.toExponential(2)}${without}`;
}

/**
 * Return Python that reads a CSV file of tokens. Pandas would take the token "NA" for an unknown one, and "1" for a number.
 * @param {string} file
 * @returns {string}
 */
export const pandasSnippet = (file) => `import pandas as pd
texts = pd.read_csv("${file}", dtype=str, keep_default_na=False)
tokens = texts.assign(**texts.drop(columns=["token", "bytes_hex", "alternatives"]).apply(pd.to_numeric))
`;

/**
 * Return buttons that save tokens as files, and one that copies Python for such a file.
 * @param {string} file the name of the files, without their end
 * @param {(kind: "csv" | "json") => void} onSave
 * @returns {HTMLElement}
 */
export const exportButtons = (file, onSave) =>
  make(
    "div",
    { class: "pl-row" },
    button("Download CSV", { onclick: () => onSave("csv") }),
    button("Download JSON", { onclick: () => onSave("json") }),
    button("Copy for pandas", { onclick: ({ currentTarget }) => copy(pandasSnippet(`${file}.csv`), currentTarget) }, `Copy three lines of Python that read ${file}.csv`),
  );

/**
 * Have the browser save tokens.
 * @param {"csv" | "json"} kind
 * @param {{ file: string, about?: object }} whole the name of the file, and what the JSON says of all tokens
 * @param {Page.TokenRecord[]} records
 */
export function saveTokens(kind, { file, about = {} }, records) {
  if (kind === "csv") download(`${file}.csv`, tokensAsCsv(records), "text/csv");
  else download(`${file}.json`, tokensAsJson(records, about), "application/json");
}
