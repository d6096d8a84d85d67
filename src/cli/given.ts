/** The arguments and options of one call, read by name. */
import { bug } from "../base/errors.ts";

export class Given {
  readonly #args: readonly (string | undefined)[];
  readonly #options: Readonly<Record<string, unknown>>;

  constructor(args: readonly (string | undefined)[], options: Readonly<Record<string, unknown>>) {
    this.#args = args;
    this.#options = options;
  }

  /** A required argument. */
  argument(index: number): string {
    const value = this.#args[index];
    if (value === undefined) throw bug(`argument ${index} is not in the table of commands`);
    return value;
  }

  optionalArgument(index: number): string | undefined {
    return this.#args[index];
  }

  /** Every argument from this one on: those of a repeated one. */
  argumentsFrom(index: number): string[] {
    return this.#args.slice(index).filter((value) => value !== undefined);
  }

  /** True when a switch, or an option whose value may be left out, was given. */
  has(name: string): boolean {
    return this.#options[name] !== undefined && this.#options[name] !== false;
  }

  text(name: string): string | undefined {
    const value = this.#options[name];
    return typeof value === "string" ? value : undefined;
  }

  /** True when an empty word was given as the option's value, or as one of them. */
  isEmpty(name: string): boolean {
    const value = this.#options[name];
    return value === "" || (Array.isArray(value) && value.includes(""));
  }

  /** Every value of a repeated option; values may also be parted by commas. */
  list(name: string): string[] {
    const value = this.#options[name];
    if (!Array.isArray(value)) return [];
    return value
      .flatMap((item) => String(item).split(","))
      .map((item) => item.trim())
      .filter((item) => item !== "");
  }
}
