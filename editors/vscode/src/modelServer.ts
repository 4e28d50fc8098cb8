/** Requests to the model server, at the address that the language server knows. */

import type { Address } from "./protocol";

export class ModelServer {
  private address: Promise<Address> | undefined;

  constructor(private readonly findAddress: () => Promise<Address>) {}

  /** Starts the server if necessary, and waits until the server answers. Throws an Error with a sentence for the user if no server answers. */
  connect(): Promise<Address> {
    const address = this.findAddress();
    this.address = address;
    address.catch(() => (this.address = undefined));
    return address;
  }

  /** Sends a request as the server's own page does. Throws if the server cannot be reached. */
  async send(path: string, init: RequestInit = {}): Promise<Response> {
    const { url, key } = await (this.address ?? this.connect());
    const headers = { origin: new URL(url).origin, "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
    return fetch(`${url}/${path}`, { ...init, headers });
  }

  /** Sends an object, and returns the answer. Throws an Error with the server's sentence if it refuses. */
  async post(path: string, asked: object, signal?: AbortSignal): Promise<Response> {
    const reply = await this.send(path, { method: "POST", body: JSON.stringify(asked), ...(signal ? { signal } : {}) });
    if (!reply.ok) {
      throw new Error(await refusal(reply));
    }
    return reply;
  }
}

/** Returns why the server has refused a request. */
export async function refusal(reply: Response): Promise<string> {
  const text = await reply.text();
  try {
    return (JSON.parse(text) as { error: { message: string } }).error.message;
  } catch {
    return `The server refused a request (${reply.status}): see its log.`;
  }
}

/** The objects of server-sent events, until the stream ends or says `[DONE]`. */
export async function* events(body: AsyncIterable<Uint8Array>): AsyncGenerator<unknown> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const part of body) {
    const found = (text + decoder.decode(part, { stream: true })).split("\n\n");
    text = found.pop() ?? "";
    for (const event of found) {
      const data = event.startsWith("data: ") ? event.slice("data: ".length) : "";
      if (data !== "" && data !== "[DONE]") {
        yield JSON.parse(data);
      }
    }
  }
}
