// Gradio's form controls, by the name of their group.

/** Values of the controls of a group, in the order of `connect_controls`. */
class FormControls {
  /** @param {string} name */
  constructor(name) {
    this.name = name;
    /** @type {any[]} */
    this.values = [];
    /** @type {any[]} */
    this.given = []; // what the controls are to show
    /** @type {(values: any[], before: any[]) => void} */
    this.onChange = () => {};
  }

  /**
   * Take the values that the controls show.
   * @param {any[]} values
   */
  hear(values) {
    const before = this.values;
    this.values = values;
    this.onChange(values, before);
  }

  /**
   * Have the controls show other values. A value may be an update from `choicesOf`; undefined changes nothing.
   * @param {any[]} values
   */
  give(values) {
    this.given = values.map((value) => (value === undefined ? { __type__: "update" } : value));
    document.getElementById(`pl-give-${this.name}`)?.click();
  }
}

/** @type {Map<string, FormControls>} */
const groups = new Map();

/**
 * @param {string} name
 * @returns {FormControls}
 */
export function formControls(name) {
  const found = groups.get(name) ?? new FormControls(name);
  groups.set(name, found);
  return found;
}

/**
 * Return an update of a menu.
 * @param {Page.MenuUpdate} menu
 * @returns {object}
 */
export const choicesOf = ({ choices, value, info }) => ({ __type__: "update", choices, value, info });
