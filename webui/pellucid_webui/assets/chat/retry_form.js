// The form of "Retry with…" and "Compare with…": another model or temperature for one answer. The settings of the conversation stay.

import { make, button } from "../shared/dom.js";

/**
 * Create the form.
 * @param {string[]} models
 * @param {{ model: string, temperature: number }} own what the answer was generated with
 * @param {{ label: string, verb: string }} words the name of the form, and of its button
 * @param {{ onDone: (other: { model: string, temperature: number }) => void, onCancel: () => void }} listeners
 * @returns {HTMLElement}
 */
export function retryForm(models, own, { label, verb }, { onDone, onCancel }) {
  const model = make("select", { class: "pl-field" }, ...models.map((name) => make("option", { value: name, selected: name === own.model }, name)));
  const temperature = make("input", { class: "pl-field", type: "number", min: 0, max: 2, step: 0.05, value: own.temperature, required: true });
  const submit = () => {
    if (temperature.reportValidity()) onDone({ model: model.value, temperature: temperature.valueAsNumber });
  };
  const form = make(
    "div",
    { class: "pl-retry", role: "group", "aria-label": label },
    make("label", {}, "Model", model),
    make("label", {}, "Temperature", temperature),
    button(verb, { class: "pl-button pl-first", onclick: submit }, "Enter"),
    button("Cancel", { onclick: onCancel }, "Escape"),
  );
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.preventDefault(); // this Escape does not stop an answer
      onCancel();
    } else if (event.key === "Enter" && event.target === temperature) {
      submit();
    }
  });
  return form;
}
