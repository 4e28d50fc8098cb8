// Where each version of a conversation is in the picture of its tree: one row each, from the first message down.

const LEAST_FOLDED = 4; // messages without other versions that one row replaces

/**
 * Return the rows of the picture. Below a version come its next messages: the side branches first, each in the next lane, and last the
 * one that is straight: that of the shown path, else the one that was selected last. So lines never cross, the shown path is one
 * straight line, and a lane is needed only for a branch within a branch.
 * @param {Page.VersionNode[]} nodes in the order in which they were made
 * @param {number[]} shown the versions of the shown path
 * @param {Set<number>} [unfolded] the first versions of folds that are open
 * @returns {Page.VersionRow[]}
 */
export function versionLayout(nodes, shown, unfolded = new Set()) {
  const parents = new Map(nodes.map((one) => [one.node, one.parent]));
  const chosen = new Map(nodes.map((one) => [one.node, one.chosen]));
  /** @type {Map<number | null, number[]>} */
  const below = new Map();
  for (const { node, parent } of nodes) (below.get(parent) ?? below.set(parent, []).get(parent))?.push(node);
  const onPath = new Set(shown);
  const opened = new Set(); // all versions of the open folds
  /** @type {Page.VersionRow[]} */
  const rows = [];
  /** @type {Page.VersionRow[]} */
  const waiting = rowsBelow(null, { parent: -1, lane: 0, level: 1 }); // a stack, as a conversation may be too deep for recursion
  for (let row = waiting.pop(); row; row = waiting.pop()) {
    const run = opened.has(row.node) ? [] : plainRun(row.node);
    if (unfolded.has(row.node)) run.forEach((one) => opened.add(one));
    else if (run.length >= LEAST_FOLDED) Object.assign(row, { nodes: run, isFold: true });
    rows.push(row);
    waiting.push(...rowsBelow(row.nodes[row.nodes.length - 1], { parent: rows.length - 1, lane: row.lane, level: row.level + row.nodes.length }));
  }
  return rows;

  /**
   * Return the rows of the versions below a version, the last one first.
   * @param {number | null} node
   * @param {Pick<Page.VersionRow, "parent" | "lane" | "level">} straight the place of the straight one
   * @returns {Page.VersionRow[]}
   */
  function rowsBelow(node, { parent, lane, level }) {
    const versions = below.get(node) ?? [];
    const wanted = node === null ? null : chosen.get(node);
    const straight = versions.find((one) => onPath.has(one)) ?? versions.find((one) => one === wanted) ?? versions.at(-1);
    const ordered = [...versions.filter((one) => one !== straight), ...versions.filter((one) => one === straight)];
    const found = ordered.map((one, index) => ({
      node: one,
      nodes: [one],
      isFold: false,
      parent,
      lane: one === straight ? lane : lane + 1,
      level,
      place: index + 1,
      count: ordered.length,
      version: versions.indexOf(one) + 1,
    }));
    return found.reverse();
  }

  /**
   * Return the messages from a version on that can be folded together.
   * @param {number} node
   * @returns {number[]}
   */
  function plainRun(node) {
    const found = [];
    for (let at = node; isPlain(at); [at] = /** @type {number[]} */ (below.get(at))) found.push(at);
    return found;
  }

  /**
   * Return whether a message is the only version between only versions. So what begins or ends a branch is never folded.
   * @param {number} node
   * @returns {boolean}
   */
  function isPlain(node) {
    const parent = parents.get(node) ?? null;
    return parent !== null && isOnly(node) && isOnly(parent) && below.get(node)?.length === 1;
  }

  /** @param {number} node */
  function isOnly(node) {
    return below.get(parents.get(node) ?? null)?.length === 1;
  }
}
