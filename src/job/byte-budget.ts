/** So many bytes of memory, shared by whoever works at once: who comes first is served first. */
export class ByteBudget {
  #free: number;
  readonly #total: number;
  readonly #waiting: { bytes: number; go: () => void }[] = [];

  constructor(bytes: number) {
    this.#free = bytes;
    this.#total = bytes;
  }

  /** Does the work while it holds so many bytes; one that wants more than there are gets all. */
  async use<T>(bytes: number, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const wanted = Math.min(bytes, this.#total);
    await this.#take(wanted, signal);
    try {
      return await work();
    } finally {
      this.#free += wanted;
      this.#hand();
    }
  }

  async #take(bytes: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const entry = { bytes, go: resolve };
    const stop = () => {
      const at = this.#waiting.indexOf(entry);
      if (at === -1) return;
      this.#waiting.splice(at, 1);
      reject(signal.reason);
    };
    this.#waiting.push(entry);
    signal.addEventListener("abort", stop, { once: true });
    this.#hand();
    try {
      await promise;
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }

  #hand(): void {
    for (let first = this.#waiting[0]; first !== undefined && first.bytes <= this.#free; first = this.#waiting[0]) {
      this.#waiting.shift();
      this.#free -= first.bytes;
      first.go();
    }
  }
}
