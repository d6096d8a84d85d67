/**
 * The only place that prints. Results go to stdout, everything said to the person beside them to stderr. All text goes
 * through the redactor, and control characters that came with the data are made visible, so that a file's name can
 * neither leak a secret nor play with the terminal.
 */
import { Failure, messageOf } from "../base/errors.ts";
import { OWN_SEQUENCE } from "./look.ts";
import type { Redactor } from "./redact.ts";

/** What is needed of `process.stdout` and `process.stderr`. */
export interface Sink {
  write(data: string | Uint8Array, done: (error?: Error | null) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
}

export interface PrinterOptions {
  stdout: Sink;
  stderr: Sink;
  redactor: Redactor;
}

const CLEAR_LINE = "\r\u001B[2K";
// A colour sequence of ours, or a control character (group 1) that is none of ours.
const CONTROL = new RegExp(`${OWN_SEQUENCE}|([\\u0000-\\u0008\\u000B-\\u001F\\u007F-\\u009F])`, "g");

/** Shows control characters as `\x1b`; keeps our own colours, tabs and line ends. */
export function showControls(text: string): string {
  return text.replaceAll(CONTROL, (whole, control: string | undefined) =>
    control === undefined ? whole : `\\x${control.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}

export class Printer {
  readonly #stdout: Sink;
  readonly #stderr: Sink;
  readonly #redactor: Redactor;
  readonly #pending = new Set<Promise<void>>();
  #live = "";
  #isClosed = false;
  #failure: Failure | undefined;

  constructor({ stdout, stderr, redactor }: PrinterOptions) {
    this.#stdout = stdout;
    this.#stderr = stderr;
    this.#redactor = redactor;
    stdout.on("error", (error) => this.#lost(error));
    // With nobody left to read what we say, there is nobody to tell.
    stderr.on("error", () => {});
  }

  /** True when whoever read our output has gone (`| head`): not an error, and nothing more is printed there. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** What went wrong with stdout, other than its reader's leaving. */
  get failure(): Failure | undefined {
    return this.#failure;
  }

  /** Lines of the answer, to stdout. */
  out(lines: string | readonly string[]): void {
    this.#write("stdout", this.#clean(lines));
  }

  /** Lines for the person, to stderr. */
  note(lines: string | readonly string[]): void {
    this.#write("stderr", this.#clean(lines));
  }

  /** One JSON object on one line of stdout. */
  json(value: object): void {
    this.#write("stdout", `${JSON.stringify(this.#redactor.redactDeep(value))}\n`);
  }

  /**
   * The raw bytes that were asked for, unchanged; resolves when they are written.
   * @throws Failure when stdout takes no more, or its reader has gone.
   */
  async bytes(data: Uint8Array): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#stdout.write(data, (error) => (error ? reject(this.#lost(error)) : resolve()));
    });
  }

  /** Shows (or, with "", takes away) one line at the bottom that stands until it is drawn again. */
  live(line: string): void {
    const text = this.#redactor.redact(line);
    if (text === this.#live) return;
    this.#live = text;
    this.#send(this.#stderr, CLEAR_LINE + showControls(text));
  }

  /** Resolves when everything is written. */
  async flush(): Promise<void> {
    this.live("");
    while (this.#pending.size > 0) await Promise.all(this.#pending);
  }

  #clean(lines: string | readonly string[]): string {
    const text = typeof lines === "string" ? lines : lines.join("\n");
    return text === "" && typeof lines !== "string" ? "" : `${showControls(this.#redactor.redact(text))}\n`;
  }

  #write(to: "stdout" | "stderr", text: string): void {
    if (text === "" || (to === "stdout" && this.#isClosed)) return;
    if (this.#live !== "") this.#send(this.#stderr, CLEAR_LINE);
    this.#send(to === "stdout" ? this.#stdout : this.#stderr, text);
    if (this.#live !== "") this.#send(this.#stderr, showControls(this.#live));
  }

  #send(sink: Sink, text: string): void {
    const written = new Promise<void>((resolve) => {
      sink.write(text, (error) => {
        if (error && sink === this.#stdout) this.#lost(error);
        resolve();
      });
    });
    this.#pending.add(written);
    void written.then(() => this.#pending.delete(written));
  }

  #lost(error: Error): Failure {
    const failure = new Failure("target/unsuitable", `cannot write to the standard output: ${messageOf(error)}`, {
      hint: "Look at the disk or the program that the output goes to.",
      cause: error,
    });
    if ("code" in error && error.code === "EPIPE") this.#isClosed = true;
    else this.#failure ??= failure;
    return failure;
  }
}
