/**
 * The types that the page's modules share, for editors and `make lint-js`; the page does not load this file.
 */

declare namespace Page {
  // Tokens

  /** A token as pellucid_webui/conversations/compact_tokens.py writes it. Logprobs and entropies are in nats. */
  interface TokenRecord {
    /** Token id; -1 until it is known. */
    i: number;
    /** Text. */
    t: string;
    /** Base64 of the bytes, where they are not those of the text. */
    b?: string;
    /** Logprob; null for a token without a prediction, such as the first one of a text. */
    l: number | null;
    /** Rank, from 1. */
    r: number | null;
    /** Entropy of the distribution; null if the engine does not report it. */
    e: number | null;
    /** Bounds of an entropy that is not known exactly. */
    h?: [least: number, most: number];
    /** Probability after the sampler's settings; null for a token that was read, and if the engine does not report it. */
    s: number | null;
    /** Probability of all tokens that are neither this one nor among the alternatives. */
    o: number;
    /** Most likely tokens, best first; under a constraint, of those that it allows. */
    a: AlternativeRecord[];
    /** Where the token must repeat what was typed: the probability of all tokens that do. */
    c?: number;
    /** Under a grammar: the probability of all tokens that it allows, their number, and the token's logprob among them. */
    g?: [mass: number, allowed: number, logprob: number];
    /** The text of a token of the reasoning before an answer. */
    q?: string;
    /** In a tool call: its index, and what the token adds to calls. */
    p?: [call: number, ...deltas: CallDeltaRecord[]];
  }

  /** A token with a prediction: logprob and rank come together. */
  interface PredictedRecord extends TokenRecord {
    l: number;
    r: number;
  }

  type CallDeltaRecord = [index: number, args: string, id?: string, name?: string];

  type AlternativeRecord = [id: number, text: string, logprob: number, bytes?: string];

  /** JSON of an array of TokenRecord. */
  type Batch = string;

  /** How much two models differ in a token, from -1 to 1, and that in words. */
  interface TokenDifference {
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

  type Mode = "probability" | "rank" | "surprisal" | "entropy" | "difference";

  /** The class of a token of whose entropy only a range is known, or nothing. */
  type InexactEntropy = "bounded" | "unmeasured";

  interface LegendScale {
    /** Class names, from the first step to the last. */
    scale: string[];
    /** What the first step means: a word and a number. */
    from: string[];
    /** What the last step means: a number and a word. */
    to: string[];
  }

  interface LegendMeaning {
    meaning: string;
  }

  interface RetiredMode {
    mode: Mode;
    text: string;
  }

  interface LegendSample {
    /** Class name. */
    sample: string;
    text?: string;
    /** Index of the rank that ends this colour; null for the last colour. */
    threshold?: number | null;
  }

  type LegendPart = LegendScale | LegendSample | LegendMeaning;

  /** A part of a text; a picture replaces a character without a visible shape. */
  interface Piece {
    kind: "text" | "newline" | "tab" | "picture";
    text: string;
  }

  // What the server sends

  /** A file for the browser to save. */
  interface SavedText {
    name: string;
    type: string;
    text: string;
  }

  /** The state of a conversation, as routes/conversation_display.py writes it. */
  interface ChatState {
    id: string | null;
    title: string;
    /** JSON of a ChatMessage each. */
    messages: string[];
    /** An answer that is being generated, without its text. */
    live: ChatMessage | null;
    redo: number | null;
    /** Bytes. */
    fileLimit: number;
    /** Bytes of all attached files together. */
    filesLimit: number;
    /** Bytes of all pictures of a message together. */
    picturesLimit: number;
    mostPictures: number;
    /** The model that answers next. */
    model: string;
    /** All models. */
    models: string[];
    context: ContextState | null;
    use: ContextUse | null;
    /** While the conversation is opened: its settings, and the served models. */
    settings?: Record<string, any> | null;
    header?: HeaderValue;
  }

  /** What a tab shows. */
  interface ChatValue extends Omit<ChatState, "messages" | "live"> {
    messages: ChatMessage[];
    live: LiveAnswer | null;
  }

  /** What an answer has gained: `n` numbers the event, `blocks` replace all blocks from `keep` on. */
  interface TurnEvent {
    /** The number of batches so far; null if the answer had ended before. */
    n: number | null;
    keep: number;
    blocks: string[];
    tokens?: Batch[];
    stats: string;
    use: ContextUse | null;
    /** What the reasoning gains; all of it where it begins. */
    reasoning: string;
    begins: boolean;
    end?: boolean;
    /** Why the answer could not be saved. */
    error?: string | null;
  }

  /** What the model sees of a conversation. */
  interface ContextState {
    /** The first message that it sees; null if it sees all. */
    begins: number | null;
    /** What it reads instead of those before; may be empty. */
    summary: string;
    /** Whether it has room for all messages again, as after the choice of another model. */
    fits: boolean;
    notice: ContextWarning | null;
  }

  interface ContextWarning {
    text: string;
    /** The action to repeat with a remedy; null if nothing was refused. */
    action: { verb: string; node: number; index?: number; alternative?: number } | null;
    isFull: boolean;
    canDrop: boolean;
  }

  interface AttachLimits extends Pick<ChatValue, "model" | "fileLimit" | "filesLimit" | "picturesLimit" | "mostPictures"> {
    seesImages: boolean;
  }

  interface AttachOptions {
    field: HTMLElement;
    limits: () => AttachLimits | null;
    /** Shows why files were not attached; empty if all were. */
    refuse: (sentences: string) => void;
  }

  type IconName =
    | "copy"
    | "tokens"
    | "versions"
    | "compare"
    | "picture"
    | "text"
    | "edit"
    | "regenerate"
    | "continue"
    | "options"
    | "details"
    | "answer"
    | "settings"
    | "palette"
    | "light"
    | "dark"
    | "system"
    | "help"
    | "add"
    | "back"
    | "chevron"
    | "close"
    | "download"
    | "folder"
    | "folderAdd"
    | "more"
    | "out"
    | "pin"
    | "remove"
    | "tick"
    | "undo"
    | "up"
    | "down"
    | "upload";
  /** The tokens of the answer that is inspected. */
  interface OpenedTokens {
    node: number;
    batches: Batch[];
  }

  /** A token that stood where a version was branched. */
  interface BranchedToken {
    at: number;
    text?: string;
    p?: number | null;
  }

  /** Where the tokens of an answer are in its rendered text, as pellucid_webui/inspection/token_places.py writes it. */
  interface Marks {
    lengths: number[];
    /** Token, block, first UTF-16 unit, the one after the last, and step of the colour, for each piece of a token. */
    places: number[];
    unsure: number[];
    /** The least probable token that is shown. */
    least: number | null;
    count: number;
    surprisal: MeanSurprisal;
    /** The number of versions. */
    versions: number;
    branched: BranchedToken | null;
    /** Whether the answer's model reports the experts of tokens. */
    experts: boolean;
  }

  interface LiveAnswer {
    message: ChatMessage;
    blocks: string[];
    tokens: Batch[];
    stats: string;
    use: ContextUse | null;
    reasoning: string;
  }

  interface ChatMessage {
    node: number;
    role: string;
    versions: number[];
    /** Whether it is shown as tokens. */
    asTokens: boolean;
    about: string;
    /** What the model wrote before the answer. */
    reasoning?: string;
    sampling?: Sampling;
    model?: string;
    /** Whether it ended because the context was full. */
    isFull?: boolean;
    canContinue?: boolean;
    text: string;
    /** The names of the pictures. */
    pictures?: string[];
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
    marks?: Marks;
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
    /** Of a picture; texts have none. */
    type?: string;
  }

  interface ConversationsValue {
    items: ConversationItem[];
    isCut: boolean;
    folders: ConversationFolder[];
    /** Those that can be restored; `deleted` is in seconds since 1970. */
    deleted: { id: string; title: string; deleted: number }[];
    /** Days for which they can be restored. */
    keptDays: number;
    search: string;
    /** Bytes. */
    importLimit: number;
    /** Results of an action. */
    notice?: string;
    removed?: Removed;
    match?: SearchMatch;
    file?: SavedText;
    /** A conversation to open. */
    opens?: string;
  }

  interface ConversationItem {
    id: string;
    title: string;
    /** Seconds since 1970. */
    updated: number;
    messages: number;
    pinned: boolean;
    folder: string | null;
    /** With a search: the best match, its message, and the number of messages that match. */
    snippet?: string;
    node?: number | null;
    matches?: number;
  }

  interface ConversationFolder {
    id: string;
    name: string;
    collapsed: boolean;
  }

  /** A deletion that can be undone; `ids` are the conversations that were in a deleted folder. */
  interface Removed {
    kind: "conversation" | "folder";
    id: string;
    title: string;
    wasOpen?: boolean;
    ids?: string[];
  }

  /** The match of a search to show, among all matching messages of its conversation. */
  interface SearchMatch {
    conversation: string;
    node: number;
    nodes: number[];
    search: string;
  }

  interface RowActions {
    act: (verb: string, more?: object) => void;
    open: (id: string, node?: number | null) => void;
    menu: (item: ConversationItem) => MenuItem[];
    folderMenu: (id: string) => MenuItem[];
  }

  /** What the chat tells the editor that shows it. */
  type ToEditor =
    | { kind: "ready" | "reload" | "openPage" }
    | { kind: "opened"; id: string | null }
    | { kind: "code"; verb: "insert" | "apply"; code: string };

  /** What a menu of Gradio's shows: names and values, the chosen value, and a hint. */
  interface MenuUpdate {
    choices: [name: string, value: string][];
    value: string | null;
    info?: string;
  }

  interface MenuItem {
    text: string;
    icon: IconName;
    /** The key that does the same in the list. */
    key?: string;
    /** For one of several choices: whether it is the present one. */
    checked?: boolean;
    run: () => void;
  }

  interface CompareValue {
    number: number;
    status: string;
    wrong: boolean;
    running: boolean;
    /** Whether the columns read the reference in place of an answer. */
    reads: boolean;
    columns: CompareColumnValue[];
    /** Null until the comparison has ended. */
    summary: { sentences: string[]; matrix: string[][]; figures: string[][]; jumps: CompareJump[] } | null;
    /** JSON of a CompareAnalysis whose readings are batches; null until the comparison has ended. */
    analysis: string | null;
    models: string[];
    form: CompareFormValue | null;
    file?: SavedText;
    /** The row of a batch that this comparison is. */
    row?: { batch: number; number: number };
  }

  interface CompareFormValue {
    prompt: string;
    reference: string;
    columns: CompareSettings[];
    /** How many answers each column gives to each prompt; one if it is not there. */
    seeds?: number | string;
  }

  interface BatchHead {
    key: string;
    name: string;
    hint: string;
    kind: "text" | "token" | "bits" | "share" | "count";
  }

  /** Followed by the figures in the order of the heads; 999 is infinity, null unknown, or "same" for a token. */
  type BatchRow = [number: number, prompt: string, seeds: number[], error: string, ...figures: (number | null)[]];

  interface BatchValue {
    /** Rises with each payload. */
    order: number;
    number: number;
    name: string;
    status: string;
    wrong: boolean;
    running: boolean;
    heads: BatchHead[];
    /** JSON of the rows that ended at the same time. */
    rows: string[];
    total: number;
    /** Rows without figures. */
    left: number;
    summary: { sentences: string[]; table: string[][]; most: number[] } | null;
    form: CompareFormValue | null;
    chosen: { name: string; count: number } | null;
    /** Largest size of a file of prompts, in bytes. */
    limit: number;
    file?: SavedText;
    /** The name of the review that was made of the batch just now. */
    review?: string;
  }

  /** What a new review is made of; a prompt a line. */
  interface ReviewFormValue {
    name: string;
    prompts: string;
    columns: CompareSettings[];
  }

  /** What a batch needs of the Compare tab. */
  interface CompareHost {
    readonly tab: string;
    readonly form: import("../compare/compare_form.js").CompareForm;
    readonly value: CompareValue | null;
    ask(data: object): void;
    say(text: string, isWrong?: boolean): void;
  }

  /** What a picture of a comparison is drawn from. */
  interface PicturedComparison {
    readonly element: HTMLElement;
    readonly value: CompareValue | null;
    readonly columns: import("../compare/compare_column.js").CompareColumn[];
    readonly legend: HTMLElement;
    readonly mode: CompareSelect;
    readonly viewChoice: CompareSelect;
    readonly whatIf: import("../compare/compare_whatif.js").CompareWhatIf;
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
    /** At the what-if sliders' settings; null in the other views. */
    weighed: WhatIfResult | null;
  }

  type CompareView = "own" | "sampled" | "whatif";

  interface CompareLink {
    ratio: [low: number, high: number] | null;
    kl: [low: number, high: number] | null;
    /** Tokens that the ratio is of. */
    tokens: number;
    /** Whether it is at the what-if sliders' settings. */
    isWhatIf?: boolean;
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
    /** Whether the columns read a text, and answered nothing. */
    reads: boolean;
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

  /** A running reading. */
  interface ReadProgress {
    number: number;
    /** How many tokens there are: the page asks for them. */
    tokens: number;
    share: number;
    words: string;
  }

  interface ReadResult {
    number: number;
    model: string;
    /** The second model, if one has read the text: the bits that it saves can be asked for. */
    second: string;
    tokens: number;
    summary: string;
    /** How a text that is longer than the context was read. */
    note: string;
    figures: [name: string, figure: string, hint: string][];
    /** JSON of LineColumns. */
    lines: string | null;
    charts: Chart[];
    /** JSON of DiffHunk[]. */
    diff: string | null;
  }

  interface ReadEnd {
    status: string;
    wrong: boolean;
    /** Null for a reading without a token. */
    result: ReadResult | null;
  }

  /** The menus, and the tab's last reading. */
  interface ReadOpened {
    model: MenuUpdate;
    second: MenuUpdate;
    asked: ReadAsked | null;
    result: ReadResult | null;
  }

  /** What the controls ask to be read. */
  interface ReadAsked {
    text: string;
    model: string;
    second: string;
    kind: string;
  }

  /** Bits and tokens of a piece by both models, the second one's rank and bounds of its entropy (nats), and the text of a piece of several tokens. */
  type BothFigures = [first: number, second: number, here: number, there: number, rank: number | null, entropy: [least: number, most: number] | null, text: string];

  /** The lines that have tokens, one item in each list. Bits are surprisals. */
  interface LineColumns {
    /** From 1. */
    number: number[];
    /** Index of the first token. */
    first: number[];
    tokens: number[];
    /** Index of the most surprising token. */
    peak: number[];
    bits: number[];
    /** Of the most surprising token. */
    most: number[];
    /** By the second model. */
    saved?: number[];
  }

  interface Chart {
    name: string;
    axis: string;
    labels: string[];
    counts: number[];
    /** A sentence on tokens that are not counted; empty if all are. */
    note: string;
  }

  /** Bits are null for what was not read. */
  type DiffSide = [kind: string, number: number, bits: number | null, pieces: [text: string, bits: number | null][]] | null;

  interface DiffHunk {
    file: string;
    section: string;
    rows: [DiffSide, DiffSide][];
  }

  type ReadPartKind = "tokens" | "saved" | "alternatives" | "second";

  /** Tokens without alternatives, one item in each list. */
  interface TokenColumns {
    t: string[];
    l: (number | null)[];
    r: (number | null)[];
    e: (number | null)[];
    /** Bounds of the entropies that are not known exactly, by index. */
    h?: Record<string, [least: number, most: number]>;
    /** Base64 of the bytes that are not those of the text, by index. */
    b: Record<string, string>;
  }

  interface LineListOptions {
    /** Called with an index of the columns. */
    onGo: (index: number) => void;
    /** Called to move on to the line's most surprising token. */
    onEnter: (index: number) => void;
    onSort: () => void;
  }

  interface TextMinimapOptions {
    onGo: (line: number) => void;
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
    isLoggedIn: boolean;
    status: string;
    /** For a rater who has judged all pairs. */
    results: { sentences: string[]; table: string[][] } | null;
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
    difference: TokenDifference | null;
    verdict: WhatIfResult | null;
    /** A sentence about the token. */
    note?: string;
    /** Whether the sampler drew the token with a probability that the engine did not report. */
    isUnreported?: boolean;
    onBranch: ((alternative: number) => void) | null;
    onClose: () => void;
    anchor: HTMLElement;
    /** What the card does not cover where there is room. */
    clear?: HTMLElement | null;
    /** In place of the token's figures. */
    figures?: HTMLElement | null;
    /** A sentence below the alternatives. */
    hint?: string;
  }

  type CardExtras = Pick<CardOptions, "figures" | "hint">;

  interface TokenCard {
    readonly element: HTMLElement;
    readonly isOpen: boolean;
    readonly hasFocus: boolean;
    show(options: CardOptions): void;
    hide(): void;
    place(): void;
    enter(): boolean;
  }

  /** What an inspector shows the tokens of: a heat map, or rendered text. */
  interface TokenOwner {
    readonly verdicts: WhatIfVerdicts;
    step(direction: number): unknown;
    /** The inspector shows the tokens of another owner from now on. */
    lose(): void;
  }

  interface InspectorOptions {
    onStep: (direction: number) => void;
    onClose: () => void;
    onSamples: (index: number, alternative: number, count: number) => void;
    onTree: (index: number) => void;
    placeWithExperts: (index: number) => PlaceInAnswer | null;
  }

  interface Inspector extends Dock {
    readonly element: HTMLElement;
    wait(owner: TokenOwner): void;
  }

  /** A word that is worth a look, with the step of its colour. */
  interface OfferedWord {
    token: number;
    text: string;
    step: number;
    go: () => void;
  }

  /** What the rendered text of answers shows: nothing, underlined unsure words, or a colour for each token. */
  type InspectState = "text" | "unsure" | "heat";

  interface RenderedTokens extends WalkedTokens {
    readonly count: number;
    /** The tokens that are shown. */
    readonly order: number[];
    /** Those of them that are unsure. */
    readonly stops: number[];
    paint(name: string, ranges: Range[]): void;
    paintUnsure(): void;
    paintSteps(stepOf: ((token: number) => number | null) | null): void;
    clearSteps(): void;
    clear(): void;
    ranges(token: number): Range[];
    worthALook(least: number | null): Omit<OfferedWord, "go">[];
    at(x: number, y: number): number | null;
    next(token: number | null, direction: number, among?: number[]): number | null;
  }

  interface RenderedAnswer extends TokenOwner {
    readonly message: Message;
    readonly marks: Marks;
    readonly blocks: string[];
    readonly tokens: RenderedTokens;
    /** The token that the inspector shows. */
    readonly shown: number | null;
    paint(): void;
    placeBranch(): void;
    show(token: number, spoken?: boolean): void;
    arrive(records: TokenRecord[]): void;
    step(direction: number): boolean;
    go(token: number): void;
    move(key: string): boolean;
    destroy(): void;
  }

  /** Asks for a version that continues from an alternative of a token. */
  interface BranchRequest {
    /** The answer. */
    node: number;
    /** The token. */
    index: number;
    alternative: number;
  }

  /** A token of an answer. */
  interface PlaceInAnswer {
    conversation: string;
    node: number;
    index: number;
  }

  /** A text that can follow, as inspection/continuation_tree.py writes it, or a common part of versions. */
  interface ContinuationNode {
    /** Texts of tokens, and their probabilities after what is before. */
    pieces: [text: string, probability: number | null][];
    /** The probability of all up to here; 0 in a fan. */
    mass: number;
    /** The mass by other tokens with the same text. */
    joined: number;
    reread: boolean;
    /** Why nothing follows; empty if something does. */
    end: string;
    versions?: FanMember[];
    nodes: ContinuationNode[];
  }

  interface ContinuationTree {
    before: string;
    nodes: ContinuationNode[];
    leaves: number;
    /** The mass of the leaves, and of all else. */
    covered: number;
    rest: number;
    /** The most that a single token can have that the engine does not list. */
    unlisted: number;
    isCut: boolean;
    isWhole: boolean;
  }

  interface ContinuationRow {
    node: ContinuationNode;
    /** All text from the token on. */
    text: string;
    level: number;
  }

  interface FanMember {
    node: number;
    /** From 1, as the message counts its versions. */
    number: number;
  }

  interface FanVersion extends FanMember {
    records: TokenRecord[];
  }

  interface Fan {
    /** Versions that are no samples. */
    known: Set<number>;
    /** How many samples there will be. */
    count: number;
    versions: FanVersion[];
    asked: Set<number>;
    /** Whether no more samples will come. */
    isOver: boolean;
  }

  interface Inspection {
    readonly state: InspectState;
    readonly inspector: Inspector;
    /** The switch of the three states. */
    readonly bar: HTMLElement;
    /** The messages with the inspector next to them. */
    readonly stage: HTMLElement;
    update(value: ChatValue, messages: Message[]): void;
    arrive(opened: OpenedTokens): void;
    drawLegend(): void;
    askForTokens(node: number): void;
    askForPlaces(): void;
    canBranch(message: Message): boolean;
    branch(node: number, index: number, alternative: number): void;
    pin(answer: RenderedAnswer): void;
    unpin(): void;
    reveal(place: DOMRect): void;
    showTop(element: HTMLElement): void;
  }

  /** An inspector at a fixed place of the page. */
  interface Dock {
    readonly card: TokenCard;
    readonly sliders: WhatIfSliders;
    readonly owner: TokenOwner | null;
    show(owner: TokenOwner, options: CardOptions, count: number): void;
    release(owner: TokenOwner): void;
  }

  /** How a token looks, and its accessible name. */
  interface CellDescription {
    className: string;
    label: string;
  }

  /** Tokens through which keys walk. */
  interface WalkedTokens {
    /** Where a token is in the window; null if it is not shown. */
    place(token: number): DOMRect | null;
    /** The nearest shown token in a direction, or null; from null it is the first one, or the last one. */
    next(token: number | null, direction: number): number | null;
  }

  interface TokenElements extends WalkedTokens {
    /** The token that the Tab key goes to. */
    readonly current: number;
    numberLines(): void;
    between(top: number, bottom: number): [from: number, to: number];
    lineAt(offset: number): number;
    offsetOf(line: number): number;
    readonly all: HTMLElement[];
    clear(): void;
    append(records: TokenRecord[], describe: (index: number) => CellDescription): void;
    describe(index: number, description: CellDescription): void;
    describeAgain(): void;
    indexOf(target: EventTarget | null): number | null;
    place(index: number): DOMRect;
    select(index: number): void;
    focus(index: number): void;
  }

  interface SurprisalBarsOptions {
    onGo: (index: number) => void;
    onPoint: (index: number | null) => void;
  }

  /** How surprising tokens are on average; `bits` is null if no token has a probability. */
  interface MeanSurprisal {
    bits: number | null;
    /** How many tokens have a probability, and how many have none. */
    known: number;
    unknown: number;
  }

  interface GreedyToken {
    text: string;
    base64: string | undefined;
    /** Whether the text has another token at this place. */
    differs: boolean;
  }

  interface TokenColumn {
    name: string;
    /** The direction of the first click: -1 has the largest value on top. */
    first: number;
    value: (record: TokenRecord, index: number) => string | number | null;
  }

  /** How a table is sorted, by the index of a column, and which tokens it shows. */
  interface TokenView {
    column: number;
    direction: number;
    text: string;
    /** The least surprisal in bits. */
    least: number;
    /** Whether only tokens are shown that are not the first choice. */
    isOther: boolean;
  }

  /** What the owner of a map says of its table. */
  interface TableOfTokens {
    /** The name of the files that it saves, without their end; without a name it saves none. */
    file?: string;
    /** What the JSON file says of all tokens. */
    about?: object;
    /** Called with the tokens near the window, whose alternatives may be missing. */
    onSeen?: ((indices: number[]) => void) | null;
  }

  interface TokenTableOptions extends TableOfTokens {
    describe: (index: number) => CellDescription;
    onChoose: (index: number) => void;
    /** Called to move on to what is shown of the chosen token. */
    onEnter: (index: number) => void;
  }

  interface HeatMapToolbarOptions {
    mode: Mode;
    ranks: number[];
    words: string[];
    onMode: (mode: Mode) => void;
    onRanks: (ranks: number[]) => void;
    onNext: () => void;
    onTable?: ((isTable: boolean) => void) | null;
  }

  interface WhatIfVerdicts {
    /** The settings with which the tokens were sampled; null for tokens that were read. */
    used: Sampling | null;
    /** Those of the sliders; null while they are closed. */
    readonly settings: Sampling | null;
    change(settings: Sampling | null): void;
    of(record: TokenRecord): WhatIfResult | null;
    chosen(record: TokenRecord): Weighed | null;
    destroy(): void;
  }

  interface WhatIfSliders {
    readonly element: HTMLDetailsElement;
    readonly value: Sampling | null;
    setUsed(used: Sampling | null): void;
    change(settings: Partial<Sampling>): void;
  }

  /** What a message needs of the chat. */
  interface Chat {
    readonly busy: boolean;
    readonly models: string[];
    readonly inspection: Inspection;
    act(verb: string, more?: Record<string, any>): Promise<Record<string, any> | null>;
    ask(verb: string, more: object): Promise<Record<string, any> | null>;
    toggleTokens(node: number): void;
    inspect(nodes: number[], open: number | null): void;
    focusField(): void;
  }

  interface Message {
    readonly element: HTMLElement;
    readonly body: HTMLElement;
    /** The HTML of the blocks that are shown. */
    readonly drawn: string[];
    readonly map: HeatMap | null;
    data: ChatMessage;
    isLast: boolean;
    /** Whether the chat was busy when the tools were drawn. */
    drawnBusy: boolean | null;
    update(data: ChatMessage): void;
    forgetEdit(): void;
    focus(name: string | null): void;
  }

  interface HeatMapOptions {
    label: string;
    onBranch?: ((index: number, alternative: number) => void) | null;
    onSelect?: ((index: number) => void) | null;
    card?: ((index: number) => CardExtras) | null;
    dock?: Dock | null;
    /** Whether a model has generated the tokens. */
    generated?: boolean;
    /** Lets the user choose a table instead. */
    table?: TableOfTokens | null;
  }

  interface HeatMap extends TokenOwner {
    onBranch: ((index: number, alternative: number) => void) | null;
    readonly cells: TokenElements;
    readonly mode: Mode;
    /** The token whose card is open. */
    readonly shown: number | null;
    showCard(index: number): void;
    set(records: TokenRecord[]): void;
    add(records: TokenRecord[]): void;
    setDifferences(differences: (TokenDifference | null)[], words?: string[]): void;
    setSampling(settings: Sampling | null): void;
    setBranch(branch: { index: number; text: string } | null): void;
    setMode(mode: Mode): void;
    focusToken(index: number): void;
    markRange(from: number, to: number): void;
    destroy(): void;
  }

}
