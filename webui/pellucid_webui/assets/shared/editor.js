// The editor that shows the chat in a view, if one does: it has another frame than the page.

/** @returns {boolean} */
export const isInEditor = () => document.getElementById("pl-editor") !== null;

/**
 * Tell the editor something.
 * @param {Page.ToEditor} message
 */
export const tellEditor = (message) => void document.dispatchEvent(new CustomEvent("pellucid-to-editor", { detail: message }));

/** Load the page again, with what is typed. */
export function reload() {
  if (isInEditor()) tellEditor({ kind: "reload" });
  else location.reload();
}
