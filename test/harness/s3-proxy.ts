/** An S3 server between a client and another S3 server: it counts what it is asked, and answers what a test wants instead. */
import { once } from "node:events";
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface ProxyRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  /** Without the question mark. */
  readonly query: string;
  readonly headers: IncomingMessage["headers"];
}

export interface S3Proxy extends AsyncDisposable {
  readonly endpoint: string;
  /** What was asked so far. */
  readonly requests: ProxyRequest[];
  /** Every request waits for so long before it goes on; milliseconds. */
  delayMs: number;
  /**
   * What happens to a request: an answer of its own, `cut` after so many bytes of the real one, or nothing
   * (`undefined`: it goes on to the server).
   */
  fault: (
    request: ProxyRequest,
  ) => { status: number; body: string } | { cutAfter: number } | { truncateTo: number } | undefined;
}

/** Signatures name the host that was asked, so it is handed on. @param port Where it listens; a free one otherwise. */
export async function startS3Proxy(target: string, port = 0): Promise<S3Proxy> {
  const proxy: S3Proxy = {
    get endpoint() {
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    },
    requests: [],
    delayMs: 0,
    fault: () => undefined,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  const server = createServer((request, response) => handle(proxy, target, request, response));
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return proxy;
}

function handle(proxy: S3Proxy, target: string, request: IncomingMessage, response: ServerResponse): void {
  const { method = "GET", url = "/", headers } = request;
  const { pathname: path, search } = new URL(url, target);
  const asked = { method, path, query: search.slice(1), headers };
  proxy.requests.push(asked);
  const fault = proxy.fault(asked);
  if (fault !== undefined && "status" in fault) {
    request.resume();
    response.writeHead(fault.status, { "content-type": "application/xml" }).end(method === "HEAD" ? "" : fault.body);
    return;
  }
  const onward = httpRequest(new URL(url, target), { method, headers }, (answer) => {
    void Array.fromAsync(answer as AsyncIterable<Buffer>).then((pieces) => {
      const bytes = Buffer.concat(pieces);
      const own = { ...answer.headers };
      if (fault !== undefined && "truncateTo" in fault) {
        const cut = bytes.subarray(0, fault.truncateTo);
        delete own["content-range"];
        return response.writeHead(200, { ...own, "content-length": cut.length }).end(cut);
      }
      response.writeHead(answer.statusCode ?? 502, own);
      if (fault === undefined) return response.end(bytes);
      return response.write(bytes.subarray(0, fault.cutAfter), () => response.destroy());
    });
  });
  if (proxy.delayMs === 0) request.pipe(onward);
  else setTimeout(() => request.pipe(onward), proxy.delayMs);
}
