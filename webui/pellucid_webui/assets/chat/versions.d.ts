/** Types of the tree of all versions of a conversation, and of comparisons that begin in a chat. */

declare namespace Page {
  /** A version of a message, as pellucid_webui/routes/version_tree.py describes it. */
  interface VersionNode {
    node: number;
    parent: number | null;
    role: string;
    words: string;
    made: "written" | "edited" | "answered" | "regenerated" | "branched" | "continued";
    /** The model and the temperature of an answer. */
    about: string;
    /** The version of the next message that was selected last. */
    chosen: number | null;
    live?: boolean;
    branch?: { at: number; token: BranchToken | null; replaced: BranchToken | null };
  }

  /** A token where a version was branched: its text, its probability, and its bytes where they are not those of the text. */
  interface BranchToken {
    t: string;
    p: number | null;
    b?: string;
  }

  /** A row of the picture: a version, or messages without other versions that are folded. */
  interface VersionRow {
    /** The version, or the first one of those that are folded. */
    node: number;
    /** All versions that the row stands for. */
    nodes: number[];
    isFold: boolean;
    /** The index of the row above it in the tree; -1 for a first message. */
    parent: number;
    /** Lines to the right of the straight one: 0 for the path that is straight. */
    lane: number;
    /** Depth in the tree, from 1. */
    level: number;
    /** Place among the rows of the same parent, from 1, and their number. */
    place: number;
    count: number;
    /** The number of the version among those of its message, from 1, in the order in which they were made. */
    version: number;
  }

  /** A column of a comparison that begins in a chat: an answer as it is stored, or other settings for the same messages. */
  type ChatColumn = { answer: number; pictures?: false } | { model: string; temperature: number };

  interface ChatComparison {
    conversation: string;
    columns: ChatColumn[];
  }

  /** The chat whose messages the columns of a comparison answer; `node` is an answer to them. */
  interface CompareChat {
    conversation: string;
    title: string;
    node: number;
  }

  interface CompareFormValue {
    chat?: CompareChat;
  }

  interface CompareSettings {
    /** The stored answer of the chat that the column shows. */
    answer?: number | null;
    /** False where it is read without the pictures of the chat. */
    pictures?: boolean;
  }

  /** What a comparison that begins in a chat needs of the tab. */
  interface ChatComparer {
    fill(form: CompareFormValue): void;
    say(text: string, isWrong: boolean): void;
  }

  interface Chat {
    /** The versions that are shown, from the first message to the last. */
    readonly shown: number[];
    showVersions(node?: number): void;
    compare(columns: ChatColumn[]): void;
    goTo(node: number): void;
  }
}
