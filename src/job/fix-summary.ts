/** What `doctor --fix` did. */
export interface FixLine {
  /** For people: what it is about. */
  what: string;
  outcome: "done" | "declined" | "failed" | "told";
  /** The statement or line. */
  line: string | null;
  /** How it is taken back where it was done; else why it was not. */
  note: string;
}
