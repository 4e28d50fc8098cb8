// A picture of a comparison: drawn on a canvas with the colours that the page shows, so that it needs nothing but the page.

import { make, download } from "../shared/dom.js";

const SCALE = 2; // pixels of the picture for one of the page
const MAX_HEIGHT = 16000; // pixels that every browser can draw
const MARGIN = 24;
const GAP = 16;
const COLUMN = 440; // width of a column
const PROMPT_LINES = 12;
const TEXT = "14px system-ui, sans-serif";
const BOLD = "600 14px system-ui, sans-serif";
const TITLE = "600 20px system-ui, sans-serif";
const SMALL = "12px system-ui, sans-serif";
const MONO = "13px ui-monospace, monospace";
const MONO_BOLD = "700 13px ui-monospace, monospace";
const LINE = 21; // height of a line

/** Lays out text, and draws it once the height is known. */
class Layout {
  /** @param {(name: string) => string} colour by the name of a variable of the page's styles */
  constructor(colour) {
    this.colour = colour;
    this.measure = /** @type {CanvasRenderingContext2D} */ (make("canvas").getContext("2d"));
    /** @type {((to: CanvasRenderingContext2D) => void)[]} */
    this.steps = [];
  }

  /**
   * @param {string} text
   * @param {string} font
   */
  width(text, font) {
    this.measure.font = font;
    return this.measure.measureText(text).width;
  }

  /**
   * @param {string} text
   * @param {number} x
   * @param {number} y the top of its line
   * @param {string} font
   * @param {string} colour
   */
  text(text, x, y, font, colour) {
    this.steps.push((to) => {
      to.font = font;
      to.fillStyle = colour;
      to.fillText(text, x, y + LINE / 2);
    });
    return x + this.width(text, font);
  }

  /**
   * @param {number} x
   * @param {number} y
   * @param {number} width
   * @param {number} height
   * @param {string} colour
   */
  box(x, y, width, height, colour) {
    this.steps.push((to) => {
      to.fillStyle = colour;
      to.fillRect(x, y, width, height);
    });
  }

  /**
   * Add a text in lines that are not wider than `width`.
   * @param {string} text
   * @param {{ x: number, y: number, width: number, font?: string, colour?: string, lines?: number }} place
   * @returns {number} the y below it
   */
  paragraph(text, { x, y, width, font = TEXT, colour = this.colour("--compare-ink"), lines = Infinity }) {
    const found = wrapped(text, (part) => this.width(part, font) <= width);
    const shown = found.slice(0, lines);
    if (shown.length < found.length) shown[shown.length - 1] = `${shown[shown.length - 1].slice(0, -1)}…`;
    for (const [at, line] of shown.entries()) this.text(line, x, y + at * LINE, font, colour);
    return y + shown.length * LINE;
  }

  /**
   * @param {string} letter
   * @param {number} x
   * @param {number} y
   * @returns {number} the x after it
   */
  badge(letter, x, y) {
    this.box(x, y + 1, 20, 19, this.colour(`--column-${letter.toLowerCase()}`));
    this.text(letter, x + (20 - this.width(letter, BOLD)) / 2, y, BOLD, this.colour("--column-ink"));
    return x + 26;
  }

  /**
   * @param {number} width
   * @param {number} height
   * @returns {HTMLCanvasElement}
   */
  draw(width, height) {
    const canvas = make("canvas", { width: width * SCALE, height: Math.ceil(height * SCALE) });
    const to = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    to.scale(SCALE, SCALE);
    to.textBaseline = "middle";
    to.fillStyle = this.colour("--compare-paper");
    to.fillRect(0, 0, width, height);
    for (const step of this.steps) step(to);
    return canvas;
  }
}

/**
 * Break a text into lines between words, or within a word that does not fit.
 * @param {string} text
 * @param {(part: string) => boolean} fits
 * @returns {string[]}
 */
function wrapped(text, fits) {
  return text.split("\n").flatMap((paragraph) => {
    const lines = [""];
    for (const word of paragraph.match(/\s*\S+|\s+$/gu) ?? []) {
      const last = lines.length - 1;
      if (fits(lines[last] + word)) lines[last] += word;
      else {
        if (lines[last]) lines.push("");
        for (const letter of word.trimStart()) {
          if (!fits(lines[lines.length - 1] + letter)) lines.push("");
          lines[lines.length - 1] += letter;
        }
      }
    }
    return lines;
  });
}

/**
 * Add the tokens of a column as the page shows them: colours, bold, lines below, and folded parts.
 * @param {Layout} layout
 * @param {Page.PicturedComparison["columns"][number]} column
 * @param {{ x: number, y: number, width: number }} place
 * @returns {number} the y below them
 */
function drawTokens(layout, column, { x: left, y: top, width }) {
  const [ink, muted] = [layout.colour("--compare-ink"), layout.colour("--compare-muted")];
  let [x, y] = [left, top];
  const breakLine = () => ([x, y] = [left, y + LINE]);
  for (const [at, cell] of column.cells.all.entries()) {
    if (cell.hidden) continue;
    if (cell.dataset.folded) {
      if (x > left) breakLine();
      layout.text(cell.dataset.folded, left, y, SMALL, muted);
      breakLine();
      continue;
    }
    const style = getComputedStyle(cell);
    const font = Number(style.fontWeight) >= 600 ? MONO_BOLD : MONO;
    for (const piece of column.records[at].t.match(/\n|[^\n]+/gu) ?? []) {
      const shown = piece === "\n" ? "↵" : readable(piece);
      for (const part of parts(layout, shown, font, left + width - x, width)) {
        if (x > left && x + layout.width(part, font) > left + width) breakLine();
        const size = layout.width(part, font);
        layout.box(x, y + 1, size, LINE - 2, style.backgroundColor);
        if (style.textDecorationLine.includes("underline")) underline(layout, x, y + LINE - 3, size, style.textDecorationStyle, ink);
        x = layout.text(part, x, y, font, piece === "\n" ? muted : ink);
      }
      if (piece === "\n") breakLine();
    }
  }
  return x > left ? y + LINE : y;
}

/**
 * Cut a token that is wider than a line.
 * @param {Layout} layout
 * @param {string} text
 * @param {string} font
 * @param {number} room what is left of this line
 * @param {number} width of a whole line
 * @returns {string[]}
 */
function parts(layout, text, font, room, width) {
  if (layout.width(text, font) <= Math.max(room, width)) return [text];
  return wrapped(text.replaceAll(" ", "\u00a0"), (part) => layout.width(part, font) <= width);
}

/**
 * Return a text with marks instead of tabs and of characters that no font draws.
 * @param {string} text
 */
const readable = (text) => text.replaceAll("\t", "⇥   ").replace(/\p{Cc}/gu, (one) => (one < " " ? String.fromCharCode(0x2400 + one.charCodeAt(0)) : "\ufffd"));

/** @type {Record<string, number[]>} */
const DASHES = { dotted: [2, 2], dashed: [5, 3], solid: [], double: [], wavy: [] };

/**
 * @param {Layout} layout
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {string} style of the line in the page
 * @param {string} colour
 */
function underline(layout, x, y, width, style, colour) {
  layout.steps.push((to) => {
    to.strokeStyle = colour;
    to.lineWidth = style === "double" ? 1 : 1.5;
    to.setLineDash(DASHES[style] ?? []);
    for (const at of style === "double" ? [y - 1, y + 1.5] : [y]) {
      to.beginPath();
      to.moveTo(x, at);
      if (style === "wavy") for (let step = 2; step < width; step += 2) to.lineTo(x + step, at + (step % 4 ? -1.5 : 1.5));
      to.lineTo(x + width, at);
      to.stroke();
    }
    to.setLineDash([]);
  });
}

/**
 * Add the legend as the page shows it.
 * @param {Layout} layout
 * @param {Page.PicturedComparison} comparison
 * @param {{ x: number, y: number }} place
 * @returns {number} the y below it
 */
function drawLegend(layout, { legend, mode, viewChoice, whatIf }, { x: left, y }) {
  const muted = layout.colour("--compare-muted");
  const chosen = [mode, viewChoice].map(({ field }) => field.selectedOptions[0].text.toLowerCase());
  const settings = whatIf.value;
  if (settings) chosen[1] = `what if: temperature ${settings.temperature}, top-k ${settings.top_k || "off"}, top-p ${settings.top_p}, min-p ${settings.min_p}`;
  let x = layout.text(`Colours: ${chosen[0]}, ${chosen[1]}.  `, left, y, SMALL, muted);
  for (const node of legend.childNodes) {
    if (!(node instanceof HTMLElement)) x = layout.text(node.textContent ?? "", x, y, SMALL, muted);
    else if (node.matches(".pl-letter")) x = layout.badge(node.textContent ?? "", x, y);
    else if (node.matches(".pl-apart")) x = layout.text(node.textContent ?? "", x, y, "700 12px system-ui, sans-serif", muted);
    else {
      for (const swatch of node.children) {
        const style = getComputedStyle(swatch);
        layout.box(x, y + 2, 16, 17, style.backgroundColor);
        if (style.textDecorationLine.includes("underline")) underline(layout, x, y + 16, 16, style.textDecorationStyle, muted);
        x += 16;
      }
      x += 6;
    }
  }
  return y + LINE;
}

/**
 * Draw a comparison that has ended. Throws an Error if it is too long.
 * @param {Page.PicturedComparison} comparison
 * @returns {HTMLCanvasElement}
 */
function draw(comparison) {
  const { columns, value, element } = comparison;
  const styles = getComputedStyle(element);
  const layout = new Layout((name) => styles.getPropertyValue(name).trim());
  const muted = layout.colour("--compare-muted");
  const inner = Math.max(2, columns.length) * (COLUMN + GAP) - GAP;
  /** @param {number} y */
  const whole = (y) => ({ x: MARGIN, y, width: inner });
  let y = layout.paragraph("Comparison", { ...whole(MARGIN), font: TITLE }) + 6;
  y = layout.paragraph(value?.form?.prompt ?? "", { ...whole(y), colour: muted, lines: PROMPT_LINES }) + 8;
  for (const sentence of value?.summary?.sentences ?? []) y = layout.paragraph(sentence, whole(y)) + 2;
  y = drawLegend(layout, comparison, whole(y + 8)) + 8;
  const ends = columns.map((column, at) => {
    const about = value?.columns[at];
    const place = { x: MARGIN + at * (COLUMN + GAP), width: COLUMN };
    layout.box(place.x, y, COLUMN, 4, layout.colour(`--column-${column.letter.toLowerCase()}`));
    const after = layout.badge(column.letter, place.x, y + 10);
    let below = layout.paragraph(about?.model ?? "", { x: after, y: y + 10, width: COLUMN - 26, font: BOLD });
    below = layout.paragraph(about?.about ?? "", { ...place, y: below + 2, font: SMALL, colour: muted, lines: 4 });
    below = drawTokens(layout, column, { ...place, y: below + 6 });
    return layout.paragraph(about?.note ?? "", { ...place, y: below + 4, font: SMALL, colour: muted });
  });
  const height = Math.max(y, ...ends) + MARGIN;
  if (height * SCALE > MAX_HEIGHT) throw new Error("This comparison is too long for a picture: fold its equal parts, or download the HTML page.");
  return layout.draw(inner + 2 * MARGIN, height);
}

/**
 * Have the browser save a comparison as a picture, in the theme of the page.
 * @param {Page.PicturedComparison} comparison
 */
export async function save(comparison) {
  const canvas = draw(comparison);
  const content = await new Promise((/** @type {(found: Blob | null) => void} */ done) => canvas.toBlob(done, "image/png"));
  if (content === null) throw new Error("The browser could not draw the picture: download the HTML page instead.");
  download("comparison.png", content, "image/png");
}
