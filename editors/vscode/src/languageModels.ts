/** The server's models for VS Code's own chat, and for other extensions. */

import * as vscode from "vscode";
import type { LanguageServer } from "./languageServer";
import { events, type ModelServer } from "./modelServer";

interface Card {
  id: string;
  meta: { n_ctx: number; chat: boolean };
}

interface ToolCall {
  index: number;
  id?: string;
  function?: { name?: string; arguments?: string };
}

interface Event {
  error?: { message: string };
  choices?: { delta?: { content?: string | null; tool_calls?: ToolCall[] } }[];
}

export class LanguageModels implements vscode.LanguageModelChatProvider, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<void>();
  private readonly listening: vscode.Disposable;
  private isReady = false;
  readonly onDidChangeLanguageModelChatInformation = this.changed.event;

  constructor(
    server: LanguageServer,
    private readonly models: ModelServer,
  ) {
    this.listening = server.onDidChangeStatus(({ state }) => {
      if (this.isReady !== (state === "ready")) {
        this.isReady = !this.isReady;
        this.changed.fire();
      }
    });
  }

  /** Returns the models. VS Code asks without the user's wish, too: that starts no server. */
  async provideLanguageModelChatInformation({ silent }: { silent: boolean }): Promise<vscode.LanguageModelChatInformation[]> {
    if (silent && !this.isReady) {
      return [];
    }
    await this.models.connect();
    const reply = await this.models.send("v1/models");
    const { data } = (await reply.json()) as { data: Card[] };
    return data
      .filter(({ meta }) => meta.chat)
      .map(({ id, meta }) => ({
        id,
        name: id,
        family: id,
        version: "1",
        detail: "Pellucid",
        maxInputTokens: meta.n_ctx,
        maxOutputTokens: meta.n_ctx,
        capabilities: { toolCalling: true },
      }));
  }

  async provideLanguageModelChatResponse(
    model: vscode.LanguageModelChatInformation,
    messages: readonly vscode.LanguageModelChatRequestMessage[],
    options: vscode.ProvideLanguageModelChatResponseOptions,
    progress: vscode.Progress<vscode.LanguageModelResponsePart>,
    token: vscode.CancellationToken,
  ): Promise<void> {
    const controller = new AbortController();
    const cancelling = token.onCancellationRequested(() => controller.abort());
    const isRequired = options.toolMode === vscode.LanguageModelChatToolMode.Required;
    const tools = options.tools?.length ? { tools: options.tools.map(toolOf), tool_choice: isRequired ? "required" : "auto" } : {};
    const asked = { ...options.modelOptions, model: model.id, messages: messages.flatMap(messagesOf), stream: true, ...tools };
    const calls: { id: string; name: string; input: string }[] = [];
    try {
      const { body } = await this.models.post("v1/chat/completions", asked, controller.signal);
      for await (const event of events(body ?? ([] as never)) as AsyncIterable<Event>) {
        if (event.error) {
          throw new Error(event.error.message);
        }
        const delta = event.choices?.[0]?.delta;
        if (delta?.content) {
          progress.report(new vscode.LanguageModelTextPart(delta.content));
        }
        for (const part of delta?.tool_calls ?? []) {
          const call = (calls[part.index] ??= { id: "", name: "", input: "" });
          call.id += part.id ?? "";
          call.name += part.function?.name ?? "";
          call.input += part.function?.arguments ?? "";
        }
      }
      calls.forEach(({ id, name, input }) => progress.report(new vscode.LanguageModelToolCallPart(id, name, JSON.parse(input || "{}"))));
    } catch (error) {
      if (!token.isCancellationRequested) {
        throw error;
      }
    } finally {
      cancelling.dispose();
    }
  }

  async provideTokenCount(
    model: vscode.LanguageModelChatInformation,
    text: string | vscode.LanguageModelChatRequestMessage,
  ): Promise<number> {
    const content =
      typeof text === "string"
        ? text
        : messagesOf(text)
            .map((one) => JSON.stringify(one))
            .join("\n");
    const reply = await this.models.post("tokenize", { model: model.id, content, parse_special: false });
    return ((await reply.json()) as { tokens: number[] }).tokens.length;
  }

  dispose(): void {
    this.listening.dispose();
    this.changed.dispose();
  }
}

function toolOf({ name, description, inputSchema }: vscode.LanguageModelChatTool): object {
  return { type: "function", function: { name, description, parameters: inputSchema ?? { type: "object", properties: {} } } };
}

/** Returns a message as OpenAI has it; the results of tools are messages of their own. */
function messagesOf({ role, content }: vscode.LanguageModelChatRequestMessage): object[] {
  const results = content.flatMap((part) =>
    part instanceof vscode.LanguageModelToolResultPart ? [{ role: "tool", tool_call_id: part.callId, content: textOf(part.content) }] : [],
  );
  const calls = content.flatMap((part) =>
    part instanceof vscode.LanguageModelToolCallPart
      ? [{ id: part.callId, type: "function", function: { name: part.name, arguments: JSON.stringify(part.input) } }]
      : [],
  );
  const text = textOf(content);
  const own = role === vscode.LanguageModelChatMessageRole.Assistant ? "assistant" : "user";
  const said = text !== "" || calls.length > 0 ? [{ role: own, content: text, ...(calls.length > 0 ? { tool_calls: calls } : {}) }] : [];
  return [...results, ...said];
}

function textOf(parts: readonly unknown[]): string {
  return parts.map((part) => (part instanceof vscode.LanguageModelTextPart ? part.value : "")).join("");
}
