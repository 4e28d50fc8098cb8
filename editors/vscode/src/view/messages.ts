/** The messages between the extension and its token view. */

import type { Tokens } from "../tokenTypes";

export type ToView =
  { kind: "tokens"; tokens: Tokens; insertable: boolean; selected: number } | { kind: "focus" } | { kind: "problem"; sentence: string };

export type FromView =
  { kind: "ready" } | { kind: "branch"; token: number; alternative: number } | { kind: "insert" } | { kind: "explain" } | { kind: "leave" };
