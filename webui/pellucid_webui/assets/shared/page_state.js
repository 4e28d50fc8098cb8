// What the parts of the page share: the chat, the list of conversations, the header, the loaded models, and the conversation that is open.

/** @typedef {"chat" | "conversations" | "header" | "loads" | "opened"} PartName `opened` is the id of the conversation that was chosen last */

/** @type {Map<PartName, any>} */
const values = new Map();
/** @type {Map<PartName, ((value: any) => void)[]>} */
const listeners = new Map();
/** @type {Map<PartName, (data: any) => void>} */
const actions = new Map();

/**
 * Share a new value of a part.
 * @param {PartName} name
 * @param {any} value
 */
export function publish(name, value) {
  values.set(name, value);
  for (const listener of listeners.get(name) ?? []) listener(value);
}

/**
 * Call back with a part's value now, if there is a value, and after each change.
 * @param {PartName} name
 * @param {(value: any) => void} callback
 */
export function follow(name, callback) {
  listeners.set(name, [...(listeners.get(name) ?? []), callback]);
  if (values.has(name)) callback(values.get(name));
}

/**
 * Let other parts use a part by `actOn`.
 * @param {PartName} name
 * @param {(data: any) => void} act
 */
export const provide = (name, act) => void actions.set(name, act);

/**
 * @param {PartName} name
 * @param {object} data
 */
export const actOn = (name, data) => actions.get(name)?.(data);
