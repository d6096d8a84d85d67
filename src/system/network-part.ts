/**
 * A program of its own, which `inside-network.ts` starts in another network: it connects there, hands the connection to its
 * parent, and ends.
 */
import { connect } from "node:net";
import process from "node:process";
import type { PartAnswer } from "./inside-network.ts";

const [host = "127.0.0.1", port = ""] = process.argv.slice(-2);

function answer(message: PartAnswer, socket?: ReturnType<typeof connect>): void {
  process.send?.(message, socket, {}, () => process.disconnect?.());
}

// It must not read: what it read would be lost with it.
const socket = connect({ host, port: Number(port) });
socket.once("connect", () => answer({ kind: "connected" }, socket));
socket.once("error", (error: NodeJS.ErrnoException) => {
  answer({ kind: "failed", message: error.message, code: error.code });
});
