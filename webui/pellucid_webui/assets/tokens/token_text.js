// How a token is shown and spoken: no character in it stays hidden, and none can reorder the page.

import { make } from "../shared/dom.js";

// Control and format characters (bidi controls and zero widths among them), halves of surrogate pairs, line and paragraph
// separators, letters without a visible shape, and the selectors and tags that can smuggle text.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\u034F\u115F\u1160\u17B4\u17B5\u180B-\u180D\u180F\u3164\uFFA0\uFE00-\uFE0F\u{E0100}-\u{E01EF}]/u;
const ODD_SPACE = /(?! )\p{Zs}/u;
const EMOJI_SELECTOR = "\uFE0F";
const REPLACED = "\uFFFD";
const MAX_SPOKEN = 100; // characters of a token in its accessible name

/** @type {Record<string, string>} */
const SPOKEN = {
  "!": "exclamation mark", '"': "quote", "#": "hash", $: "dollar", "%": "percent", "&": "ampersand", "'": "apostrophe",
  "(": "left parenthesis", ")": "right parenthesis", "*": "star", "+": "plus", ",": "comma", "-": "minus", ".": "dot", "/": "slash",
  ":": "colon", ";": "semicolon", "<": "less than", "=": "equals", ">": "greater than", "?": "question mark", "@": "at",
  "[": "left bracket", "\\": "backslash", "]": "right bracket", "^": "caret", _: "underscore", "`": "backtick",
  "{": "left brace", "|": "bar", "}": "right brace", "~": "tilde",
};

/**
 * @param {number} number
 * @param {number} digits at least
 * @returns {string}
 */
const hex = (number, digits) => number.toString(16).toUpperCase().padStart(digits, "0");

/**
 * Return a visible form of a character that has no shape of its own.
 * @param {string} character
 * @returns {string}
 */
function picture(character) {
  const code = /** @type {number} */ (character.codePointAt(0));
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return `⟨U+${hex(code, 4)}⟩`;
}

/**
 * Split a text into pieces.
 * @param {string} text
 * @returns {Page.Piece[]}
 */
function pieces(text) {
  /** @type {Page.Piece[]} */
  const found = [];
  let plain = "";
  const close = () => {
    if (plain) found.push({ kind: "text", text: plain });
    plain = "";
  };
  for (const character of text) {
    const follows = plain !== "" && character === EMOJI_SELECTOR;
    if (follows || !HIDDEN.test(character)) {
      plain += character;
      continue;
    }
    close();
    if (character === "\n") found.push({ kind: "newline", text: character });
    else if (character === "\t") found.push({ kind: "tab", text: character });
    else found.push({ kind: "picture", text: picture(character) });
  }
  close();
  return found;
}

/**
 * @param {string} base64
 * @returns {number[]}
 */
export const bytesOf = (base64) => Array.from(atob(base64), (character) => character.charCodeAt(0));

/**
 * @param {number[]} bytes
 * @returns {string}
 */
export const hexOf = (bytes) => bytes.map((byte) => hex(byte, 2)).join(" ");

/**
 * Split bytes into pieces: whole characters as text, broken ones as hexadecimal numbers.
 * @param {number[]} bytes
 * @returns {Page.Piece[]}
 */
function piecesOfBytes(bytes) {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  /** @type {Page.Piece[]} */
  const found = [];
  let text = "";
  /** @type {number[]} */
  let broken = [];
  const closeText = () => {
    found.push(...pieces(text));
    text = "";
  };
  const closeBroken = () => {
    if (broken.length) found.push({ kind: "picture", text: `⟨${hexOf(broken)}⟩` });
    broken = [];
  };
  for (let at = 0; at < bytes.length; ) {
    const lead = bytes[at];
    const length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    try {
      const whole = decoder.decode(new Uint8Array(bytes.slice(at, at + length)));
      closeBroken();
      text += whole;
      at += length;
    } catch {
      closeText();
      broken.push(lead);
      at += 1;
    }
  }
  closeText();
  closeBroken();
  return found;
}

/**
 * Split a token into pieces.
 * @param {string} text
 * @param {string | undefined} base64 of its bytes, where they are not those of the text
 * @returns {Page.Piece[]}
 */
export function piecesOf(text, base64) {
  if (base64 === undefined) return text ? pieces(text) : [{ kind: "picture", text: "⟨⟩" }];
  if (text && !text.includes(REPLACED)) return pieces(text);
  const found = piecesOfBytes(bytesOf(base64));
  // A token with bytes and no text is a special token, or its bytes belong to another token's text.
  return text ? found : found.map((piece) => ({ kind: "picture", text: piece.kind === "text" ? `⟨${piece.text}⟩` : named(piece) }));
}

/**
 * @param {Page.Piece} piece
 * @returns {string}
 */
const named = (piece) => (piece.kind === "newline" ? "⟨↵⟩" : piece.kind === "tab" ? "⟨⇥⟩" : piece.text);

/**
 * Return nodes that show pieces as a part of a text: spaces are spaces, and lines break.
 * @param {Page.Piece[]} found
 * @returns {(Node | string)[]}
 */
export function flowing(found) {
  return found.map((piece) => {
    if (piece.kind === "text") return piece.text;
    if (piece.kind === "picture") return make("span", { class: "pl-glyph" }, piece.text);
    return make("span", { class: piece.kind === "newline" ? "pl-newline" : "pl-tab" }, piece.text);
  });
}

/**
 * Return nodes that show pieces on one line of their own: spaces, line ends and tabs are visible.
 * @param {Page.Piece[]} found
 * @returns {(Node | string)[]}
 */
export function standing(found) {
  return found.flatMap((piece) => {
    if (piece.kind === "newline") return [make("span", { class: "pl-glyph" }, "↵")];
    if (piece.kind === "tab") return [make("span", { class: "pl-glyph" }, "⇥")];
    if (piece.kind === "picture") return [make("span", { class: "pl-glyph" }, piece.text)];
    return piece.text
      .split(/(\p{Zs})/u)
      .filter(Boolean)
      .map((part) => (part === " " ? make("span", { class: "pl-glyph" }, "␣") : ODD_SPACE.test(part) ? make("span", { class: "pl-glyph" }, picture(part)) : part));
  });
}

/**
 * @param {number} count
 * @param {string} name
 * @returns {string}
 */
const counted = (count, name) => (count === 1 ? name : `${count} ${name}s`);

const LETTER = /[\p{L}\p{N}]/u;

/**
 * Return how a part of a line is spoken: the spaces around it are counted, and signs are named where it has no letters.
 * @param {string} part
 * @returns {string[]}
 */
function spokenPart(part) {
  const [, leading, said, trailing] = /** @type {RegExpExecArray} */ (/^( *)(.*?)( *)$/su.exec(part));
  /**
   * @param {string} run
   * @returns {string[]}
   */
  const spaces = (run) => (run ? [counted(run.length, "space")] : []);
  const signs = () => Array.from(said, (sign) => SPOKEN[sign] || sign).filter((name) => name !== " ");
  return [...spaces(leading), ...(LETTER.test(said) ? [said] : signs()), ...spaces(trailing)];
}

/**
 * Return how a token is spoken. What a screen reader skips is named: spaces, line ends, and signs without letters.
 * @param {string} text
 * @param {string | undefined} base64
 * @returns {string}
 */
export function spoken(text, base64) {
  const words = piecesOf(text, base64).map((piece) => {
    if (piece.kind === "newline") return "\n";
    if (piece.kind === "tab") return "\t";
    return piece.kind === "picture" ? piece.text.replace(/[⟨⟩]/gu, "") || "nothing" : piece.text;
  });
  const all = words.join("");
  const cut = all.length > MAX_SPOKEN ? `${all.slice(0, MAX_SPOKEN)} and so on` : all;
  const parts = cut.split(/(\n+|\t+)/u).filter(Boolean);
  /** @type {Record<string, string>} */
  const names = { "\n": "new line", "\t": "tab" };
  return parts.flatMap((part) => (part[0] in names ? [counted(part.length, names[part[0]])] : spokenPart(part))).join(" ");
}

/**
 * Return a share of 1 in percent, with enough digits to tell it from 0 and from 1.
 * @param {number} share
 * @returns {string}
 */
export function percent(share) {
  const value = 100 * share;
  if (value >= 100) return "100";
  if (value > 99.999) return ">99.999";
  if (value >= 99.95) return value.toFixed(3);
  if (value >= 10) return value.toFixed(1);
  if (value >= 1) return value.toFixed(2);
  if (value >= 0.001) return value.toPrecision(2);
  return value > 0 ? value.toExponential(1) : "0";
}

/**
 * Return the same for a screen reader: without trailing zeros and powers of ten.
 * @param {number} share
 * @returns {string}
 */
export function spokenPercent(share) {
  if (share > 0 && share < 1e-5) return "less than 0.001 percent";
  const said = percent(share).replace(">", "more than ");
  return `${said.includes(".") ? said.replace(/\.?0+$/u, "") : said} percent`;
}
