// The histograms of a reading as SVG in the page's colours, with their numbers as a table.

import { make, makeSvg, button, download } from "../shared/dom.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 320;
const HEIGHT = 150;
const BOTTOM = 34; // room for the labels
const LEFT = 44;
const RIGHT = 16; // for the half of the last label
const TOP = 10;
const MOST_LABELS = 6;

/**
 * Return a figure with a histogram, its numbers, and a button that saves it as a picture.
 * @param {Page.Chart} data
 * @returns {HTMLElement}
 */
export function chart(data) {
  const picture = draw(data);
  const rows = data.labels.map((label, at) => make("tr", {}, make("th", { scope: "row" }, label), make("td", {}, String(data.counts[at]))));
  const head = make("thead", {}, make("tr", {}, make("th", { scope: "col" }, data.axis), make("th", { scope: "col" }, "tokens")));
  return make(
    "figure",
    { class: "pl-chart" },
    make("figcaption", {}, make("span", {}, data.name), button("Download chart", { "aria-label": `Download chart: ${data.name}`, onclick: () => save(picture, data.name) }, "Save as SVG")),
    picture,
    data.note ? make("p", { class: "pl-chart-note" }, data.note) : null,
    make("details", {}, make("summary", {}, `${data.name} in numbers`), make("table", { class: "pl-table" }, head, make("tbody", {}, ...rows))),
  );
}

/**
 * @param {Page.Chart} data
 * @returns {SVGSVGElement}
 */
function draw({ name, axis, labels, counts }) {
  const all = counts.reduce((sum, count) => sum + count, 0);
  const most = Math.max(...counts, 1);
  const step = (WIDTH - LEFT - RIGHT) / Math.max(labels.length, 1);
  const height = HEIGHT - BOTTOM - TOP;
  const every = Math.ceil(labels.length / MOST_LABELS);
  const parts = counts.flatMap((count, at) => {
    const tall = (count / most) * height;
    const x = LEFT + at * step;
    const bar = makeSvg("rect", { class: "pl-chart-bar", x: x + step * 0.06, y: TOP + height - tall, width: step * 0.88, height: tall });
    bar.append(text("title", {}, `${labels[at]}: ${count} of ${all} tokens`));
    return at % every ? [bar] : [bar, text("text", { x: x + step / 2, y: HEIGHT - 20, "text-anchor": "middle" }, labels[at])];
  });
  const line = makeSvg("path", { class: "pl-chart-line", d: `M${LEFT} ${TOP + height}H${WIDTH - RIGHT}` });
  return makeSvg(
    "svg",
    { xmlns: SVG, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, role: "img", "aria-label": `Histogram: ${name} of ${all} tokens`, class: "pl-chart-picture" },
    text("text", { x: LEFT - 5, y: TOP + 9, "text-anchor": "end" }, String(most)),
    text("text", { x: LEFT - 5, y: TOP + height, "text-anchor": "end" }, "0"),
    ...parts,
    line,
    text("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, axis),
  );
}

/**
 * Have the browser save a picture that needs no style sheet.
 * @param {SVGSVGElement} picture
 * @param {string} name
 */
function save(picture, name) {
  const copy = /** @type {SVGSVGElement} */ (picture.cloneNode(true));
  const originals = picture.querySelectorAll("rect, text, path");
  copy.querySelectorAll("rect, text, path").forEach((part, at) => {
    const { fill, stroke, fontSize, fontFamily } = getComputedStyle(originals[at]);
    for (const [key, value] of Object.entries({ fill, stroke, "font-size": fontSize, "font-family": fontFamily })) part.setAttribute(key, value);
  });
  download(`${name.toLowerCase()}.svg`, new XMLSerializer().serializeToString(copy), "image/svg+xml");
}

/**
 * @param {"text" | "title"} name
 * @param {Record<string, string | number>} attributes
 * @param {string} content
 * @returns {SVGElement}
 */
function text(name, attributes, content) {
  const element = makeSvg(name, attributes);
  element.textContent = content;
  return element;
}
