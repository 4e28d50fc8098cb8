/** Tokens and probabilities in words, for the screen and for screen readers. */

import type { Alternative, Token } from "../tokenTypes";

const MARKS: Record<string, string> = { " ": "·", "\t": "→", "\n": "⏎", "\r": "␍" };
const NAMES: Record<string, string> = { " ": "space", "\t": "tab", "\n": "new line", "\r": "carriage return" };

/** A piece of a token's text; `blank` if it represents white space or bytes that are not a character. */
export interface Piece {
  text: string;
  blank: boolean;
}

/** A token's text with its white space made visible. */
export function pieces(token: Alternative): Piece[] {
  if (token.token === "" || token.token.includes("\uFFFD")) {
    return [{ text: token.bytes.map((byte) => `<${byte.toString(16).padStart(2, "0")}>`).join("") || "∅", blank: true }];
  }
  const found = token.token.match(/[ \t\n\r]+|[^ \t\n\r]+/g) ?? [];
  return found.map((text) => {
    const blank = /^\s/.test(text);
    return { text: blank ? [...text].map((mark) => MARKS[mark] ?? mark).join("") : text, blank };
  });
}

/** A token's text as it is read aloud: white space is named, and repeated white space is counted. */
export function spoken(token: Alternative): string {
  if (token.token === "" || token.token.includes("\uFFFD")) {
    return `bytes ${token.bytes.map((byte) => byte.toString(16)).join(" ")}`;
  }
  return token.token
    .replace(/([ \t\n\r])\1*/g, (run: string, mark: string) => ` ${run.length > 1 ? `${run.length} times ` : ""}${NAMES[mark]} `)
    .trim()
    .replace(/ +/g, " ");
}

/**
 * The probability of a token, or of an alternative to it, among all tokens that agree with what was typed: `allowed` is theirs
 * together. Undefined for a first token, which has none.
 */
export function probability(token: { logprob: number | null }, allowed = 1): number | undefined {
  return token.logprob === null ? undefined : Math.min(1, Math.exp(token.logprob) / allowed);
}

/** A probability in percent, with a decimal where a whole number would be misleading: 93, 99.7, 4.2, <0.1. */
export function percent(probability: number): string {
  const value = probability * 100;
  if (value < 0.1) {
    return value === 0 ? "0" : "<0.1";
  }
  if (value >= 99.95) {
    return "100";
  }
  return value < 9.95 || value > 99 ? value.toFixed(1) : value.toFixed(0);
}

/** The entropy of a choice in bits, as a range where the exact one is not known; undefined where nothing is. */
export function entropy(token: Pick<Token, "entropy" | "entropy_range">): string | undefined {
  const range = token.entropy === null ? token.entropy_range : [token.entropy, token.entropy];
  const [least, most] = (range ?? []).map((nats) => (nats / Math.LN2).toFixed(2));
  if (least === undefined) {
    return undefined;
  }
  return least === most ? `${least} bits` : `${least} to ${most} bits`;
}

/** The bytes of a token that were in the document before the suggestion: the model generates a begun word as a whole. */
export function typed(token: Alternative): number[] {
  const suggested = [...new TextEncoder().encode(token.token)];
  const begun = token.bytes.slice(0, token.bytes.length - suggested.length);
  const whole = [...begun, ...suggested];
  return whole.length === token.bytes.length && whole.every((byte, index) => byte === token.bytes[index]) ? begun : [];
}

/** Whether an alternative begins with the text that was already in the document. */
export function fits(alternative: Alternative, begun: number[]): boolean {
  return begun.every((byte, index) => byte === alternative.bytes[index]);
}
