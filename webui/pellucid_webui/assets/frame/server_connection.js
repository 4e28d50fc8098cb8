// The connection to the server: waits while the server does not answer, and reloads the page for a new process.

import { announce } from "../shared/dom.js";
import { reload } from "../shared/editor.js";
import { report } from "../shared/server_banner.js";

const CHECK_MS = 3000; // between two checks
const RETRY_MS = 1000; // between two checks while there is no answer
const SILENT_FAILURES = 2; // checks without an answer before the page says so

const TIMEOUT_MS = 10000; // of one check

let failures = 0; // checks without an answer since the last answer
/** @type {string | null} */
let serverProcess = null; // the random id of the one that has answered

/** Check again and again that the server answers. */
async function keepChecking() {
  if (!document.hidden) await check();
  setTimeout(keepChecking, failures ? RETRY_MS : CHECK_MS);
}

/** Check that the server answers. If another process does, reload the page: drafts and conversations are kept. */
async function check() {
  try {
    const response = await fetch("page/alive", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!response.ok) throw new Error(String(response.status));
    const { process, locked } = await response.json();
    if (locked && serverProcess === null) {
      document.body.dataset.locked = "";
      document.dispatchEvent(new Event("pellucid-locked"));
    }
    if (serverProcess !== null && process !== serverProcess) reload();
    serverProcess = process;
    if (failures >= SILENT_FAILURES) announce("The server is back.");
    if (failures) document.dispatchEvent(new Event("pellucid-server-back"));
    failures = 0;
    report("unreachable", "");
  } catch {
    failures += 1;
    if (failures < SILENT_FAILURES) return;
    if (failures === SILENT_FAILURES) document.dispatchEvent(new Event("pellucid-server-lost"));
    report("unreachable", "The server does not answer. Your text is kept; this page resumes when the server is back.");
  }
}

keepChecking();
