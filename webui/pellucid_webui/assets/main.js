// The page's modules. Each starts by itself, or draws its part as soon as the frame has the area.

import "./chat/chat_tab.js";
import "./chat/copied_formulas.js";
import "./compare/compare_tab.js";
import "./conversations/conversation_list.js";
import "./frame/command_palette.js";
import "./frame/drawers.js";
import "./frame/empty_chat.js";
import "./frame/gradio_menus.js";
import "./frame/header.js";
import "./frame/keyboard_help.js";
import "./frame/other_tabs.js";
import "./frame/server_connection.js";
import "./frame/skip_button.js";
import "./infill_tab.js";
import "./review/review_tab.js";
import { openTabOfLink } from "./compare/compare_link.js";

export { readText } from "./read/read_tab.js";
export { formControls } from "./shared/form_controls.js";

openTabOfLink();
window.addEventListener("hashchange", openTabOfLink);
