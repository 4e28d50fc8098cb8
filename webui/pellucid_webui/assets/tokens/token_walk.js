// Walking through the tokens of a text by keys: from one to the next, from line to line, and to the ends.

export class TokenWalk {
  /** @param {Page.WalkedTokens} tokens */
  constructor(tokens) {
    this.tokens = tokens;
    /** @type {number | null} */
    this.last = null; // the token that up or down led to: from there they keep to the column
    this.column = 0; // pixels from the window's left edge
  }

  /**
   * Return the token to which a key moves: null at the end of the text, undefined for a key that moves to no token.
   * @param {string} key
   * @param {number | null} from null is before the first token, or after the last one
   * @returns {number | null | undefined}
   */
  goal(key, from) {
    const { tokens } = this;
    if (key === "ArrowUp" || key === "ArrowDown") return this.inNextLine(from, key === "ArrowUp" ? -1 : 1);
    /** @type {Record<string, () => number | null>} */
    const goals = {
      ArrowLeft: () => tokens.next(from, -1),
      ArrowRight: () => tokens.next(from, 1),
      Home: () => tokens.next(null, 1),
      End: () => tokens.next(null, -1),
    };
    if (!(key in goals)) return undefined;
    this.last = null;
    return goals[key]();
  }

  /**
   * Return the token nearest to the column in the line above or below; null if there is none.
   * @param {number | null} from
   * @param {number} direction -1 for above, 1 for below
   * @returns {number | null}
   */
  inNextLine(from, direction) {
    const { tokens } = this;
    if (from === null) return tokens.next(null, direction);
    const here = tokens.place(from);
    if (here === null) return null;
    if (from !== this.last) this.column = (here.left + here.right) / 2;
    let line = null;
    let [found, least] = [/** @type {number | null} */ (null), Infinity];
    for (let at = tokens.next(from, direction); at !== null; at = tokens.next(at, direction)) {
      const place = tokens.place(at);
      if (place === null) continue;
      const isFarther = direction * (place.top - (line ?? here.top)) > here.height / 2;
      if (line === null && !isFarther) continue;
      if (line === null) line = place.top;
      else if (isFarther) break;
      const distance = Math.abs((place.left + place.right) / 2 - this.column);
      if (distance < least) [found, least] = [at, distance];
    }
    this.last = found ?? from;
    return found;
  }
}
