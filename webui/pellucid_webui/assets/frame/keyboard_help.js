// The keys of the page, in a dialog that `?` opens.
"use strict";

(() => {
  const { make, button } = window.Pellucid;

  const COMMAND = /Mac|iPhone|iPad/.test(navigator.platform) ? "Cmd" : "Ctrl";

  /** @type {Page.KeyGroup[]} */
  const GROUPS = [
    {
      title: "Everywhere",
      keys: [
        [`${COMMAND}+K`, "open the command palette"],
        ["?", "show these keys"],
        ["Escape", "close a dialog, drawer or card"],
      ],
    },
    {
      title: "Chat",
      keys: [
        ["Enter", "send the message"],
        ["Shift+Enter", "start a new line"],
        ["Escape", "stop the answer"],
        [`${COMMAND}+Enter`, "save an edited message"],
      ],
    },
    {
      title: "Tokens, in every tab",
      keys: [
        ["Arrow keys, Home, End", "move from token to token"],
        ["n, p", "go to the next or previous surprising token"],
        ["Enter, Space", "move to the card; its arrow keys choose an alternative"],
        ["Escape", "close the card"],
      ],
    },
    {
      title: "Values of a JSON answer",
      keys: [
        ["Arrow keys, Home, End", "move from row to row, collapse and expand"],
        ["Enter, Space", "mark the tokens of the value"],
      ],
    },
  ];

  /** @returns {HTMLDialogElement} */
  function create() {
    /** @type {HTMLDialogElement} */
    const created = make(
      "dialog",
      { class: "pl-dialog pl-help", "aria-labelledby": "pl-help-title", closedby: "any" },
      make("div", { class: "pl-dialog-head" }, make("h2", { id: "pl-help-title" }, "Keys"), button("Close", { onclick: () => created.close() }, "Escape")),
      ...GROUPS.map(({ title, keys }) =>
        make(
          "section",
          {},
          make("h3", {}, title),
          make("dl", {}, ...keys.map(([key, words]) => make("div", {}, make("dt", {}, ...spelled(key)), make("dd", {}, words)))),
        ),
      ),
    );
    document.body.append(created);
    return created;
  }

  /**
   * @param {string} keys
   * @returns {Page.Child[]} the keys as `kbd` elements with the words between them
   */
  const spelled = (keys) => keys.split(/(, |\+)/).map((part, index) => (index % 2 ? part : make("kbd", {}, part)));

  /** @type {HTMLDialogElement | null} */
  let dialog = null;

  function showKeys() {
    dialog ??= create();
    if (!dialog.open) dialog.showModal();
  }

  document.addEventListener("keydown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.key !== "?" || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (target.isContentEditable || target.closest("input, textarea, select")) return;
    event.preventDefault();
    showKeys();
  });

  /**
   * Add keys to the dialog, or to the group of that title.
   * @param {Page.KeyGroup} group
   */
  function addKeys({ title, keys }) {
    const known = GROUPS.find((group) => group.title === title);
    if (known) known.keys.push(...keys);
    else GROUPS.push({ title, keys });
  }

  Object.assign(window.Pellucid, { showKeys, addKeys, commandKey: COMMAND });
})();
