/** The requests and notifications of Pellucid's language server beyond the standard ones: lsp/README.md describes them. */

import {
  type InlineCompletionItem,
  NotificationType,
  type Position,
  type Range,
  RequestType,
  RequestType0,
} from "vscode-languageclient/node";
import type { Tokens } from "./tokenTypes";

export interface Branch {
  id: string;
  /** Index of a token of the suggestion. */
  token: number;
  /** Index into that token's `top`. */
  alternative: number;
}

export interface Explanation {
  id: string | null;
  uri: string;
  position: Position;
  outcome: "shown" | "shortened" | "hidden" | "nothing" | "cancelled" | "failed" | "off";
  reason: string;
  source: "model" | "recent" | "ahead" | null;
  shape: "line" | "block" | null;
  ending: string | null;
  answer: string | null;
  shown: string | null;
  prompt: { prefix: string; suffix: string; extra: { filename: string; text: string }[]; text: string | null } | null;
  usage: { cached: number; computed: number; generated: number } | null;
  milliseconds: Record<string, number>;
  gate: { by: string; level: string | null; values: Record<string, number>; thresholds: Record<string, number> } | null;
}

/** The last edit repeated elsewhere: `text` in place of a range. */
export interface NextEdit {
  id: string;
  range: Range;
  text: string;
  probability: number;
  /** log p(new lines) - log p(old lines), in nats. */
  logOdds: number;
}

/** Where the last edit may be repeated in another document or file: the lines `old` from `line` on become `new`. */
export interface Place {
  id: string;
  uri: string;
  /** From 0. */
  line: number;
  old: string[];
  new: string[];
  probability: number;
}

export interface Status {
  state: "ready" | "starting" | "loading" | "off" | "failed" | "idle";
  message: string;
  /** Percent, while a model is downloaded or loaded. */
  progress: number | null;
  model: string | null;
  url: string;
  enabled: boolean;
  enabledHere: boolean;
  /** Milliseconds of the last suggestion. */
  latency: number | null;
  counts: { shown: number; accepted: number; hidden: number; typed: number };
  gate: { by: "calibration" | "thresholds"; reason: string };
  log: string | null;
  /** A sentence about the definitions that were looked up. */
  definitions: string;
}

/** The names of a document whose definitions are asked for. */
export interface FindDefinitions {
  textDocument: { uri: string; version: number | null };
  names: { name: string; position: Position }[];
}

/** Where names are defined. The description, in Markdown, is for places outside of the workspace. */
export interface FoundDefinitions {
  textDocument: { uri: string };
  names: { name: string; definitions: { uri: string; range: Range; description?: string }[] }[];
}

/** A change of an edit by instruction: the lines `old` become `new`, which is `newText` in place of a range. */
export interface Hunk {
  range: Range;
  newText: string;
  /** The line, from 0, at which the old lines begin, or above which new ones come. */
  first: number;
  old: string[];
  new: string[];
  /** Null if it is not known: the file has no parser, or a syntax error before. */
  breaksSyntax: boolean | null;
}

/** An edit by instruction. `reason` says why nothing is changed, and is null if something is. `note` says that the answer does not parse. */
export interface InstructedEdit {
  id: string;
  text: string;
  hunks: Hunk[];
  reason: string | null;
  note: string | null;
}

export interface Instruction {
  textDocument: { uri: string };
  range: Range;
  instruction: string;
  seed?: number;
  partialResultToken?: string;
}

/** The address of the model server, and the key for it. */
export interface Address {
  url: string;
  key: string | null;
}

/** Messages for staged changes, the likeliest first, and sentences on what the model did not read. */
export interface CommitMessages {
  messages: { text: string; probability: number }[];
  notes: string[];
}

/** The number of marks that a search for surprising words has shown, and a sentence about it. */
export interface Surprises {
  marks: number;
  message: string;
}

/** Why the edits that were found in a document are suggested or not. */
export interface EditsExplanation {
  reason: string;
  calibrationNote: string | null;
  changes: { uri: string; line: number; old: string[]; new: string[]; outcome: string; reason: string }[];
}

export const TokensRequest = new RequestType<{ id: string }, Tokens | null, void>("pellucid/tokens");
export const BranchRequest = new RequestType<Branch, InlineCompletionItem | null, void>("pellucid/branch");
export const ExplainRequest = new RequestType<{ id?: string }, Explanation | null, void>("pellucid/explain");
export const NextEditsRequest = new RequestType<{ textDocument: { uri: string }; position?: Position }, { edits: NextEdit[] }, void>(
  "pellucid/nextEdits",
);
export const NextEditsElsewhereRequest = new RequestType<{ textDocument: { uri: string } }, { places: Place[] }, void>(
  "pellucid/nextEditsElsewhere",
);
export const InstructedEditRequest = new RequestType<Instruction, InstructedEdit, void>("pellucid/edit");
export const ExplainEditsRequest = new RequestType<{ textDocument: { uri: string } }, EditsExplanation | null, void>(
  "pellucid/explainEdits",
);
export const ExplainCodeRequest = new RequestType<{ textDocument: { uri: string }; range: Range }, { text: string }, void>(
  "pellucid/explainCode",
);
export const ApplyCodeRequest = new RequestType<{ textDocument: { uri: string }; code: string; range?: Range }, InstructedEdit, void>(
  "pellucid/applyCode",
);
export const AddressRequest = new RequestType<object, Address, void>("pellucid/server");
export const AttachmentRequest = new RequestType<
  { textDocument: { uri: string }; text: string },
  { name: string; refusal: string | null },
  void
>("pellucid/attachment");
export const CommitMessageRequest = new RequestType<{ uri: string; alternatives?: number }, CommitMessages, void>("pellucid/commitMessage");
export const StatusRequest = new RequestType0<Status, void>("pellucid/status");

export const DidPartiallyAcceptNotification = new NotificationType<{ id: string; acceptedLength: number }>("pellucid/didPartiallyAccept");
export const DidShowNotification = new NotificationType<{ id: string }>("pellucid/didShow");
export const FindDefinitionsNotification = new NotificationType<FindDefinitions>("pellucid/findDefinitions");
export const DefinitionsNotification = new NotificationType<FoundDefinitions>("pellucid/definitions");
export const DidChangeStatusNotification = new NotificationType<Status>("pellucid/didChangeStatus");

/** The commands that the server runs, by `workspace/executeCommand`. */
export const ServerCommand = {
  accepted: "pellucid.accepted",
  editAccepted: "pellucid.editAccepted",
  editDismissed: "pellucid.editDismissed",
  toggle: "pellucid.toggle",
  toggleWorkspace: "pellucid.toggleWorkspace",
  restart: "pellucid.restart",
  openPage: "pellucid.openPage",
  instruct: "pellucid.instruct",
  explainCode: "pellucid.explainCode",
  showSurprise: "pellucid.showSurprise",
  showSurpriseInChanges: "pellucid.showSurpriseInChanges",
  clearSurprise: "pellucid.clearSurprise",
} as const;
