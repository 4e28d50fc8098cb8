// An extension that uses Pellucid's models through VS Code, and writes what it gets into the workspace.

const { writeFileSync } = require("node:fs");
const path = require("node:path");
const vscode = require("vscode");

async function ask() {
  const models = await vscode.lm.selectChatModels({ vendor: "pellucid" });
  const [model] = models;
  const question = (text) => [vscode.LanguageModelChatMessage.User(text)];
  const parts = [];
  const answer = await model.sendRequest(question("What is the capital of France?"), { modelOptions: { temperature: 0 } });
  for await (const part of answer.text) {
    parts.push(part);
  }
  const tokens = await model.countTokens("hello world");
  const cancelling = new vscode.CancellationTokenSource();
  let cancelled = 0;
  try {
    const long = await model.sendRequest(question("Count from 1 to 1000."), {}, cancelling.token);
    for await (const part of long.text) {
      cancelled += part.length > 0;
      cancelling.cancel();
    }
  } catch {
    // VS Code ends the answer with an error
  }
  return { models: models.map(({ id }) => id), parts, tokens, cancelled };
}

exports.activate = ({ subscriptions }) => {
  const run = async () => {
    const found = await ask().catch((error) => ({ error: String(error) }));
    writeFileSync(path.join(vscode.workspace.workspaceFolders[0].uri.fsPath, "probe.json"), `${JSON.stringify(found)}\n`);
  };
  subscriptions.push(vscode.commands.registerCommand("probe.ask", run));
};
