/** The command line at a terminal, as a person has it: `script` is the terminal. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { CHATKEEP } from "./cli.ts";

export interface Typing {
  /** What is waited for before anything is typed. */
  question: RegExp;
  typed: string;
}

/** Runs it at a terminal of 100 columns; what is typed comes when its question stands there, one after the other. */
export async function atTerminal(
  { config, root }: { config: string; root: string },
  args: readonly string[],
  ...typing: readonly Typing[]
): Promise<{ status: number; screen: string }> {
  const words = [process.execPath, CHATKEEP, "--config", config, ...args].map((word) => `'${word}'`);
  const child = spawn("script", ["-qec", `stty cols 100 && exec ${words.join(" ")}`, "/dev/null"], {
    cwd: root,
    env: { ...process.env, TERM: "xterm", NO_COLOR: "1", NODE_TEST_CONTEXT: undefined, CHATKEEP_CONFIG: undefined },
    stdio: ["pipe", "pipe", "inherit"],
  });
  let screen = "";
  const left = [...typing];
  let answeredTo = 0;
  child.stdout.on("data", (data: Buffer) => {
    screen += data.toString("utf8");
    const [next] = left;
    if (next === undefined || !next.question.test(screen.slice(answeredTo))) return;
    left.shift();
    answeredTo = screen.length;
    child.stdin.write(next.typed);
  });
  const [status] = (await once(child, "close")) as [number];
  assert.deepEqual(left, [], `a question did not come:\n${screen}`);
  return { status, screen };
}
