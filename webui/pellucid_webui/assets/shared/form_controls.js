// Gradio's form controls, by the name of their group.

const NO_CHANGE = { __type__: "update" };

/** The controls of a group, in the order of `connect_controls`. */
class FormControls {
  /** @param {string} name */
  constructor(name) {
    this.name = name;
    /** @type {any[]} */
    this.values = [];
    /** @type {any[]} */
    this.given = []; // what the controls are to show, once Gradio takes it
    /** @type {(values: any[], before: any[], byUser: boolean) => void} */
    this.onChange = () => {};
    this.resolveReady = () => {};
    /** @type {Promise<void>} */
    this.ready = new Promise((resolve) => (this.resolveReady = () => resolve(undefined))); // once the values are known
  }

  /**
   * Take the values that the controls show.
   * @param {any[]} values
   * @param {boolean} byUser
   */
  hear(values, byUser) {
    const before = this.values;
    this.values = values;
    this.resolveReady();
    this.onChange(values, before, byUser);
  }

  /**
   * Have the controls show other values. A value may be an update from `choicesOf`; undefined changes nothing.
   * @param {any[]} values
   */
  async give(values) {
    await this.ready;
    const giver = await appeared(`pl-give-${this.name}`);
    this.given = this.values.map((_, at) => overlaid(this.given[at], values[at]));
    this.values = this.values.map((value, at) => (values[at] === undefined ? value : values[at]?.__type__ ? values[at].value : values[at]));
    giver.click();
  }

  /** What the controls are to show. Gradio takes the values some time after a click, perhaps of two clicks at once. */
  take() {
    const given = this.given;
    this.given = [];
    return this.values.map((_, at) => given[at] ?? NO_CHANGE);
  }
}

/**
 * @param {any} before what a control is to show already, if anything
 * @param {any} value
 */
const overlaid = (before, value) => (value === undefined ? before : before?.choices && !value?.__type__ ? { ...before, value } : value);

/**
 * @param {string} id
 * @returns {Promise<HTMLElement>} the element, once Gradio has added it, which may be after it reports the values
 */
function appeared(id) {
  return new Promise((resolve) => {
    const observer = new MutationObserver(look);
    observer.observe(document.documentElement, { childList: true, subtree: true });
    look();
    function look() {
      const found = document.getElementById(id);
      if (!found) return;
      observer.disconnect();
      resolve(found);
    }
  });
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
export const choicesOf = (menu) => ({ __type__: "update", ...menu });
