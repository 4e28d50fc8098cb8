// The modules of the chat in an editor's view: those of the page that need no other tab.

import "./chat/chat_tab.js";
import "./chat/copied_formulas.js";
import "./conversations/conversation_list.js";
import "./frame/drawers.js";
import "./frame/editor_controls.js";
import "./frame/empty_chat.js";
import "./frame/header.js";
import "./frame/server_connection.js";
import { follow, actOn } from "./shared/page_state.js";
import { tellEditor } from "./shared/editor.js";

document.addEventListener("pellucid-attach", (event) => actOn("chat", { verb: "attach", files: /** @type {CustomEvent<File[]>} */ (event).detail }));
follow("opened", (id) => tellEditor({ kind: "opened", id }));
tellEditor({ kind: "ready" });
