/** What a verb tells whoever watches it. The terminal, `--json` and tests each make their own of it. */
export interface Progress {
  /** A new stage began; `total` in the stage's unit when it is known. */
  stage(name: string, options?: { total?: number; unit?: "bytes" | "rows" | "files" }): void;
  /** So much more of the present stage is done. */
  advance(amount: number): void;
  /** One line that a person should see, now. */
  say(line: string): void;
}

/** Says nothing. */
export const silent: Progress = { stage() {}, advance() {}, say() {} };
