// Several versions that continue from one alternative, generated one after the other.

/** `versions` is how many versions there were, and `refusals` how often the server had refused something, when the last sample was started. */
/** @typedef {{ branch: Page.BranchRequest, left: number, versions: number, refusals: number }} PendingSamples */

export class MoreSamples {
  /** @param {(branch: Page.BranchRequest) => void} onStart generates a version */
  constructor(onStart) {
    this.onStart = onStart;
    /** @type {PendingSamples | null} */
    this.pending = null;
  }

  /**
   * Start the first sample.
   * @param {Page.BranchRequest} branch
   * @param {number} count of samples
   * @param {number} versions
   * @param {number} refusals
   */
  begin(branch, count, versions, refusals) {
    this.pending = { branch, left: count - 1, versions, refusals };
    this.onStart(branch);
  }

  /**
   * Start the next sample once the last one is complete. A sample that was stopped, failed or refused ends them.
   * @param {Page.ChatValue} value
   * @param {Page.Message[]} messages
   * @param {number} refusals
   */
  update({ live }, messages, refusals) {
    const { pending } = this;
    if (!pending || live) return;
    const data = messages.find((message) => message.data.versions.includes(pending.branch.node))?.data;
    if (!data || refusals !== pending.refusals) this.pending = null;
    else if (data.versions.length > pending.versions) {
      const isWhole = data.end !== "cancelled" && data.end !== "error";
      this.pending = isWhole && pending.left > 0 ? { ...pending, left: pending.left - 1, versions: data.versions.length } : null;
      if (this.pending) this.onStart(pending.branch);
    }
  }
}
