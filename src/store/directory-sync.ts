/** Makes names durable: syncs directories, many waiters to one call. */
import { syncFolder } from "../system/folders.ts";

interface Round {
  folders: Set<string>;
  done: Promise<void>;
}

export class DirectorySync {
  #running: Promise<void> = Promise.resolve();
  #next: Round | undefined;

  /** Resolves when every name that the folder has now is durable. */
  async sync(folder: string): Promise<void> {
    // A round that has begun may have passed the folder already, so a new name always waits for the next one.
    if (this.#next === undefined) {
      const folders = new Set<string>();
      const done = this.#running.then(async () => {
        this.#next = undefined;
        await Promise.all([...folders].map(syncFolder));
      });
      this.#next = { folders, done };
      this.#running = done.catch(() => {});
    }
    this.#next.folders.add(folder);
    await this.#next.done;
  }
}
