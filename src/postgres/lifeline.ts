/** How a session ends: when its signal is aborted, when the server ends it, or when we are done with it. */
import type { Client } from "pg";
import { streamOf } from "./sign-in.ts";

export class Lifeline {
  readonly #client: Client;
  readonly #signal: AbortSignal;
  readonly #onAbort: () => void;
  #isClosed = false;
  #end: Error | undefined;

  /** @param client signed in. */
  constructor(client: Client, signal: AbortSignal) {
    this.#client = client;
    this.#signal = signal;
    this.#onAbort = () => this.destroy();
    signal.addEventListener("abort", this.#onAbort, { once: true });
    client.on("error", (error: Error) => this.endedBy(error));
    client.once("end", () => this.#letGo());
  }

  /** True until the session was ended by either side. */
  get isOpen(): boolean {
    return !this.#isClosed && this.#end === undefined;
  }

  /** What the server said when it ended the session. */
  get end(): Error | undefined {
    return this.#end;
  }

  /** The first word counts: later ones only say that the session is gone. */
  endedBy(error: Error): void {
    this.#end ??= error;
  }

  /** Ends the session at once; the server notices when it next sends. */
  destroy(): void {
    this.#letGo();
    streamOf(this.#client)?.destroy();
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#letGo();
    // A session that is cut already has nothing to say good-bye to.
    await this.#client.end().catch(() => {});
  }

  #letGo(): void {
    this.#isClosed = true;
    this.#signal.removeEventListener("abort", this.#onAbort);
  }
}
