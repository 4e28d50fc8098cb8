/** Lets the page's own scripts run in a view: its requests go through the extension, and its theme is the editor's. */

import type { FromChat, ToChat } from "./chatMessages";

declare function acquireVsCodeApi(): {
  postMessage(message: FromChat): void;
  getState(): { conversation: string | null } | undefined;
  setState(state: { conversation: string | null }): void;
};

interface Running {
  start(status: number): void;
  fail(): void;
  body?: ReadableStreamDefaultController<Uint8Array>;
}

const vscode = acquireVsCodeApi();
const running = new Map<number, Running>();
let last = 0;

/** Sends a request of the page by the extension: a view cannot reach the server, which may be on another machine. */
window.fetch = (input, init = {}) =>
  new Promise((resolve, reject) => {
    const id = ++last;
    const fail = (error: Error): void => {
      running.get(id)?.body?.error(error);
      running.delete(id);
      reject(error);
    };
    const stop = (): void => {
      vscode.postMessage({ kind: "abort", id });
      fail(new DOMException("The request was cancelled.", "AbortError"));
    };
    const request: Running = {
      start: (status) =>
        resolve(new Response(new ReadableStream({ start: (body) => void (request.body = body), cancel: stop }), { status })),
      fail: () => fail(new TypeError("The server does not answer.")),
    };
    running.set(id, request);
    init.signal?.addEventListener("abort", () => running.has(id) && stop());
    const body = typeof init.body === "string" ? { body: init.body } : {};
    vscode.postMessage({ kind: "fetch", id, path: String(input), method: init.method ?? "GET", ...body });
  });

window.addEventListener("message", ({ data }: MessageEvent<ToChat>) => {
  switch (data.kind) {
    case "state":
      return showState(data.sentence, data.failed);
    case "attach": {
      const files = data.files.map(({ name, text }) => new File([text], name, { type: "text/plain" }));
      document.dispatchEvent(new CustomEvent("pellucid-attach", { detail: files }));
      return;
    }
    case "head":
      return running.get(data.id)?.start(data.status);
    case "part":
      return running.get(data.id)?.body?.enqueue(data.bytes);
    case "end":
      running.get(data.id)?.body?.close();
      running.delete(data.id);
      return;
    case "failed":
      return running.get(data.id)?.fail();
  }
});

document.addEventListener("pellucid-to-editor", (event) => {
  const message = (event as CustomEvent<FromChat>).detail;
  if (message.kind === "opened") {
    vscode.setState({ conversation: message.id });
  } else {
    vscode.postMessage(message);
  }
});

for (const button of document.querySelectorAll<HTMLButtonElement>("button[data-kind]")) {
  button.addEventListener("click", () => vscode.postMessage({ kind: button.dataset["kind"] } as FromChat));
}

function showState(sentence: string, failed: boolean): void {
  document.querySelector("#state")?.replaceChildren(sentence);
  document.querySelector("#remedies")?.toggleAttribute("hidden", !failed);
}

/** Gives the page the editor's theme, whose classes are on the body. */
function followTheme(): void {
  const { classList } = document.body;
  const isDark =
    classList.contains("vscode-dark") || (classList.contains("vscode-high-contrast") && !classList.contains("vscode-high-contrast-light"));
  const { dataset, style } = document.documentElement;
  dataset["theme"] = isDark ? "dark" : "light";
  style.colorScheme = dataset["theme"];
  if (classList.contains("dark") !== isDark) {
    classList.toggle("dark", isDark);
  }
}

new MutationObserver(followTheme).observe(document.body, { attributeFilter: ["class"] });
followTheme();

// The page opens the conversation that its address names.
const opened = vscode.getState()?.conversation;
if (opened) {
  const address = new URL(location.href);
  address.searchParams.set("c", opened);
  history.replaceState(null, "", address);
}

if (document.querySelector("#state")) {
  vscode.postMessage({ kind: "waiting" });
}
