/** What the pool's test has its workers do. */
import { threadId } from "node:worker_threads";
import { Failure } from "../../src/base/errors.ts";
import { serveWork, type WorkHandler, type WorkTools } from "../../src/repo/work.ts";

export type Task =
  | { do: "double"; number: number }
  | { do: "post"; text: string }
  | { do: "foreseen" }
  | { do: "fail" }
  | { do: "crash" }
  | { do: "exit" }
  | { do: "wait" };

export interface Init {
  add: number;
}

export async function openHandler(init: Init, tools: WorkTools<string>): Promise<WorkHandler<Task, number>> {
  if (Number.isNaN(init.add)) throw new Failure("store/denied", "no worker today");
  const foreseen: string[] = [];
  return {
    foresee: (task) => void foreseen.push(task.do),
    run: async (task) => {
      switch (task.do) {
        case "double":
          return task.number * 2 + init.add;
        case "post":
          tools.post(task.text);
          return threadId;
        case "foreseen":
          // What came after it had time to come.
          await new Promise((resolve) => setImmediate(resolve));
          tools.post(foreseen.join(" "));
          return foreseen.length;
        case "fail":
          throw new Failure("store/full", "no space left", { hint: "Free some." });
        case "crash":
          setImmediate(() => {
            throw new Error("something nobody caught");
          });
          return await new Promise<number>(() => {});
        case "exit":
          process.exit(7);
        case "wait":
          return await new Promise<number>((_, reject) => {
            tools.signal.addEventListener("abort", () => reject(tools.signal.reason), { once: true });
          });
        default:
          throw task satisfies never;
      }
    },
    close: async () => tools.post("closed"),
  };
}

if (threadId !== 0) serveWork(openHandler);
