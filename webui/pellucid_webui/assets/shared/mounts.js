// The areas that Gradio's frame provides for the page's own parts.

/** @type {Map<string, (element: HTMLElement) => void>} */
const waiting = new Map(); // by the area's id

const observer = new MutationObserver(fill);

/** Fill the areas that the frame has by now. */
function fill() {
  for (const [id, draw] of waiting) {
    const element = document.getElementById(id);
    if (!element) continue;
    waiting.delete(id);
    for (const name of ["class", "style"]) element.removeAttribute(name); // the layout of a column of Gradio's
    draw(element);
  }
  if (!waiting.size) observer.disconnect();
}

/**
 * Draw a part as soon as the frame has its area.
 * @param {string} id
 * @param {(element: HTMLElement) => void} draw
 */
export function mount(id, draw) {
  waiting.set(id, draw);
  observer.observe(document.documentElement, { childList: true, subtree: true });
  fill();
}
