/**
 * The types of the page's scripts, for editors and `make lint-js`; the page does not load this file.
 *
 * The scripts are classic scripts: each is one function that adds to `window.Pellucid` what later scripts use.
 */

declare namespace Page {
  // Tokens

  /** A token as pellucid_webui/conversations/compact_tokens.py writes it. Logprobs and entropies are in nats. */
  interface TokenRecord {
    /** Token id. */
    i: number;
    /** Text. */
    t: string;
    /** Base64 of the bytes, where they are not those of the text. */
    b?: string;
    /** Logprob; null for a token without a prediction, such as the first one of a text. */
    l: number | null;
    /** Rank, from 1. */
    r: number | null;
    /** Entropy of the distribution. */
    e: number | null;
    /** Probability after the sampler's settings; null for a token that was read. */
    s: number | null;
    /** Probability of all tokens that are neither this one nor among the alternatives. */
    o: number;
    /** Most likely tokens, best first; under a constraint, of those that it allows. */
    a: AlternativeRecord[];
    /** Where the token must repeat what was typed: the probability of all tokens that do. */
    c?: number;
    /** Under a grammar: the probability of all tokens that it allows, their number, and the token's logprob among them. */
    g?: [mass: number, allowed: number, logprob: number];
    /** In a tool call: its index, and what the token adds to calls. */
    p?: [call: number, ...deltas: CallDeltaRecord[]];
  }

  /** A token with a prediction: logprob, rank and entropy come together. */
  interface PredictedRecord extends TokenRecord {
    l: number;
    r: number;
    e: number;
  }

  type CallDeltaRecord = [index: number, args: string, id?: string, name?: string];

  type AlternativeRecord = [id: number, text: string, logprob: number, bytes?: string];

  /** JSON of an array of TokenRecord. */
  type Batch = string;

  /** A remark on a token: how much two models differ in it, from -1 to 1, and that in words. */
  interface Mark {
    text: string;
    value: number;
  }

  interface Sampling {
    temperature: number;
    top_k: number;
    top_p: number;
    min_p: number;
  }

  // What-if

  /** Bounds of a number and a guess between them. */
  interface Interval {
    low: number;
    middle: number;
    high: number;
  }

  type Side = keyof Interval;

  /** Whether the sampler keeps a token, and whether that is certain. */
  interface Decision {
    kept: boolean;
    sure: boolean;
  }

  interface Weighed extends Decision {
    probability: Interval;
  }

  interface WhatIfResult {
    chosen: Weighed;
    alternatives: Weighed[];
    /** Probability of all other tokens. */
    rest: Interval;
  }

  // Colours and text

  type Mode = "probability" | "rank" | "surprisal" | "two" | "difference";

  interface LegendScale {
    /** Class names, from the first step to the last. */
    scale: string[];
    from: string;
    to: string;
  }

  interface LegendSample {
    /** Class name. */
    sample: string;
    text?: string;
    /** Index of the rank that ends this colour; null for the last colour. */
    threshold?: number | null;
  }

  type LegendPart = LegendScale | LegendSample;

  /** A part of a text; a picture replaces a character without a visible shape. */
  interface Piece {
    kind: "text" | "newline" | "tab" | "picture";
    text: string;
  }

  // What the server sends

  /** A Gradio component: `watch` calls back when a property changes, `act` sends an event to the server. */
  interface Component<Value> {
    element: HTMLElement;
    props: { value: Value };
    watch: (name: string, callback: () => void) => void;
    act: (data: object) => void;
  }

  /** A sentence that is shown once: its number tells two with the same text apart. */
  interface Notice {
    n: number;
    text: string;
  }

  /** A file for the browser to save, once for each number. */
  interface SavedFile {
    n: number;
    name: string;
    type: string;
    text: string;
  }

  interface ChatValue {
    id: string | null;
    title: string;
    /** JSON of a ChatMessage each. */
    messages: string[];
    live: LiveAnswer | null;
    notice: Notice | null;
    draft: Notice | null;
    redo: number | null;
    arrived: { letter: string; conversation: string } | null;
    stale: boolean;
    /** Bytes. */
    fileLimit: number;
    /** Bytes of all attached files together. */
    filesLimit: number;
  }

  interface LiveAnswer {
    /** JSON of a ChatMessage without content. */
    message: string;
    blocks: string[];
    tokens: Batch[];
    stats: string;
  }

  interface ChatMessage {
    node: number;
    role: string;
    versions: number[];
    /** Whether it is shown as tokens. */
    looked: boolean;
    about: string;
    sampling?: Sampling;
    text: string;
    /** HTML of the server's own Markdown. */
    blocks: string[];
    tokens?: Batch[];
    stats: string;
    idle?: boolean;
    end?: string | null;
    error?: string | null;
    /** A sentence, if the answer ended before its format did. */
    incomplete?: string;
    trees?: TreeData[];
    live?: boolean;
  }

  /** The values of a JSON answer, or a tool call. */
  interface TreeData {
    title: string;
    isCall?: boolean;
    remarks: string[];
    rows: TreeRow[];
    isCut: boolean;
  }

  interface TreeRow {
    /** From 1. */
    level: number;
    key: string;
    /** JSON of the value; for an object or array with content its size in words. */
    value: string;
    /** Whether it is an object or array with content. */
    isOpen: boolean;
    probability?: number;
    /** The first token of the value, and the one after the last. */
    tokens?: [number, number] | null;
    mass?: number;
    other?: { value: string; probability: number };
  }

  /** A file that is sent to the server; its content is in base64. */
  interface FileContent {
    name: string;
    data: string;
    size: number;
  }

  interface ConversationsValue {
    items: ConversationItem[];
    isCut: boolean;
    open: string | null;
    search: string;
    notice: Notice | null;
    file?: SavedFile;
    /** Bytes. */
    importLimit: number;
  }

  interface ConversationItem {
    id: string;
    title: string;
    /** Seconds since 1970. */
    updated: number;
    messages: number;
    snippet: string | null;
  }

  interface CompareValue {
    number: number;
    status: string;
    wrong: boolean;
    running: boolean;
    columns: CompareColumnValue[];
    /** Null until the comparison has ended. */
    summary: { sentences: string[]; matrix: string[][]; figures: string[][]; jumps: CompareJump[] } | null;
    /** JSON of a CompareAnalysis whose readings are batches; null until the comparison has ended. */
    analysis: string | null;
    models: string[];
    form: CompareFormValue | null;
    file?: SavedFile;
  }

  interface CompareFormValue {
    prompt: string;
    reference: string;
    columns: CompareSettings[];
  }

  /** A text stands for a number that the user has not written as one: the server names it. */
  interface CompareSettings {
    model: string;
    system: string;
    temperature: number | string;
    top_p: number | string;
    top_k: number | string;
    min_p: number | string;
    seed: number | string | null;
    max_tokens: number | string;
  }

  interface CompareColumnValue {
    letter: string;
    model: string;
    temperature: number;
    about: string;
    batches: Batch[];
    note: string;
    wrong: boolean;
  }

  interface CompareJump {
    kind: "first" | "difference" | "large";
    text: number;
    token: number;
    words: string;
  }

  type CompareMode = "probability" | "surprisal" | "difference";

  /** What each column makes of each answer: the first index is the answer's column, the second the other column. Nats; 999 is infinity. */
  interface CompareAnalysis {
    view: "own" | "sampled";
    readings: (TokenRecord[] | null)[][];
    /** For each token: the other column's token or -1, the segment from and to, then ratio and KL (low, high), own and as sampled. */
    links: (number | null)[][][][];
    /** For each token: the tokens at the same place of the other answer. */
    ranges: [from: number, to: number][][][];
    /** For each token: the scale (low, high), the most of an unlisted token and of all of them. */
    sampled: (CompareScale | null)[][][];
    /** Ranges of tokens that not all answers have. */
    apart: [from: number, to: number][][];
    /** Whether divergences have an upper bound. */
    upper: boolean[][];
  }

  type CompareScale = [low: number, high: number, one: number, all: number];

  /** A column's distribution at a place; `scale` is null in the model's own view. */
  interface CompareReading {
    record: TokenRecord;
    temperature: number;
    scale: CompareScale | null;
  }

  interface CompareLink {
    ratio: [low: number, high: number] | null;
    kl: [low: number, high: number] | null;
    /** Tokens that the ratio is of. */
    tokens: number;
  }

  interface CompareRow {
    key: string;
    text: string;
    bytes: string | undefined;
    shares: ([low: number, high: number] | null)[];
  }

  interface CompareCardOptions {
    letters: string[];
    text: number;
    index: number;
    count: number;
    readings: (CompareReading | null)[];
    links: (CompareLink | null)[];
    upper: boolean[];
    /** Why the user was led here, if so. */
    remark: string;
  }

  interface CompareSelect {
    element: HTMLElement;
    field: HTMLSelectElement;
    offer(options: [value: string, text: string][], chosen: string): void;
  }

  interface CompareLook {
    probability: number | null;
    ratio: [low: number, high: number] | null;
    other: string;
    isApart: boolean;
  }

  interface ReadValue {
    number: number;
    batches: Batch[];
    status: string;
    wrong: boolean;
    progress: { share: number; words: string } | null;
    figures: [name: string, figure: string, hint: string][];
    lines: ReadLine[];
    file?: SavedFile;
  }

  interface ReadLine {
    number: number;
    text: string;
    mean: number;
    most: number;
    /** Index of the first token. */
    token: number;
  }

  interface InfillValue {
    before: string;
    after: string;
    shown: string;
    cut: string;
    status: string;
    caveat: string;
    cost: string;
    wrong: boolean;
    batches: Batch[];
    gate: string[][];
    prompt: string;
  }

  /** The fields after `pair` come with a pair only. */
  interface ReviewValue {
    names: string[];
    review: string;
    rater: string;
    /** Whether the rater has logged in, so that the name is fixed. */
    known: boolean;
    status: string;
    wrong: boolean;
    reasons: string[];
    pair: number | null;
    prompt: string[];
    left: string[];
    right: string[];
    chosen: string | null;
    given: string[];
    note: string;
  }

  // What scripts offer to each other

  /** Attributes of an element; null, undefined and false leave one out, and `on...` adds a listener. */
  interface Attributes {
    onclick?: (event: MouseEvent & { currentTarget: HTMLElement }) => unknown;
    onkeydown?: (event: KeyboardEvent) => unknown;
    onchange?: (event: Event) => unknown;
    oninput?: (event: Event) => unknown;
    ontoggle?: (event: Event) => unknown;
    onblur?: (event: FocusEvent) => unknown;
    [name: string]: string | number | boolean | null | undefined | ((event: any) => unknown);
  }

  type Child = Node | string | null | undefined;

  interface CardOptions {
    index: number;
    record: TokenRecord;
    mark: Mark | null;
    verdict: WhatIfResult | null;
    onBranch: ((alternative: number) => void) | null;
    onClose: () => void;
    anchor: HTMLElement;
  }

  interface Card {
    readonly element: HTMLElement;
    readonly isOpen: boolean;
    readonly hasFocus: boolean;
    show(options: CardOptions): void;
    hide(): void;
    place(): void;
    enter(): boolean;
  }

  /** How a token looks, and its accessible name. */
  interface CellDescription {
    className: string;
    label: string;
  }

  interface Cells {
    readonly all: HTMLElement[];
    clear(): void;
    append(records: TokenRecord[], describe: (index: number) => CellDescription): void;
    describe(index: number, description: CellDescription): void;
    indexOf(target: EventTarget | null): number | null;
    place(index: number): DOMRect;
    inNextLine(index: number, direction: number, x: number): number;
  }

  interface SparklineOptions {
    onGo: (index: number) => void;
    onPoint: (index: number | null) => void;
  }

  interface Sparkline {
    readonly element: HTMLElement;
    set(records: TokenRecord[]): void;
    mark(index: number | null): void;
    destroy(): void;
  }

  interface ToolbarOptions {
    mode: Mode;
    ranks: number[];
    words: string[];
    onMode: (mode: Mode) => void;
    onRanks: (ranks: number[]) => void;
    onNext: () => void;
  }

  interface Toolbar {
    readonly element: HTMLElement;
    show(mode: Mode): void;
    allowDifference(allowed: boolean, words?: string[]): void;
    say(text: string): void;
  }

  interface WhatIfPanel {
    readonly element: HTMLDetailsElement;
    setOwn(own: Sampling | null): void;
    change(settings: Partial<Sampling>): void;
  }

  interface AnswerTree {
    readonly element: HTMLElement;
  }

  interface HeatMapOptions {
    label: string;
    onBranch?: ((index: number, alternative: number) => void) | null;
    onSelect?: ((index: number) => void) | null;
  }

  interface HeatMap {
    onBranch: ((index: number, alternative: number) => void) | null;
    readonly cells: Cells;
    set(records: TokenRecord[]): void;
    add(records: TokenRecord[]): void;
    annotate(marks: (Mark | null)[], words?: string[]): void;
    setSampling(settings: Sampling | null): void;
    setMode(mode: Mode): void;
    focusToken(index: number): void;
    markRange(from: number, to: number): void;
    destroy(): void;
  }

  /** `window.Pellucid`. */
  interface Scripts {
    // dom.js
    make<Name extends keyof HTMLElementTagNameMap>(name: Name, attributes?: Attributes, ...children: Child[]): HTMLElementTagNameMap[Name];
    button(text: string, attributes?: Attributes, hint?: string | null): HTMLButtonElement;
    announce(text: string): void;
    copy(text: string, pressed: HTMLElement): Promise<void>;
    download(name: string, text: string, type: string): void;
    contentOf(file: File, limit: number): Promise<FileContent>;
    memory: { get(key: string): string | null; set(key: string, value: string | null): void };
    nameTab(title: string): void;

    // colours.js
    colours: {
      MODES: Record<Mode, string>;
      RANKS: number[];
      UNLIKELY: number;
      toBits(nats: number): number;
      constrain(record: TokenRecord, logprob: number): number;
      probabilityOf(record: TokenRecord): number | null;
      probabilityClass(probability: number): string;
      surprisal(record: TokenRecord): number | null;
      levels(record: TokenRecord, ranks: number[], mark: Mark | null): string[];
      isSurprising(mode: Mode, record: TokenRecord, ranks: number[], mark: Mark | null | undefined): boolean;
      legend(mode: Mode, words: string[]): LegendPart[];
    };

    // sampler_whatif.js
    whatIf: {
      OFF: Readonly<Sampling>;
      weigh(record: TokenRecord, settings: Sampling, own?: Sampling | null): WhatIfResult | null;
      isSame(one: Sampling, other: Sampling): boolean;
    };

    // token_text.js
    visible: {
      piecesOf(text: string, base64: string | undefined): Piece[];
      flowing(pieces: Piece[]): (Node | string)[];
      standing(pieces: Piece[]): (Node | string)[];
      spoken(text: string, base64: string | undefined): string;
      percent(share: number): string;
      spokenPercent(share: number): string;
      bytesOf(base64: string): number[];
      hexOf(bytes: number[]): string;
    };

    // token_elements.js, token_card.js, surprisal_bars.js, whatif_sliders.js, heatmap_toolbar.js, heatmap.js
    Cells: new (list: HTMLElement, prefix: string) => Cells;
    Card: new () => Card;
    Sparkline: new (options: SparklineOptions) => Sparkline;
    WhatIfPanel: new (onChange: (settings: Sampling | null) => void) => WhatIfPanel;
    Toolbar: new (options: ToolbarOptions) => Toolbar;
    HeatMap: new (element: HTMLElement, options: HeatMapOptions) => HeatMap;

    // answer_tree.js
    AnswerTree: new (data: TreeData, onTokens: (tokens: [number, number]) => void) => AnswerTree;

    // compare_form.js, compare_card.js, compare_column.js
    CompareForm: new (actions: { onCompare: () => void; onStop: () => void; onChange: () => void; onLink: (pressed: HTMLElement) => void }) => {
      readonly element: HTMLElement;
      readonly value: CompareFormValue;
      set(form: CompareFormValue): void;
      offer(models: string[]): void;
      setRunning(running: boolean): void;
    };
    compareLink: {
      toLink(form: CompareFormValue): string;
      fromLink(hash: string): CompareFormValue | null;
      isForm(form: any): form is CompareFormValue;
    };
    CompareCard: new () => { readonly element: HTMLElement; show(options: CompareCardOptions): void };
    compared: {
      badge(letter: string): HTMLElement;
      ownProbability(reading: CompareReading): [low: number, high: number] | null;
      ratioWords(here: string, there: string, ratio: [low: number, high: number]): string;
    };
    compareParts: {
      select(name: string, options: [value: string, text: string][], onChange: () => void): CompareSelect;
      table(caption: string, rows: string[][]): HTMLElement;
      range(row: (number | null)[], at: number): [low: number, high: number] | null;
      flags(ranges: [from: number, to: number][], count: number): boolean[];
      merged(ranges: [from: number, to: number][]): [from: number, to: number][];
      draft: { get(): CompareFormValue | null; set(form: CompareFormValue): void };
      tabId(): string;
    };
    CompareColumn: new (letter: string, actions: { onSelect: (index: number) => void; onHover: (index: number | null) => void }) => {
      readonly element: HTMLElement;
      readonly letter: string;
      readonly records: TokenRecord[];
      update(value: CompareColumnValue): void;
      paint(lookOf: (index: number) => CompareLook): void;
      fold(apart: [from: number, to: number][] | null): void;
      mark(range: [from: number, to: number] | null, isShown: boolean): void;
      focusToken(index: number): void;
      reveal(): void;
    };

    // The tabs, which Gradio's components mount
    mountChat(component: Component<ChatValue | null>): unknown;
    mountConversations(component: Component<ConversationsValue | null>): unknown;
    mountCompare(component: Component<CompareValue | null>): unknown;
    mountOpener(component: Omit<Component<{ limit: number }>, "watch">): unknown;
    mountReading(component: Component<ReadValue | null>): unknown;
    mountInfill(component: Component<InfillValue | null>): unknown;
    mountReview(component: Component<ReviewValue | null>): unknown;
  }
}

interface Window {
  Pellucid: Page.Scripts;
  /** Loaded by Gradio with the first plot. */
  Plotly: { downloadImage(plot: Element, options: { format: "png" | "svg"; filename: string; width: number; height: number }): Promise<string> };
}
