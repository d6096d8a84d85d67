/**
 * Connections that begin in another network of this machine: a container's, say, in which 127.0.0.1 is the container itself.
 * A socket belongs for good to the network that it was made in. So a child of ours is started in there by nsenter(1), makes
 * the connection, and hands it over (the engine of Node sends open sockets between parent and child): what goes over it
 * afterwards passes nobody else. It takes root, Linux, and util-linux, which every distribution has.
 */
import { spawn } from "node:child_process";
import { Socket } from "node:net";
import process from "node:process";
import { Failure, messageOf } from "../base/errors.ts";
import { ownPartCommand } from "./own-parts.ts";

/** As `network-part.ts` sends it. */
export type PartAnswer =
  | { readonly kind: "connected" }
  | { readonly kind: "failed"; readonly message: string; readonly code: string | undefined };

export interface Inside {
  readonly host: string;
  readonly port: number;
  readonly signal: AbortSignal;
}

/** A machine at its limits starts a program within seconds. Milliseconds. */
const PATIENCE_MS = 30_000;

/** Whether this process may enter other networks of the machine at all. */
export function mayEnterNetworks(): boolean {
  return process.platform === "linux" && process.getuid?.() === 0;
}

/**
 * Connects from within the network of a process.
 * @param pid Of this machine.
 * @throws Failure `database/unreachable` when nothing listens there, or the network cannot be entered; the signal's reason.
 */
export async function connectInside(pid: number, { host, port, signal }: Inside): Promise<Socket> {
  signal.throwIfAborted();
  const [program, ...args] = ownPartCommand(partFile());
  const child = spawn("nsenter", [`--net=/proc/${pid}/ns/net`, "--", program, ...args, host, String(port)], {
    stdio: ["ignore", "ignore", "pipe", "ipc"],
    // What it has to say is an answer, and no warning of an option that is meant for this process.
    env: { ...process.env, NODE_OPTIONS: undefined },
  });
  let said = "";
  child.stderr?.on("data", (text: Buffer) => (said = `${said}${text.toString()}`.slice(0, 2_000)));
  const over = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]);
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  child.on("error", (error) => reject(notEntered(messageOf(error), error)));
  child.on("exit", () => {
    // What it sent may still be on its way.
    child.once("disconnect", () => reject(notEntered(said.trim() || "the program in there ended")));
    if (!child.connected) reject(notEntered(said.trim() || "the program in there ended"));
  });
  child.on("message", (answer: PartAnswer, handle: unknown) => {
    if (answer.kind === "connected" && handle instanceof Socket) resolve(handle);
    else reject(notConnected(answer, { host, port }));
  });
  const onOver = () => {
    child.kill("SIGKILL");
    reject(signal.aborted ? signal.reason : notEntered("it took too long"));
  };
  over.addEventListener("abort", onOver, { once: true });
  try {
    return await promise;
  } finally {
    over.removeEventListener("abort", onOver);
    if (child.connected) child.disconnect();
  }
}

function partFile(): URL {
  return new URL(import.meta.url.endsWith(".ts") ? "./network-part.ts" : "./network-part.js", import.meta.url);
}

function notEntered(why: string, cause?: unknown): Failure {
  return new Failure("database/unreachable", `the container's network cannot be entered: ${why}`, {
    hint: "It takes root, and the program nsenter (of util-linux). Does the container run?",
    cause,
  });
}

function notConnected(answer: PartAnswer, { host, port }: Pick<Inside, "host" | "port">): Failure {
  const why = answer.kind === "failed" ? answer.message : "the connection was lost on its way here";
  return new Failure("database/unreachable", `nothing answers at ${host}:${port} inside the container: ${why}`, {
    hint: "Does the server listen there, and at 127.0.0.1? 'listen_addresses' says so.",
  });
}
