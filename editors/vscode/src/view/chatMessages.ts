/** The messages between the extension and the chat's view. */

/** A file, or lines of one, for the next message. */
export interface Attachment {
  readonly name: string;
  readonly text: string;
}

export type FromChat =
  /** A request of the page to the server, and its end before the answer. */
  | { kind: "fetch"; id: number; path: string; method: string; body?: string }
  | { kind: "abort"; id: number }
  /** What the page's scripts tell an editor: webui/pellucid_webui/assets/shared/types.d.ts. */
  | { kind: "ready" | "reload" | "openPage" }
  | { kind: "opened"; id: string | null }
  | { kind: "code"; verb: "insert" | "apply"; code: string }
  /** From what is there while the chat is not: that it listens, and its buttons. */
  | { kind: "waiting" | "restart" | "showLog" | "openSettings" };

export type ToChat =
  | { kind: "head"; id: number; status: number }
  | { kind: "part"; id: number; bytes: Uint8Array }
  | { kind: "end" | "failed"; id: number }
  | { kind: "attach"; files: readonly Attachment[] }
  | { kind: "state"; sentence: string; failed: boolean };
