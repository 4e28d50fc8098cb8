// The page's modules: what starts by itself, and what Gradio's components mount.

import "./chat/copied_formulas.js";
import "./compare/compare_tab.js";
import "./frame/command_palette.js";
import "./frame/drawers.js";
import "./frame/empty_chat.js";
import "./frame/keyboard_help.js";
import "./frame/other_tabs.js";
import "./frame/server_connection.js";
import "./infill_tab.js";
import "./review_tab.js";
import { openTabOfLink } from "./compare/compare_link.js";

export { mountChat } from "./chat/chat_tab.js";
export { mountConversations } from "./conversations/conversation_list.js";
export { mountHeader } from "./frame/header.js";
export { readInputs } from "./read/reading_inputs.js";
export { mountReading, mountReadingParts } from "./read/read_tab.js";
export { mountOpener } from "./read/text_opener.js";
export { formControls } from "./shared/form_controls.js";
export { shared } from "./shared/shared_components.js";

openTabOfLink();
window.addEventListener("hashchange", openTabOfLink);
