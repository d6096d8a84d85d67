/** An HTTP server that keeps what it is told and answers as a test says: for webhooks, and the address of a dead-man's switch. */
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import type { AddressInfo } from "node:net";

export interface Told {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
}

export interface Answer {
  status: number;
  headers?: Record<string, string>;
  body?: string;
}

export interface Listener extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly told: Told[];
  /** What it answers from now on; `silence` takes the request and never answers. */
  answer: (told: Told) => Answer | "silence";
}

export async function startListener(): Promise<Listener> {
  const told: Told[] = [];
  const server: Server = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on("data", (piece: Buffer) => pieces.push(piece));
    request.on("end", () => {
      const { method = "", url = "", headers } = request;
      const one = { method, path: url, headers, body: Buffer.concat(pieces).toString("utf8") };
      told.push(one);
      const answer = listener.answer(one);
      if (answer === "silence") return;
      response.writeHead(answer.status, answer.headers);
      response.end(answer.body);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const listener: Listener = {
    url: `http://127.0.0.1:${port}`,
    port,
    told,
    answer: () => ({ status: 200 }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((done) => server.close(() => done()));
    },
  };
  return listener;
}
