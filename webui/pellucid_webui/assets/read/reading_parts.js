// Asks the server for the tokens of a reading, a part at a time: the page holds what it draws, and alternatives where they are shown.

import { call } from "../shared/wire.js";

export class PartLoader {
  /**
   * @param {string} tab
   * @param {(kind: Page.ReadPartKind, start: number, data: any) => void} onPart
   */
  constructor(tab, onPart) {
    this.tab = tab;
    this.onPart = onPart;
    this.number = 0; // of the reading
    /** @type {{ kind: Page.ReadPartKind, start: number }[]} */
    this.waiting = []; // the first one has been sent
    this.isAsking = false;
  }

  /**
   * Forget the questions about an earlier reading.
   * @param {number} number of the reading that is asked about from now on
   */
  reset(number) {
    this.number = number;
    this.waiting = [];
  }

  /**
   * Ask for a part, once.
   * @param {Page.ReadPartKind} kind
   * @param {number} start
   */
  ask(kind, start) {
    if (this.waiting.some((one) => one.kind === kind && one.start === start)) return;
    this.waiting.push({ kind, start });
    if (!this.isAsking) this.askAll();
  }

  async askAll() {
    this.isAsking = true;
    while (this.waiting.length) {
      const { number } = this;
      const [{ kind, start }] = this.waiting;
      const onEvent = (/** @type {{ data: string }} */ { data }) => number === this.number && this.onPart(kind, start, JSON.parse(data));
      const isAnswered = await call("read", { tab: this.tab, verb: "part", number, kind, start }, onEvent);
      if (number !== this.number) continue;
      if (isAnswered) this.waiting.shift();
      else this.waiting = []; // the page asks again when it is scrolled, and when the server is back
    }
    this.isAsking = false;
  }
}
