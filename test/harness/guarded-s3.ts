/** An S3 server with somebody before it who refuses what a test says, as a bucket's policy does. */
import { once } from "node:events";
import { createServer, type IncomingMessage, request as httpRequest } from "node:http";
import type { AddressInfo } from "node:net";
import { startS3, type TestS3 } from "./s3.ts";

export interface S3Asked {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly isSigned: boolean;
}

export interface GuardedS3 extends AsyncDisposable {
  readonly inner: TestS3;
  readonly env: Readonly<Record<string, string>>;
  /** Everything that was asked so far. */
  readonly asked: S3Asked[];
  /** May be set anew at any time; what it is true for is answered with 403. */
  denies: (asked: S3Asked) => boolean;
  location(bucket: string, prefix?: string): string;
}

export async function startGuardedS3(): Promise<GuardedS3> {
  const inner = await startS3();
  const guarded: Pick<GuardedS3, "asked" | "denies"> = { asked: [], denies: () => false };
  const server = createServer((request, response) => {
    const { method = "", url = "", headers } = request;
    const asked = { method, url, headers, isSigned: headers.authorization !== undefined };
    guarded.asked.push(asked);
    if (guarded.denies(asked)) {
      request.resume();
      response.writeHead(403, { "content-type": "application/xml" });
      response.end(method === "HEAD" ? "" : "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>");
      return;
    }
    // The signature covers the host's name, so it stays as it was asked for.
    const onward = httpRequest(`${inner.endpoint}${url}`, { method, headers }, (answer: IncomingMessage) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return Object.assign(guarded, {
    inner,
    env: inner.env,
    location: (bucket: string, prefix?: string) =>
      `s3:${endpoint}/${bucket}${prefix === undefined ? "" : `/${prefix}`}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
      await inner.stop();
    },
  });
}
