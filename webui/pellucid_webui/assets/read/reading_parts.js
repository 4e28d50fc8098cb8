// Asks the server for the tokens of a reading, a part at a time: the page holds what it draws, and alternatives where they are shown.

const PATIENCE_MS = 10_000; // after which a question is asked again, such as after a lost connection

export class PartLoader {
  /** @param {(part: Page.ReadPart) => void} onPart */
  constructor(onPart) {
    this.onPart = onPart;
    /** @type {((data: object) => void) | null} */
    this.send = null;
    this.number = 0; // of the reading
    this.asked = 0; // the number of the last question
    /** @type {{ kind: string, start: number }[]} */
    this.waiting = []; // the first one has been sent
    this.timer = 0;
  }

  /** @param {Page.Component<Page.ReadPart | null>} component */
  connect({ props, watch, act }) {
    this.send = act;
    watch("value", () => this.take(props.value));
    if (this.waiting.length) this.next();
  }

  /**
   * Forget the questions about an earlier reading.
   * @param {number} number of the reading that is asked about from now on
   */
  reset(number) {
    this.number = number;
    this.waiting = [];
    clearTimeout(this.timer);
  }

  /**
   * Ask for a part, once.
   * @param {Page.ReadPart["kind"]} kind
   * @param {number} start
   */
  ask(kind, start) {
    if (this.waiting.some((one) => one.kind === kind && one.start === start)) return;
    this.waiting.push({ kind, start });
    if (this.waiting.length === 1) this.next();
  }

  next() {
    clearTimeout(this.timer);
    if (this.send === null || !this.waiting.length) return;
    this.asked += 1;
    this.send({ n: this.asked, number: this.number, ...this.waiting[0] });
    this.timer = setTimeout(() => this.next(), PATIENCE_MS);
  }

  /** @param {Page.ReadPart | null} part */
  take(part) {
    if (part === null || part.number !== this.number || part.n !== this.asked) return;
    this.waiting.shift();
    this.next();
    this.onPart(part);
  }
}
