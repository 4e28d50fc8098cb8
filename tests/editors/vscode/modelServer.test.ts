import assert from "node:assert/strict";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import test from "node:test";
import { events, ModelServer } from "../../../editors/vscode/src/modelServer";

/** A model server, of which a language server gives the address, and what it was asked. */
async function serving(key: string | null, status: number, text: string) {
  const asked: IncomingMessage[] = [];
  const http = createServer((request, response) => {
    asked.push(request);
    response.writeHead(status).end(text);
  });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  let connections = 0;
  const models = new ModelServer(() => {
    connections++;
    return Promise.resolve({ url, key });
  });
  return { url, asked, http, connections: () => connections, models };
}

test("a request has the origin of the server's page and the key, and the address is asked for once", async () => {
  const { url, asked, http, connections, models } = await serving("a-key", 200, "{}");
  await models.send("page/alive");
  await models.post("page/chat", { verb: "show" });
  http.close();
  assert.deepEqual(
    asked.map(({ method, url: path, headers }) => [method, path, headers.origin, headers.authorization]),
    [
      ["GET", "/page/alive", url, "Bearer a-key"],
      ["POST", "/page/chat", url, "Bearer a-key"],
    ],
  );
  assert.equal(connections(), 1);
});

test("without a key no header names one, and a refusal is the server's sentence", async () => {
  const { asked, http, models } = await serving(null, 503, '{"error": {"message": "Preparing the page."}}');
  await assert.rejects(models.post("page/editor", {}), new Error("Preparing the page."));
  http.close();
  assert.equal(asked[0]!.headers.authorization, undefined);
});

test("events come whole, wherever the parts of the answer end", async () => {
  const bytes = new TextEncoder().encode('data: {"text": "é"}\n\n: note\n\ndata: {"text": "b"}\n\ndata: [DONE]\n\n');
  for (let size = 1; size < bytes.length; size++) {
    const parts = (async function* () {
      for (let at = 0; at < bytes.length; at += size) {
        yield bytes.slice(at, at + size);
      }
    })();
    const found: unknown[] = [];
    for await (const event of events(parts)) {
      found.push(event);
    }
    assert.deepEqual(found, [{ text: "é" }, { text: "b" }]);
  }
});
