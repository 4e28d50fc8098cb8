// What an empty chat shows: what this page is, and prompts to begin with.

import { make, chatField } from "../shared/dom.js";
import { follow, actOn } from "../shared/page_state.js";

/** @type {{ prompt: string, opensTokens?: boolean }[]} */
const EXAMPLES = [
  { prompt: "What is the capital of Australia?", opensTokens: true },
  { prompt: "Write a Python function that checks if a year is a leap year." },
  { prompt: "Explain list comprehensions in Python with an example." },
  { prompt: "Write a regular expression for dates such as 2026-11-28." },
];

/** The prompt whose answer is shown as tokens as soon as there is one. */
let awaitedPrompt = "";

/**
 * Send a prompt as if it had been typed.
 * @param {string} prompt
 * @param {boolean} opensTokens
 */
function ask(prompt, opensTokens) {
  const field = chatField();
  if (!field) return;
  field.value = prompt;
  field.focus();
  field.dispatchEvent(new Event("input", { bubbles: true }));
  awaitedPrompt = opensTokens ? prompt : "";
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
    ...EXAMPLES.map(({ prompt, opensTokens = false }) =>
      make(
        "li",
        {},
        make(
          "button",
          { type: "button", class: "pl-example", onclick: () => ask(prompt, opensTokens) },
          make("span", {}, prompt),
          opensTokens ? make("span", { class: "pl-quiet" }, "and open the tokens of the answer") : null,
        ),
      ),
    ),
  ),
);

follow("chat", (value) => {
  const list = document.querySelector("#pl-chat .pl-messages");
  if (!list) return;
  const isEmpty = !value.messages.length && !value.live;
  if (isEmpty) list.before(welcome);
  else welcome.remove();
  if (isEmpty || !awaitedPrompt) return;
  /** @type {Page.ChatMessage[]} */
  const messages = [...value.messages, ...(value.live ? [value.live.message] : [])];
  const [asked, answer] = messages;
  if (messages.length > 2 || asked.text.trim() !== awaitedPrompt) awaitedPrompt = ""; // the user has gone elsewhere
  if (!awaitedPrompt || answer?.role !== "assistant") return;
  awaitedPrompt = "";
  if (!answer.asTokens) actOn("chat", { verb: "toggleTokens", node: answer.node });
});
