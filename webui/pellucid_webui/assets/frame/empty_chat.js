// What an empty chat shows: what this page is, and prompts to begin with.
"use strict";

(() => {
  const { make, follow, actOn } = window.Pellucid;

  /** @type {{ prompt: string, opens?: boolean }[]} */
  const EXAMPLES = [
    { prompt: "What is the capital of Australia?", opens: true },
    { prompt: "Write a Python function that checks if a year is a leap year." },
    { prompt: "Explain list comprehensions in Python with an example." },
    { prompt: "Write a regular expression for dates such as 2026-11-28." },
  ];

  /** The prompt whose answer opens its tokens as soon as there is one. */
  let awaited = "";

  /** @returns {HTMLTextAreaElement | null} the field of the chat */
  const fieldOf = () => document.querySelector("#pl-chat textarea.pl-field");

  /**
   * Send a prompt as if it had been typed.
   * @param {string} prompt
   * @param {boolean} opens
   */
  function ask(prompt, opens) {
    const field = fieldOf();
    if (!field) return;
    field.value = prompt;
    field.focus();
    field.dispatchEvent(new Event("input", { bubbles: true }));
    awaited = opens ? prompt : "";
    field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
  }

  const welcome = make(
    "div",
    { class: "pl-welcome" },
    make("h2", {}, "Ask a model, and see how sure it is of every token"),
    make("p", {}, "Each token of an answer has its probability, its rank, and what the model would have written instead. Start with one of these:"),
    make(
      "ul",
      {},
      ...EXAMPLES.map(({ prompt, opens = false }) =>
        make(
          "li",
          {},
          make(
            "button",
            { type: "button", class: "pl-example", onclick: () => ask(prompt, opens) },
            make("span", {}, prompt),
            opens ? make("span", { class: "pl-quiet" }, "and open the tokens of the answer") : null,
          ),
        ),
      ),
    ),
  );

  follow("chat", (value) => {
    const list = document.querySelector("#pl-chat .pl-messages");
    if (!value || !list) return;
    const isEmpty = !value.messages.length && !value.live;
    if (isEmpty) list.before(welcome);
    else welcome.remove();
    if (isEmpty || !awaited) return;
    const messages = [...value.messages, ...(value.live ? [value.live.message] : [])].map((text) => /** @type {Page.ChatMessage} */ (JSON.parse(text)));
    const [asked, answer] = messages;
    if (messages.length > 2 || asked.text.trim() !== awaited) awaited = ""; // the user has gone elsewhere
    if (!awaited || answer?.role !== "assistant") return;
    awaited = "";
    if (!answer.looked) actOn("chat", { verb: "look", conversation: value.id, node: answer.node });
  });
})();
