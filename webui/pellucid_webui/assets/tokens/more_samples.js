// Several versions that continue from one alternative, generated one after the other.

/** `versions` is how many versions there were when the last sample was started. */
/** @typedef {{ branch: Page.BranchRequest, left: number, versions: number }} PendingSamples */

export class MoreSamples {
  /** @param {(branch: Page.BranchRequest) => Promise<unknown>} onStart generates a version; null if the server refuses */
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
   */
  begin(branch, count, versions) {
    this.pending = { branch, left: count - 1, versions };
    this.start(branch);
  }

  /** @param {Page.BranchRequest} branch */
  async start(branch) {
    if ((await this.onStart(branch)) === null) this.pending = null;
  }

  /**
   * Start the next sample once the last one is complete. A sample that was stopped, failed or refused ends them.
   * @param {Page.ChatValue} value
   * @param {Page.Message[]} messages
   */
  update({ live }, messages) {
    const { pending } = this;
    if (!pending || live) return;
    const data = messages.find((message) => message.data.versions.includes(pending.branch.node))?.data;
    if (!data) this.pending = null;
    else if (data.versions.length > pending.versions) {
      const isWhole = data.end !== "cancelled" && data.end !== "error";
      this.pending = isWhole && pending.left > 0 ? { ...pending, left: pending.left - 1, versions: data.versions.length } : null;
      if (this.pending) this.start(pending.branch);
    }
  }
}
