/** Questions at a terminal. They stand on stderr, so that stdout holds nothing but the answer of the command. */
import { createInterface } from "node:readline";
import type { Writable } from "node:stream";
import type { Person } from "../app/surroundings.ts";
import { Failure } from "../base/errors.ts";
import { readSecretLine, type RawInput } from "./secret-line.ts";

export interface PersonOptions {
  input: RawInput;
  output: Writable;
  /** Told when a question is asked and when it is answered: the live line gives way to it. */
  onAsking: (isAsking: boolean) => void;
  signal: AbortSignal;
}

export function createPerson(options: PersonOptions): Person {
  return {
    async confirm(question) {
      const answer = await ask(`${question} [y/N] `, options);
      return /^(y|yes)$/i.test(answer.trim());
    },
    async text(question, suggested) {
      const answer = await ask(suggested === undefined ? `${question} ` : `${question} [${suggested}] `, options);
      return answer.trim() === "" ? (suggested ?? "") : answer.trim();
    },
    async secret(question) {
      const { input, output, onAsking, signal } = options;
      signal.throwIfAborted();
      onAsking(true);
      output.write(`${question} `);
      try {
        return await readSecretLine({ input, signal, interrupt: () => process.kill(process.pid, "SIGINT") });
      } finally {
        output.write("\n");
        onAsking(false);
      }
    },
  };
}

async function ask(question: string, { input, output, onAsking, signal }: PersonOptions): Promise<string> {
  signal.throwIfAborted();
  onAsking(true);
  // Not a "terminal" to readline: the tty itself edits the line, and Ctrl-C stays a signal.
  const lines = createInterface({ input, output, terminal: false });
  const stop = new AbortController();
  try {
    return await new Promise<string>((resolve, reject) => {
      lines.once("close", () =>
        reject(new Failure("run/cancelled", "the question was not answered", { hint: "Nothing was changed." })),
      );
      signal.addEventListener("abort", () => reject(signal.reason as Error), { signal: stop.signal });
      lines.question(question, resolve);
    });
  } catch (error) {
    // What is printed next must not stand behind the question.
    output.write("\n");
    throw error;
  } finally {
    stop.abort();
    onAsking(false);
    lines.close();
  }
}
