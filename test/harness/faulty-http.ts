/** An HTTP server that answers every request in the one way that a test sets. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface FaultyAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface FaultyHttp extends AsyncDisposable {
  readonly endpoint: string;
  /** `cut` ends the connection; `silent` never answers. */
  answer: FaultyAnswer | "cut" | "silent";
  /** Requests so far. */
  readonly count: number;
}

export async function startFaultyHttp(): Promise<FaultyHttp> {
  let count = 0;
  const server = createServer((request, response) => {
    count += 1;
    request.resume();
    const { answer } = faulty;
    if (answer === "silent") return;
    if (answer === "cut") request.socket.destroy();
    else response.writeHead(answer.status, answer.headers).end(request.method === "HEAD" ? "" : answer.body);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const faulty: FaultyHttp = {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    answer: { status: 500 },
    get count() {
      return count;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  return faulty;
}
