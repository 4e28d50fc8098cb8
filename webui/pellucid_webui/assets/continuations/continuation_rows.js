// The rows of a tree of continuations, and the tree of several versions that begin alike: a fan.

import { make } from "../shared/dom.js";
import * as colours from "../tokens/colours.js";
import * as visible from "../tokens/token_text.js";

const MAX_PIECES = 120; // tokens of a branch of a fan that are shown

/** @type {Record<string, string>} */
const ENDS = { end: "end of the answer", limit: "…", unread: "…", split: "…", half: "half a character", cut: "…" };
/** @type {Record<string, string>} */
const REMARKS = { unread: "not followed further", split: "splits up below the threshold", half: "cannot be followed" };

/**
 * Return the rows of a tree in the order in which they are shown.
 * @param {Page.ContinuationNode[]} nodes
 * @param {Page.ContinuationRow | null} [above]
 * @returns {Page.ContinuationRow[]}
 */
export function rowsOf(nodes, above = null) {
  return nodes.flatMap((node) => {
    const text = (above?.text ?? "") + node.pieces.map(([piece]) => piece).join("");
    const row = { node, text, level: (above?.level ?? 1) + 1 };
    return [row, ...rowsOf(node.nodes, row)];
  });
}

/**
 * Join versions of an answer where they begin alike.
 * @param {Page.FanVersion[]} versions
 * @param {number} index of the first token to show
 * @returns {Page.ContinuationNode[]}
 */
export function fanOf(versions, index) {
  /**
   * @param {Page.FanVersion[]} group
   * @param {number} at
   * @returns {Page.ContinuationNode[]}
   */
  const fork = (group, at) => [...groupsAt(group, at).values()].map((alike) => branch(alike, at));
  /**
   * @param {Page.FanVersion[]} alike
   * @param {number} from
   * @returns {Page.ContinuationNode}
   */
  const branch = (alike, from) => {
    let at = from;
    const [{ records }] = alike;
    while (at < records.length && groupsAt(alike, at).size === 1) at += 1;
    const isFork = alike.length > 1 && groupsAt(alike, at).size > 1;
    const shown = records.slice(from, isFork ? at : Math.min(at, from + MAX_PIECES));
    return {
      pieces: shown.map((record) => [record.t, record.l === null ? null : colours.probabilityOf(record)]),
      mass: 0,
      joined: 0,
      reread: false,
      end: isFork ? "" : from + shown.length < records.length ? "cut" : "end",
      versions: alike.map(({ node, number }) => ({ node, number })),
      nodes: isFork ? fork(alike, at) : [],
    };
  };
  return fork(versions, index);
}

/**
 * @param {Page.FanVersion[]} versions
 * @param {number} at
 * @returns {Map<string, Page.FanVersion[]>} the versions by their token at a place; "" for those that have ended
 */
function groupsAt(versions, at) {
  /** @type {Map<string, Page.FanVersion[]>} */
  const found = new Map();
  for (const version of versions) {
    const record = version.records[at];
    const key = record ? JSON.stringify([record.t, record.b]) : "";
    found.set(key, [...(found.get(key) ?? []), version]);
  }
  return found;
}

/**
 * @param {Page.ContinuationNode} node
 * @returns {string[]}
 */
function remarksOf({ end, joined, reread, versions }) {
  const found = [];
  if (joined) found.push(`${visible.percent(joined)} % of it as other tokens`);
  if (reread) found.push("the model read this text as other tokens");
  if (!versions && REMARKS[end]) found.push(REMARKS[end]);
  return found;
}

/**
 * @param {Page.FanMember[]} versions at a node of a fan
 * @param {Page.ContinuationNode[]} nodes below
 * @param {number} total versions of the fan
 * @returns {string}
 */
function versionWords(versions, nodes, total) {
  if (nodes.length) return `${versions.length} of ${total}`;
  return `${versions.length === 1 ? "version" : "versions"} ${versions.map(({ number }) => number).join(", ")}`;
}

/**
 * @param {Page.ContinuationRow} row
 * @param {number} total versions of a fan
 * @returns {string}
 */
export function spokenRow({ node }, total) {
  const own = node.pieces.map(([piece]) => piece).join("");
  const said = own ? [visible.spoken(own.trim() || own, undefined)] : []; // each would begin with "space"
  const share = node.versions ? versionWords(node.versions, node.nodes, total) : `probability ${visible.spokenPercent(node.mass)}`;
  return [...said, ...(node.end === "end" ? [ENDS.end] : []), share, ...remarksOf(node)].join(", ");
}

/**
 * Create the element of a row.
 * @param {Page.ContinuationRow} row
 * @param {number} index
 * @param {number} total versions of a fan
 * @returns {HTMLElement}
 */
export function rowElement(row, index, total) {
  const { node, level } = row;
  const pieces = node.pieces.map(([text, probability]) => pieceElement(text, probability));
  const end = ENDS[node.end];
  const remarks = remarksOf(node);
  const item = make(
    "div",
    { role: "treeitem", class: "pl-tree-row pl-continuation", tabindex: "-1", "aria-level": level, "aria-expanded": node.nodes.length ? "true" : null, "aria-label": spokenRow(row, total), "data-row": index },
    make(
      "span",
      { class: "pl-continuation-text", dir: "auto" },
      ...pieces,
      end ? make("span", { class: "pl-continuation-end" }, end) : null,
      remarks.length ? make("span", { class: "pl-continuation-remarks" }, remarks.join("; ")) : null,
    ),
    make("span", { class: `pl-tree-measure${node.versions ? " pl-continuation-versions" : ""}` }, ...(node.versions ? [make("span", { class: "pl-number" }, versionWords(node.versions, node.nodes, total))] : measure(node.mass))),
  );
  item.style.setProperty("--level", String(level - 1));
  return item;
}

/**
 * @param {number} mass
 * @returns {HTMLElement[]}
 */
function measure(mass) {
  const fill = make("span", { class: `pl-tree-fill p${colours.step(1 - mass)}` });
  fill.style.setProperty("--share", `${100 * mass}%`);
  return [make("span", { class: "pl-number" }, `${visible.percent(mass)} %`), make("span", { class: "pl-tree-bar" }, fill)];
}

/**
 * @param {string} text
 * @param {number | null} probability
 * @returns {HTMLElement}
 */
function pieceElement(text, probability) {
  const fill = probability === null ? {} : { class: `p${colours.step(1 - probability)}`, title: `${visible.percent(probability)} % at its place` };
  return make("span", fill, ...visible.flowing(visible.piecesOf(text, undefined)));
}

/**
 * Return what a tree covers, in words.
 * @param {Page.ContinuationTree} tree
 * @param {number} threshold
 * @returns {string}
 */
export function coveredWords({ leaves, covered, rest, unlisted, isCut, isWhole }, threshold) {
  const least = visible.percent(threshold).replace(/\.?0+$/u, "");
  const sentences = [];
  if (!isWhole) sentences.push(`Reading… ${leaves} so far.`);
  else if (!leaves) sentences.push(`No continuation reaches ${least} %.`);
  else sentences.push(`${leaves === 1 ? "1 continuation covers" : `${leaves} continuations cover`} ${visible.percent(covered)} %; all others together have at most ${visible.percent(rest)} %.`);
  if (isWhole && unlisted >= threshold) sentences.push(`A token that the engine does not list may have up to ${visible.percent(unlisted)} %.`);
  if (isWhole && isCut) sentences.push("Not all were followed to their end: choose a higher threshold or a shorter length.");
  return sentences.join(" ");
}
