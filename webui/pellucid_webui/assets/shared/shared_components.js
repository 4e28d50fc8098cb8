// Gradio's components by name, so that the header and the command palette can follow and use the chat and the list.

/** @type {Map<string, Page.Component<any>>} */
const components = new Map();
/** @type {Map<string, ((value: any) => void)[]>} */
const listeners = new Map();

/** @type {Map<string, number>} */
const newestOrders = new Map(); // the order of the newest value of each component

/**
 * Return whether a newer value has come before: Gradio's script may draw the outputs of two calls in a different order from the one they were sent in.
 * @param {string} name
 * @param {any} value
 */
function isOutdated(name, value) {
  const order = Number(value?.order ?? 0);
  const newest = newestOrders.get(name) ?? 0;
  newestOrders.set(name, Math.max(newest, order));
  return Boolean(order) && order < newest && !value.stale;
}

/** @param {string} name */
const notify = (name) => {
  for (const listener of listeners.get(name) ?? []) listener(components.get(name)?.props.value);
};

/**
 * Share a component under a name, and return it for its own script, whose callbacks run first.
 * @template Value
 * @param {string} name
 * @param {Page.Component<Value>} component
 * @returns {Page.Component<Value>}
 */
export function shared(name, component) {
  components.set(name, component);
  queueMicrotask(() => notify(name)); // once its own script has drawn it
  return {
    ...component,
    watch: (property, callback) =>
      component.watch(property, () => {
        if (property === "value" && isOutdated(name, component.props.value)) return;
        callback();
        if (property === "value") notify(name);
      }),
  };
}

/**
 * Call back with a component's value now, if there is one, and after each change.
 * @param {string} name
 * @param {(value: any) => void} callback
 */
export function follow(name, callback) {
  listeners.set(name, [...(listeners.get(name) ?? []), callback]);
  const value = components.get(name)?.props.value;
  if (value) callback(value);
}

/**
 * Send an event of a component to the server.
 * @param {string} name
 * @param {object} data
 */
export const actOn = (name, data) => components.get(name)?.act(data);
