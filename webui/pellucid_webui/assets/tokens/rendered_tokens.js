// The tokens of an answer in its rendered text. They are painted as highlights (CSS Custom Highlight API), which change no element, or as
// boxes in browsers without these. A formula is one place for all its tokens, and is marked as an element.

import * as colours from "./colours.js";
import { DrawnMarks, paintsHighlights } from "./drawn_marks.js";

const FIELDS = 5; // numbers for each piece in `places`
const OFFERED = 12; // words at most
const CONTROLS = "figcaption, button"; // whose text is the page's, not the answer's

/** Names of the highlights, from the lowest to the highest. Their looks are in inspector.css. */
const STEP_LAYERS = Array.from({ length: colours.STEPS }, (_, step) => `pl-step-${step + 1}`);
const LAYERS = [...STEP_LAYERS, "pl-unsure", "pl-branch", "pl-out", "pl-here"];

/** @typedef {{ token: number, block: number, from: number, to: number, step: number }} Piece */
/** @typedef {{ node: Text, from: number, to: number }} Part of the text of a block */

/**
 * Return the highlight of a layer, which all answers of the page share.
 * @param {string} name
 * @returns {Highlight}
 */
function layer(name) {
  let found = CSS.highlights.get(name);
  if (!found) {
    found = new Highlight();
    found.priority = LAYERS.indexOf(name);
    CSS.highlights.set(name, found);
  }
  return found;
}

export class RenderedTokens {
  /**
   * @param {HTMLElement} body whose children are the blocks
   * @param {Page.Marks} marks
   */
  constructor(body, marks) {
    this.body = body;
    this.count = marks.count;
    this.unsure = marks.unsure;
    /** @type {Part[][]} */
    this.parts = [...body.children].map(partsOf);
    /** @type {Map<Node, { block: number, from: number }>} */
    this.nodes = new Map();
    this.parts.forEach((parts, block) => parts.forEach(({ node, from }) => this.nodes.set(node, { block, from })));
    /** @type {Map<Element, { block: number, from: number }>} */
    this.formulas = new Map();
    this.parts.forEach((parts, block) => parts.forEach(({ node, from }) => {
      const formula = formulaOf(node);
      if (formula && !this.formulas.has(formula)) this.formulas.set(formula, { block, from });
    }));
    this.drawn = paintsHighlights(body) ? null : new DrawnMarks(body);
    /** @type {Piece[]} */
    this.pieces = []; // in the order of the text
    /** @type {Map<number, Piece[]>} */
    this.byToken = new Map();
    for (let at = 0; at < marks.places.length; at += FIELDS) {
      const [token, block, from, to, step] = marks.places.slice(at, at + FIELDS);
      // A block whose text is another than the server's gets no tokens rather than wrong ones.
      if (lengthOf(this.parts[block]) !== marks.lengths[block]) continue;
      const piece = { token, block, from, to, step };
      this.pieces.push(piece);
      this.byToken.set(token, [...(this.byToken.get(token) ?? []), piece]);
    }
    this.order = [...this.byToken.keys()].sort((one, other) => one - other);
    this.stops = this.unsure.filter((token) => this.byToken.has(token));
    /** @type {Map<string, Range[]>} */
    this.painted = new Map();
  }

  /**
   * Paint a layer instead of what it had.
   * @param {string} name
   * @param {Range[]} ranges
   */
  paint(name, ranges) {
    for (const range of this.painted.get(name) ?? []) formulaOf(range.startContainer)?.classList.remove(name);
    for (const range of ranges) formulaOf(range.startContainer)?.classList.add(name);
    if (this.drawn) this.drawn.set(name, ranges.filter((range) => !formulaOf(range.startContainer)));
    else {
      const highlight = layer(name);
      for (const range of this.painted.get(name) ?? []) highlight.delete(range);
      for (const range of ranges) if (!formulaOf(range.startContainer)) highlight.add(range);
    }
    this.painted.set(name, ranges);
  }

  /** Underline the unsure tokens. */
  paintUnsure() {
    this.paint("pl-unsure", this.stops.flatMap((token) => this.ranges(token)));
  }

  /**
   * Colour all tokens by their steps, or those of a what-if.
   * @param {((token: number) => number | null) | null} stepOf
   */
  paintSteps(stepOf) {
    /** @type {Range[][]} */
    const steps = Array.from({ length: colours.STEPS + 1 }, () => []);
    for (const piece of this.pieces) steps[stepOf?.(piece.token) ?? piece.step].push(...this.rangesOf(piece));
    STEP_LAYERS.forEach((name, index) => this.paint(name, steps[index + 1]));
  }

  clearSteps() {
    for (const name of STEP_LAYERS) this.paint(name, []);
  }

  /** Take everything off the page. */
  clear() {
    for (const name of this.painted.keys()) this.paint(name, []);
    this.painted.clear();
    this.drawn?.destroy();
  }

  /**
   * Return what a token covers, without the spaces around it.
   * @param {number} token
   * @returns {Range[]}
   */
  ranges(token) {
    return (this.byToken.get(token) ?? []).flatMap((piece) => this.rangesOf(this.trimmed(piece)));
  }

  /**
   * @param {Piece} piece
   * @returns {Range[]} one for each text node, or for the whole of a formula
   */
  rangesOf({ block, from, to }) {
    return this.partsIn(block, from, to).flatMap((part) => {
      const range = document.createRange();
      const formula = formulaOf(part.node);
      if (formula) {
        if (part.from > from && formulaOf(this.partsIn(block, part.from - 1, part.from)[0].node) === formula) return []; // not its first
        range.selectNodeContents(formula);
        return [range];
      }
      range.setStart(part.node, Math.max(from, part.from) - part.from);
      range.setEnd(part.node, Math.min(to, part.to) - part.from);
      return range;
    });
  }

  /**
   * @param {number} block
   * @param {number} from
   * @param {number} to
   * @returns {Part[]} the text nodes between two places: highlighted code has thousands in a block
   */
  partsIn(block, from, to) {
    const parts = this.parts[block];
    let [low, high] = [0, parts.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (parts[middle].to <= from) low = middle + 1;
      else high = middle;
    }
    const found = [];
    for (let at = low; at < parts.length && parts[at].from < to; at += 1) if (parts[at].to > from) found.push(parts[at]);
    return found;
  }

  /**
   * @param {Piece} piece
   * @returns {Piece} the piece without spaces at its ends, unless it is nothing else
   */
  trimmed(piece) {
    const text = this.textOf(piece);
    if (!text.trim()) return piece;
    const from = piece.from + text.length - text.trimStart().length;
    return { ...piece, from, to: from + text.trim().length };
  }

  /**
   * @param {Piece} piece
   * @returns {string}
   */
  textOf({ block, from, to }) {
    return this.partsIn(block, from, to).map((part) => part.node.data.slice(Math.max(0, from - part.from), Math.max(0, to - part.from))).join("");
  }

  /**
   * Return the unsure tokens that come first in the text, and the least likely one.
   * @param {number | null} least
   * @returns {{ token: number, text: string, step: number }[]}
   */
  worthALook(least) {
    const tokens = [...new Set([...this.stops.slice(0, OFFERED), ...(least === null ? [] : [least])])].sort((one, other) => one - other);
    return tokens.flatMap((token) => {
      const pieces = this.byToken.get(token) ?? [];
      const text = pieces.map((piece) => this.textOf(piece)).join("").trim();
      return text ? [{ token, text, step: Math.max(...pieces.map(({ step }) => step)) }] : [];
    });
  }

  /**
   * Return the token at a point of the window, or null.
   * @param {number} x
   * @param {number} y
   * @returns {number | null}
   */
  at(x, y) {
    const formula = this.formulas.get(document.elementFromPoint(x, y)?.closest(".pl-formula") ?? this.body);
    if (formula) return this.leastLikelyAt(formula.block, formula.from);
    const caret = caretAt(x, y);
    const place = caret && this.nodes.get(caret.node);
    if (!caret || !place) return null;
    // A caret is between two characters: the point is in one of them, or in none.
    for (const offset of [caret.offset, caret.offset - 1]) {
      const piece = this.pieceAt(place.block, place.from + offset);
      if (piece && this.rangesOf(piece).some((range) => [...range.getClientRects()].some((rect) => holds(rect, x, y)))) return piece.token;
    }
    return null;
  }

  /**
   * Return the least likely token of the formula at a place, or null.
   * @param {number} block
   * @param {number} offset
   * @returns {number | null}
   */
  leastLikelyAt(block, offset) {
    const inside = this.pieces.filter((piece) => piece.block === block && piece.from <= offset && offset < piece.to);
    const unsure = inside.find(({ token }) => this.unsure.includes(token));
    const least = unsure ?? inside.reduce((one, other) => (other.step > one.step ? other : one), inside[0]);
    return least ? least.token : null;
  }

  /**
   * @param {number} block
   * @param {number} offset in its text
   * @returns {Piece | null}
   */
  pieceAt(block, offset) {
    let [low, high] = [0, this.pieces.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const { block: other, to } = this.pieces[middle];
      if (other < block || (other === block && to <= offset)) low = middle + 1;
      else high = middle;
    }
    const piece = this.pieces[low];
    return piece && piece.block === block && piece.from <= offset ? piece : null;
  }

  /**
   * Return where a token is in the window, or null.
   * @param {number} token
   * @returns {DOMRect | null}
   */
  place(token) {
    const [range] = this.ranges(token);
    const formula = range && formulaOf(range.startContainer);
    if (formula) return formula.getBoundingClientRect();
    return range ? (range.getClientRects()[0] ?? range.getBoundingClientRect()) : null;
  }

  /**
   * Return the shown token nearest to one in a direction; null at the end.
   * @param {number | null} token null is before the first one, or after the last one
   * @param {number} direction
   * @param {number[]} [among]
   * @returns {number | null}
   */
  next(token, direction, among = this.order) {
    if (direction > 0) return among.find((other) => token === null || other > token) ?? null;
    return [...among].reverse().find((other) => token === null || other < token) ?? null;
  }
}

/**
 * @param {Element} block
 * @returns {Part[]} the text nodes of a block with their places in its text
 */
function partsOf(block) {
  const walker = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
  const found = [];
  for (let from = 0; walker.nextNode();) {
    const node = /** @type {Text} */ (walker.currentNode);
    if (node.parentElement?.closest(CONTROLS)) continue;
    found.push({ node, from, to: from + node.length });
    from += node.length;
  }
  return found;
}

/**
 * @param {Node} node
 * @returns {Element | null} the rendered formula that a node is in
 */
const formulaOf = (node) => (node instanceof Element ? node : node.parentElement)?.closest(".pl-formula") ?? null;

/**
 * @param {Part[] | undefined} parts
 * @returns {number}
 */
const lengthOf = (parts) => (parts ? (parts[parts.length - 1]?.to ?? 0) : -1);

/**
 * @param {DOMRect} rect
 * @param {number} x
 * @param {number} y
 * @returns {boolean}
 */
const holds = ({ left, right, top, bottom }, x, y) => left <= x && x <= right && top <= y && y <= bottom;

/**
 * @param {number} x
 * @param {number} y
 * @returns {{ node: Node, offset: number } | null}
 */
function caretAt(x, y) {
  if (document.caretPositionFromPoint) {
    const found = document.caretPositionFromPoint(x, y);
    return found && { node: found.offsetNode, offset: found.offset };
  }
  const range = document.caretRangeFromPoint(x, y); // Safari
  return range && { node: range.startContainer, offset: range.startOffset };
}
