/** Somebody before an HTTP server who refuses what a test says, as a bucket's policy or a server's rules do. */
import { once } from "node:events";
import { createServer, type IncomingMessage, request as httpRequest } from "node:http";
import type { AddressInfo } from "node:net";

export interface Asked {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly isSigned: boolean;
}

export interface Guard extends AsyncDisposable {
  readonly endpoint: string;
  /** Everything that was asked so far. */
  readonly asked: Asked[];
  /** What was sent to each path, where it was anything: the last of it. */
  readonly sent: Map<string, Buffer>;
  /** May be set anew at any time; what it is true for is answered with 403. */
  denies: (asked: Asked) => boolean;
}

/** In S3's words; whoever speaks another protocol goes by the status. */
const DENIED = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";

/** @param inner The server's address. */
export async function startGuard(inner: string): Promise<Guard> {
  const server = createServer((request, response) => {
    const { method = "", url = "", headers } = request;
    const asked = { method, url, headers, isSigned: headers.authorization !== undefined };
    guard.asked.push(asked);
    if (guard.denies(asked)) {
      request.resume();
      response.writeHead(403, { "content-type": "application/xml" });
      response.end(method === "HEAD" ? "" : DENIED);
      return;
    }
    // A signature covers the host's name, so it stays as it was asked for.
    const onward = httpRequest(`${inner}${url}`, { method, headers }, (answer: IncomingMessage) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    const pieces: Buffer[] = [];
    request.on("data", (piece: Buffer) => pieces.push(piece));
    request.on("end", () => pieces.length > 0 && guard.sent.set(url, Buffer.concat(pieces)));
    request.pipe(onward);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const guard: Guard = {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked: [],
    sent: new Map(),
    denies: () => false,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  return guard;
}
