/**
 * The way out of a network that has none, for programs that heed `http_proxy`: what they ask for goes through a socket in a
 * folder to this process, which fetches it. So packages can be installed while an image is built.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import { temporaryFolder } from "./temporary.ts";

export interface WayOut extends AsyncDisposable {
  /** For `http_proxy` and `https_proxy` within that network. */
  url: string;
}

/** Runs in the network: takes connections on a port of its own there, and joins each to the socket. */
const RELAY = `
const net = require("node:net");
const server = net.createServer((near) => {
  const far = net.connect(process.argv[1]);
  near.pipe(far).pipe(near);
  for (const one of [near, far]) one.on("error", () => { near.destroy(); far.destroy(); });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit()).resume();`;

function passOn(incoming: IncomingMessage, answer: ServerResponse): void {
  const { method, headers, url = "" } = incoming;
  const outgoing = request(url, { method, headers }, (response) => {
    answer.writeHead(response.statusCode ?? 502, response.headers);
    response.pipe(answer);
  });
  outgoing.on("error", () => (answer.headersSent ? answer.destroy() : answer.writeHead(502).end()));
  incoming.pipe(outgoing);
}

function join(near: Socket, target: string): void {
  const [host = "", port = "443"] = target.split(":");
  const far = connect(Number(port), host, () => {
    near.write("HTTP/1.1 200 Connection established\r\n\r\n");
    near.pipe(far).pipe(near);
  });
  for (const one of [near, far]) {
    one.on("error", () => {
      near.destroy();
      far.destroy();
    });
  }
}

/** Opens it. @param within What to put before a program that is to run in the network. */
export async function openWayOut(within: readonly string[]): Promise<WayOut> {
  const folder = await temporaryFolder();
  const sockets = new Set<Socket>();
  const server = createServer(passOn);
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  server.on("connect", ({ url = "" }: IncomingMessage, socket: Socket) => join(socket, url));
  const path = folder.at("way-out.sock");
  server.listen(path);
  await once(server, "listening");
  const [program = process.execPath, ...args] = within;
  const relay: ChildProcess = spawn(program, [...args, process.execPath, "--eval", RELAY, path], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const ended = once(relay, "exit");
  const port = await Promise.race([firstLine(relay), ended.then(() => "")]);
  const dispose = async () => {
    relay.stdin?.end();
    await ended;
    for (const socket of sockets) socket.destroy();
    server.close();
    await folder[Symbol.asyncDispose]();
  };
  if (port === "") {
    await dispose();
    throw new Error("the relay did not start");
  }
  return { url: `http://127.0.0.1:${port}`, [Symbol.asyncDispose]: dispose };
}

async function firstLine(child: ChildProcess): Promise<string> {
  const [data] = child.stdout === null ? [""] : ((await once(child.stdout, "data")) as [Buffer]);
  return data.toString().trim();
}
