/** The changes of an edit by instruction, as they are offered in a list. */

import type { Hunk } from "./protocol";

/** The most characters of a new line in the list. */
const MAX_SHOWN = 80;

/** `picked`: the change is marked before the user marks any. */
export interface HunkChoice {
  readonly label: string;
  readonly description: string;
  readonly detail: string;
  readonly picked: boolean;
  readonly hunk: Hunk;
}

export function choices(hunks: readonly Hunk[]): HunkChoice[] {
  return hunks.map((hunk) => {
    const breaks = hunk.breaksSyntax === true;
    return { label: linesOf(hunk), description: breaks ? "breaks the syntax" : "", detail: firstLine(hunk), picked: !breaks, hunk };
  });
}

function linesOf({ first, old }: Hunk): string {
  return old.length < 2 ? `Line ${first + 1}` : `Lines ${first + 1} to ${first + old.length}`;
}

function firstLine(hunk: Hunk): string {
  const first = hunk.new.find((line) => line.trim() !== "")?.trim() ?? "";
  const more = hunk.new.length > 1 || first.length > MAX_SHOWN ? " …" : "";
  return hunk.new.length === 0 ? "delete" : `${first.slice(0, MAX_SHOWN)}${more}`;
}
