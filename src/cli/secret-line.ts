/** Reads one line from a terminal without showing it. */
import { StringDecoder } from "node:string_decoder";
import type { Readable } from "node:stream";
import { Failure } from "../base/errors.ts";

export interface RawInput extends Readable {
  setRawMode?: (isRaw: boolean) => unknown;
}

export interface SecretLineOptions {
  input: RawInput;
  /** Ctrl-C: in this mode it is a character, and must become the signal that it would have been. */
  interrupt: () => void;
  signal: AbortSignal;
}

const END = new Set(["\r", "\n"]);
const CTRL_C = "\u0003";
const CTRL_D = "\u0004";
const CTRL_U = "\u0015";
const DELETE = new Set(["\u007F", "\b"]);

/** @throws Failure `run/cancelled` when the input ends before the line does. */
export async function readSecretLine({ input, interrupt, signal }: SecretLineOptions): Promise<string> {
  signal.throwIfAborted();
  const decoder = new StringDecoder("utf8");
  const typed: string[] = [];
  const done = new AbortController();
  input.setRawMode?.(true);
  try {
    return await new Promise<string>((resolve, reject) => {
      const onEnd = () =>
        reject(new Failure("run/cancelled", "the question was not answered", { hint: "Nothing was changed." }));
      const onData = (data: Buffer | string) => {
        for (const char of typeof data === "string" ? data : decoder.write(data)) {
          if (END.has(char)) resolve(typed.join(""));
          else if (char === CTRL_C) interrupt();
          else if (char === CTRL_D) onEnd();
          else if (char === CTRL_U) typed.length = 0;
          else if (DELETE.has(char)) typed.pop();
          else typed.push(char);
        }
      };
      input.on("data", onData);
      input.once("end", onEnd);
      done.signal.addEventListener("abort", () => {
        input.off("data", onData);
        input.off("end", onEnd);
      });
      signal.addEventListener("abort", () => reject(signal.reason as Error), { signal: done.signal });
    });
  } finally {
    done.abort();
    input.setRawMode?.(false);
    input.pause();
  }
}
