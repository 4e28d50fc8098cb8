/** Types of the page's frame: its theme, header, drawers, dialogs and empty chat. */

declare namespace Page {
  type Theme = "light" | "dark" | "system";

  type DrawerName = "side" | "settings";

  /** The keys of a part of the page: names of keys, separated by ", " or "+", and what they do. */
  interface KeyGroup {
    title: string;
    keys: [keys: string, words: string][];
  }

  interface Command {
    title: string;
    /** Shown at the end of its line. */
    hint?: string;
    run: () => void;
  }

  interface HeaderValue {
    owner: string;
    /** Name of the chosen model, which may be missing from the models. */
    model: string;
    /** The reason why models cannot be listed. */
    problem: string;
    menu: MenuUpdate;
    models: ModelFacts[];
  }

  /** A model on the server's machine. */
  interface ModelLoad {
    name: string;
    state: "loaded" | "loading" | "unloading" | "unloaded";
    /** The step of the loading, and the finished share of the step. */
    activity: string | null;
    percent: number | null;
  }

  /** The table of `pellucid models list`; the first column has the names. */
  interface ModelTable {
    /** Of the models on the server's machine, and of the others. */
    titles: [string, string];
    columns: string[];
    rows: string[][];
    notes: string[];
  }

  interface ModelFacts {
    name: string;
    /** Most tokens of a conversation. */
    context: number;
    /** Size of the weights. */
    bytes: number;
    /** How it is computed, and on what. */
    description: string;
    /** The model of an adapter. */
    base: string | null;
    /** Whether it sees the pictures of messages. */
    images: boolean;
  }

  /** How much of a model's context a conversation takes, and how fast its last answer was. */
  interface ContextUse {
    model: string;
    tokens: number;
    /** Tokens per second. */
    rate: number | null;
  }
}
