/** The status bar item: the state, the last latency, and details in its tooltip. */

import * as vscode from "vscode";
import type { Status } from "./protocol";

export class StatusBar implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem("pellucid.status", vscode.StatusBarAlignment.Right, 100);

  constructor() {
    this.item.name = "Pellucid";
    this.item.command = "pellucid.showMenu";
    this.item.show();
  }

  show(status: Status): void {
    const text = [icon(status), "Pellucid", figure(status)].filter((part) => part !== "").join(" ");
    this.item.text = text;
    this.item.tooltip = tooltip(status);
    this.item.backgroundColor = status.state === "failed" ? new vscode.ThemeColor("statusBarItem.errorBackground") : undefined;
    this.item.accessibilityInformation = { label: `Pellucid, ${status.state}: ${status.message}` };
  }

  dispose(): void {
    this.item.dispose();
  }
}

function icon(status: Status): string {
  switch (status.state) {
    case "starting":
    case "loading":
      return "$(loading~spin)";
    case "off":
      return "$(eye-closed)";
    case "failed":
      return "$(error)";
    case "ready":
    case "idle":
      return status.enabled && status.enabledHere ? "$(eye)" : "$(eye-closed)";
  }
}

function figure(status: Status): string {
  switch (status.state) {
    case "starting":
    case "loading":
      return status.progress === null ? "" : `${Math.round(status.progress)} %`;
    case "off":
      return "off";
    case "failed":
      return "";
    case "ready":
    case "idle":
      return status.latency === null ? "" : `${Math.round(status.latency)} ms`;
  }
}

function tooltip(status: Status): vscode.MarkdownString {
  const { shown, accepted, hidden, typed } = status.counts;
  const rows = [
    ["Model", status.model],
    ["Server", status.url],
    ["Last suggestion", status.latency === null ? null : `${Math.round(status.latency)} ms`],
    ["Definitions", status.definitions],
    ["Suggestions", `${shown} shown, ${accepted} accepted, ${typed} typed, ${hidden} hidden`],
  ];
  const table = rows.flatMap(([name, value]) => (value ? `| ${name} | ${escaped(value)} |` : []));
  return new vscode.MarkdownString([`**Pellucid**: ${escaped(status.message)}`, "", "| | |", "|---|---|", ...table].join("\n"));
}

function escaped(text: string): string {
  return text.replace(/[\\`*_{}[\]()<>#+\-.!|~&:]/g, "\\$&");
}
