/** So much of something (bytes of memory, places), shared by whoever works at once: who comes first is served first. */
export class Budget {
  #free: number;
  readonly #total: number;
  readonly #waiting: { amount: number; go: () => void }[] = [];

  constructor(total: number) {
    this.#free = total;
    this.#total = total;
  }

  /** Does the work while it holds so much; one that wants more than there is gets all. */
  async use<T>(amount: number, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const wanted = Math.min(amount, this.#total);
    await this.#take(wanted, signal);
    try {
      return await work();
    } finally {
      this.#free += wanted;
      this.#hand();
    }
  }

  async #take(amount: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const entry = { amount, go: resolve };
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
    for (let first = this.#waiting[0]; first !== undefined && first.amount <= this.#free; first = this.#waiting[0]) {
      this.#waiting.shift();
      this.#free -= first.amount;
      first.go();
    }
  }
}
