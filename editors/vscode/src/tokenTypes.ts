/** The tokens of a suggestion with their probabilities, as the language server sends them and the view draws them. */

export interface Alternative {
  id: number;
  token: string;
  bytes: number[];
  /** Natural logarithm of the model's probability. */
  logprob: number;
}

export interface Token extends Alternative {
  position: number;
  rank: number | null;
  /** In nats; null if it is not known exactly. */
  entropy: number | null;
  /** Bounds of an entropy that is not known exactly, in nats. */
  entropy_range?: [least: number, most: number];
  /** The most probable first. */
  top: Alternative[];
  /** The probability of everything that is not in `top`. */
  rest: number;
  /** Null if the engine does not report it. */
  sampled: number | null;
  /** The probability of all tokens that agree with what was typed, where that limited the choice; else 1. */
  allowed?: number;
  /** Null if the text is no longer in the document. */
  range: { start: Place; end: Place } | null;
}

export interface Tokens {
  id: string;
  text: string;
  accepted: boolean;
  model: string;
  tokens: Token[];
}

interface Place {
  line: number;
  character: number;
}
