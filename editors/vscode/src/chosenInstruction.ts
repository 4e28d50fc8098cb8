/** Decides which instruction is meant: what is typed, or an earlier one that is marked in the list below. */

/** The item of the list that was marked last, and what was typed then. */
export interface MarkedItem {
  readonly label: string;
  readonly value: string;
}

/** Returns the earlier instructions that have what is typed, and more. */
export function matching(earlier: readonly string[], typed: string): string[] {
  const wanted = typed.trim().toLowerCase();
  return earlier.filter((one) => one !== typed && one.toLowerCase().includes(wanted));
}

/**
 * Returns the instruction, or "" if there is none.
 *
 * The list follows the keys with a delay, and VS Code marks other items while it changes. Only an earlier instruction that
 * has what is typed is meant: a fast Enter would give the beginning of what is typed, or another instruction instead of it.
 */
export function chosenInstruction(typed: string, marked: MarkedItem, earlier: readonly string[]): string {
  const isMeant = marked.value === typed && matching(earlier, typed).includes(marked.label);
  return (isMeant ? marked.label : typed).trim();
}
