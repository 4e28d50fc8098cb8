// The settings of a turn, as the controls show them.

import { choicesOf, formControls } from "../shared/form_controls.js";

/** The names of the controls, in their order. */
export const NAMES = ["model", "system", "temperature", "top_p", "min_p", "top_k", "seed", "max_tokens", "answer_format", "schema", "tools", "tool_choice", "reasoning"];

const controls = formControls("chat");

/** The values of the controls by name, once they are known. */
export async function chatSettings() {
  await controls.ready;
  return Object.fromEntries(NAMES.map((name, at) => [name, controls.values[at] ?? null]));
}

export class ChatSettings {
  /** @param {() => void} onEdit after a change by the user */
  constructor(onEdit) {
    this.onEdit = onEdit;
    this.edits = 0; // changes by the user
    controls.onChange = (_values, _before, byUser) => byUser && this.edited();
  }

  edited() {
    this.edits += 1;
    this.onEdit();
  }

  /**
   * Choose a model.
   * @param {string} model
   */
  async choose(model) {
    await controls.give([model]);
    this.edited();
  }

  /** The name of the chosen model; empty until it is known. */
  get model() {
    return controls.values[0] ?? "";
  }

  /**
   * Show settings of a conversation, and the models.
   * @param {Record<string, any> | null} record null keeps the settings
   * @param {Page.MenuUpdate} menu
   */
  show(record, menu) {
    const rest = NAMES.slice(1).map((name) => (record === null ? undefined : name === "seed" ? String(record.seed ?? "") : record[name]));
    controls.give([choicesOf(menu), ...rest]);
  }
}
