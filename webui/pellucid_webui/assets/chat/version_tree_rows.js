// The rows of the picture of all versions, and the lines and dots next to them.

import { make, makeSvg } from "../shared/dom.js";
import * as visible from "../tokens/token_text.js";

const LANE = 18; // pixels between two lanes, where there is room
const GUTTER_SHARE = 0.35; // of the width, which all lanes together may take
const EDGE = 12; // pixels left of the first lane and right of the last
const BEND = 9; // radius of a line to the next lane
const DOT = 5; // radius of a version
const FIRST_LINE = 1; // from the top of a row to the middle of its first line, in rem
const HEIGHTS = { version: 3.5, branch: 4.9, fold: 2.25 }; // of rows, in rem: the lines are drawn to them

/** @type {Record<string, string>} */
const ROLES = { user: "You", assistant: "Answer", system: "System" };

/**
 * Create a row.
 * @param {Page.VersionRow} row
 * @param {Page.VersionNode} data
 * @param {{ index: number, isShown: boolean, isSelected: boolean }} state
 * @returns {HTMLElement}
 */
export function versionRow(row, data, { index, isShown, isSelected }) {
  const common = {
    role: "treeitem",
    tabindex: "-1",
    "data-row": index,
    "aria-level": row.level,
    "aria-posinset": row.place,
    "aria-setsize": row.count,
    style: row.isFold ? `block-size: ${HEIGHTS.fold}rem` : `block-size: calc(${heightOf(row, data)}rem + var(--more-words))`,
  };
  const shown = isShown ? " pl-on-path" : "";
  if (row.isFold) {
    const words = `${row.nodes.length} messages without other versions`;
    return make("div", { ...common, class: `pl-version-row pl-version-fold${shown}`, "aria-expanded": "false", "aria-label": words }, make("span", { class: "pl-quiet" }, words));
  }
  const role = ROLES[data.role] ?? data.role;
  const canCompare = data.role === "assistant" && !data.live;
  const number = row.count > 1 ? `version ${row.version} of ${row.count}` : "";
  const spoken = [role, number, originOf(data), data.about, data.branch ? spokenBranch(data.branch) : "", isShown ? "shown" : ""];
  return make(
    "div",
    {
      ...common,
      class: `pl-version-row${shown}`,
      "aria-selected": canCompare ? String(isSelected) : null,
      "aria-current": isShown ? "true" : null,
      "aria-label": `${spoken.filter(Boolean).join(", ")}: ${data.words || "no text"}`,
    },
    make(
      "span",
      { class: "pl-version-head" },
      make("span", { class: "pl-version-role" }, role),
      make("span", { class: "pl-quiet pl-version-about" }, [originOf(data), data.about].filter(Boolean).join(" · ")),
      row.count > 1 ? make("span", { class: "pl-quiet" }, `${row.version} / ${row.count}`) : null,
      canCompare ? make("span", { class: "pl-version-box", title: "Choose for comparing (Space)" }) : null,
    ),
    data.branch ? branchElement(data.branch) : null,
    make("span", { class: "pl-version-words", dir: "auto" }, data.words || "(no text)"),
  );
}

/**
 * Draw the lines and the dots: a few elements, however many versions there are. Return the indent of each row in pixels.
 * @param {SVGSVGElement} picture
 * @param {Page.VersionRow[]} rows
 * @param {{ nodes: Map<number, Page.VersionNode>, onPath: Set<number>, width: number, rem: number, more: number }} options `more`: rem that the words take
 *   in a narrow window
 * @returns {number[]}
 */
export function drawVersionLines(picture, rows, { nodes, onPath, width, rem, more }) {
  const lanes = Math.max(0, ...rows.map((row) => row.lane));
  const pitch = lanes ? Math.min(LANE, (width * GUTTER_SHARE) / lanes) : LANE;
  const across = rows.map((row) => EDGE + row.lane * pitch);
  let height = 0;
  const down = rows.map((row) => {
    const size = (heightOf(row, nodes.get(row.node)) + (row.isFold ? 0 : more)) * rem;
    height += size;
    return row.isFold ? height - size / 2 : height - size + FIRST_LINE * rem;
  });
  /** @type {Record<string, string[]>} */
  const shapes = { line: [], path: [], dot: [], at: [], fold: [] };
  rows.forEach((row, index) => {
    const [x, y] = [across[index], down[index]];
    const isShown = onPath.has(row.node);
    const isFirst = row.parent < 0;
    if (!isFirst || row.count > 1) {
      const from = isFirst ? { x: EDGE, y: 0 } : { x: across[row.parent], y: down[row.parent] };
      shapes[isShown ? "path" : "line"].push(lineTo(from.x, from.y, x, y, Math.min(BEND, pitch)));
    }
    if (row.isFold) shapes.fold.push(...[-1, 0, 1].map((step) => circle(x, y + step * DOT, 1.5)));
    else shapes[isShown ? "at" : "dot"].push(circle(x, y, DOT));
  });
  picture.setAttribute("height", String(height));
  picture.setAttribute("width", String(lanes * pitch + 2 * EDGE));
  picture.replaceChildren(...Object.entries(shapes).map(([name, parts]) => makeSvg("path", { class: `pl-version-${name}`, d: parts.join("") })));
  return across.map((x) => x + EDGE);
}

/**
 * @param {Page.VersionRow} row
 * @param {Page.VersionNode | undefined} data
 */
const heightOf = (row, data) => (row.isFold ? HEIGHTS.fold : data?.branch ? HEIGHTS.branch : HEIGHTS.version);

/** @param {Page.VersionNode} data */
function originOf({ made, branch, live }) {
  if (live) return "being generated";
  return made === "written" || made === "answered" ? "" : branch ? `branched at token ${branch.at + 1}` : made;
}

/**
 * @param {number} x
 * @param {number} y
 * @param {number} radius
 */
const circle = (x, y, radius) => `M${x - radius} ${y}a${radius} ${radius} 0 1 0 ${2 * radius} 0a${radius} ${radius} 0 1 0 ${-2 * radius} 0z`;

/**
 * @param {number} x
 * @param {number} y
 * @param {number} toX
 * @param {number} toY
 * @param {number} bend
 * @returns {string} a line down, then to the right
 */
const lineTo = (x, y, toX, toY, bend) => (x === toX ? `M${x} ${y}V${toY}` : `M${x} ${y}V${toY - bend}Q${x} ${toY} ${x + bend} ${toY}H${toX}`);

/**
 * @param {NonNullable<Page.VersionNode["branch"]>} branch
 * @returns {HTMLElement} the token with which a branch begins, and the one that it replaced
 */
function branchElement({ token, replaced }) {
  return make("span", { class: "pl-version-branch" }, ...(token ? tokenElements(token, "pl-version-new") : []), ...(replaced ? [make("span", { class: "pl-quiet" }, "was"), ...tokenElements(replaced, "pl-version-old")] : []));
}

/**
 * @param {Page.BranchToken} token
 * @param {string} name of the class
 * @returns {HTMLElement[]}
 */
function tokenElements({ t, p, b }, name) {
  const text = make("code", { class: name, dir: "auto" }, ...visible.standing(visible.piecesOf(t, b)));
  if (p === null) return [text];
  return [text, make("span", { class: "pl-version-bar" }, make("i", { style: `inline-size: ${100 * p}%` })), make("span", { class: "pl-version-share" }, `${visible.percent(p)} %`)];
}

/** @param {NonNullable<Page.VersionNode["branch"]>} branch */
function spokenBranch({ token, replaced }) {
  /** @param {Page.BranchToken} one */
  const words = ({ t, p, b }) => `${visible.spoken(t, b)}${p === null ? "" : ` ${visible.spokenPercent(p)}`}`;
  return [token ? words(token) : "", replaced ? `was ${words(replaced)}` : ""].filter(Boolean).join(", ");
}
