/** A list box for mouse and keyboard: one option is selected, and the list is one tab stop. */

export interface Handlers {
  onSelect(index: number): void;
  /** Whether a click on any option acts like Enter, not only a click on the selected one. */
  readonly oneClick: boolean;
  /** Enter, or a click. */
  onEnter(index: number): void;
  /** Escape. */
  onLeave(): void;
}

const STEPS: Record<string, number> = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };

export class Listbox {
  private options: HTMLElement[] = [];
  selected = 0;

  constructor(
    private readonly element: HTMLElement,
    private readonly handlers: Handlers,
  ) {
    element.tabIndex = 0;
    element.addEventListener("keydown", (event) => this.press(event));
  }

  /** Replaces the options. */
  fill(options: HTMLElement[], selected: number): void {
    this.options = options;
    options.forEach((option, index) => {
      option.id = `${this.element.id}-${index}`;
      option.setAttribute("role", "option");
      option.addEventListener("click", () => this.click(index));
    });
    this.element.replaceChildren(...options);
    this.select(selected);
  }

  /** Adds an element that is not an option. */
  append(other: HTMLElement): void {
    this.element.append(other);
  }

  focus(): void {
    this.element.focus();
  }

  private select(index: number): void {
    const option = this.options[index];
    if (option === undefined) {
      this.element.removeAttribute("aria-activedescendant");
      return;
    }
    this.selected = index;
    this.options.forEach((one) => one.setAttribute("aria-selected", String(one === option)));
    this.element.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
    this.handlers.onSelect(index);
  }

  private click(index: number): void {
    const again = index === this.selected;
    this.focus();
    this.select(index);
    if (again || this.handlers.oneClick) {
      this.handlers.onEnter(index);
    }
  }

  private press(event: KeyboardEvent): void {
    const last = this.options.length - 1;
    const step = STEPS[event.key];
    if (step !== undefined) {
      this.select(Math.min(last, Math.max(0, this.selected + step)));
    } else if (event.key === "Home" || event.key === "End") {
      this.select(event.key === "Home" ? 0 : last);
    } else if (event.key === "Enter" || event.key === " ") {
      this.handlers.onEnter(this.selected);
    } else if (event.key === "Escape") {
      this.handlers.onLeave();
    } else {
      return;
    }
    event.preventDefault();
  }
}
