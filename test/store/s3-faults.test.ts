/** What an S3 service may answer and s3rver never does, told by a small server of this file. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { type ErrorCode, isFailure } from "../../src/base/errors.ts";
import { RemoteStore } from "../../src/store/remote-store.ts";
import { openS3Backend } from "../../src/store/s3-backend.ts";
import type { Store } from "../../src/store/store.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const signal = new AbortController().signal;
const KEYS = { AWS_ACCESS_KEY_ID: "AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY: "very secret" };
const REF = { kind: "data", name: "ab".repeat(32) } as const;
const CONFIG = { kind: "config", name: "" } as const;

/** Without what tries again around it. */
function openBare(location: string, env: Readonly<Record<string, string>>): Store {
  return new RemoteStore(openS3Backend({ location, env, settings: {} }), undefined);
}

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
}

interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

interface Stand extends AsyncDisposable {
  readonly store: Store;
  readonly seen: readonly Seen[];
}

/** The service's word as its error documents have it. */
function refusal(status: number, code: string, inside = ""): Answer {
  const body = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>${code} it is.</Message>${inside}</Error>`;
  return { status, body, headers: { "content-type": "application/xml" } };
}

async function listening(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

async function close(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}

async function stand(
  answer: (seen: Seen, response: ServerResponse) => Answer | undefined,
  env: Readonly<Record<string, string>> = {},
): Promise<Stand> {
  const seen: Seen[] = [];
  const server = createServer((request, response) => {
    request.resume().on("end", () => {
      const one = { method: request.method ?? "", url: request.url ?? "", headers: request.headers };
      seen.push(one);
      const answered = answer(one, response);
      if (answered === undefined) return;
      response.writeHead(answered.status, answered.headers);
      response.end(one.method === "HEAD" ? undefined : answered.body);
    });
  });
  const port = await listening(server);
  const store = openBare(`s3:http://127.0.0.1:${port}/bucket/prefix`, { ...KEYS, ...env });
  return {
    store,
    seen,
    async [Symbol.asyncDispose]() {
      await store.close();
      await close(server);
    },
  };
}

function isExplained(error: unknown, code: ErrorCode, hint: RegExp): boolean {
  assert.ok(isFailure(error, code), String(error));
  assert.match(error.hint ?? "", hint);
  assert.match(error.message, /127\.0\.0\.1:\d+\/bucket\/prefix/);
  assert.doesNotMatch(`${error.message}${error.hint}`, /very secret/);
  return true;
}

const REFUSALS: readonly [status: number, word: string, code: ErrorCode, hint: RegExp][] = [
  [403, "AccessDenied", "store/denied", /least rights/],
  [403, "InvalidAccessKeyId", "store/denied", /AWS_ACCESS_KEY_ID/],
  [403, "SignatureDoesNotMatch", "store/denied", /AWS_SECRET_ACCESS_KEY/],
  [400, "ExpiredToken", "store/denied", /AWS_SESSION_TOKEN/],
  [403, "RequestTimeTooSkewed", "store/denied", /clock/],
  [403, "InvalidObjectState", "store/denied", /archive/],
  [403, "QuotaExceeded", "store/full", /quota/],
  [507, "XMinioStorageFull", "store/full", /room/],
  [507, "Whatever", "store/full", /room/],
  [404, "NoSuchBucket", "store/not-found", /location/],
  [503, "SlowDown", "store/unreachable", /slow|connections/],
  [429, "TooManyRequests", "store/unreachable", /connections/],
  [503, "ServiceUnavailable", "store/unreachable", /Try again/],
  [500, "InternalError", "store/unreachable", /Try again/],
  [502, "Whatever", "store/unreachable", /Try again/],
  [400, "RequestTimeout", "store/unreachable", /Try again/],
  [400, "BadDigest", "store/unreachable", /Try again/],
  [409, "OperationAborted", "store/unreachable", /Try again/],
  [400, "InvalidRequest", "store/denied", /least rights/],
];

for (const [status, word, code, hint] of REFUSALS) {
  test(`${status} ${word} is ${code}, with what to do about it`, async () => {
    await using place = await stand(({ method }) => (method === "HEAD" ? { status: 404 } : refusal(status, word)));
    const { store, seen } = place;
    for (const call of [store.get(REF, { signal }), store.put(REF, Buffer.from("x"), { signal })]) {
      await assert.rejects(call, (error) => isExplained(error, code, hint));
    }
    // A failure is not tried again here.
    assert.equal(seen.filter(({ method }) => method === "PUT").length, 1);
  });
}

test("an answer that is no S3 at all, as a proxy gives it, is explained by its status", async () => {
  await using place = await stand(() => ({ status: 502, body: "<html>Bad Gateway</html>" }));
  for (const call of [
    async () => await place.store.get(REF, { signal }),
    async () => await place.store.stat(REF, { signal }),
    async () => await Array.fromAsync(place.store.list("data", { signal })),
  ]) {
    await assert.rejects(call, (error) => isExplained(error, "store/unreachable", /Try again/));
  }
});

test("a question that is refused without a reason is followed by one that gives it", async () => {
  await using place = await stand(({ method }) =>
    method === "HEAD" ? { status: 403 } : refusal(403, "InvalidAccessKeyId"),
  );
  await assert.rejects(place.store.stat(REF, { signal }), (error) =>
    isExplained(error, "store/denied", /AWS_ACCESS_KEY_ID/),
  );
});

test("a refusal whose date is an hour from ours is the clock's fault", async () => {
  const date = new Date(Date.now() + 3_600_000).toUTCString();
  await using place = await stand(() => ({ ...refusal(403, "AccessDenied"), headers: { date } }));
  await assert.rejects(place.store.get(REF, { signal }), (error) => isExplained(error, "store/denied", /clock/));
  await assert.rejects(place.store.stat(REF, { signal }), (error) => isExplained(error, "store/denied", /clock/));
});

/** The region that a request was signed for. */
function signedFor({ headers }: Seen): string {
  return /Credential=[^/]+\/\d+\/([^/]+)\//.exec(headers.authorization ?? "")?.[1] ?? "";
}

const LOCATION = `<?xml version="1.0" encoding="UTF-8"?>
<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">eu-west-3</LocationConstraint>`;

const REDIRECTS: readonly [how: string, answer: (seen: Seen) => Answer][] = [
  ["a header", () => ({ ...refusal(301, "PermanentRedirect"), headers: { "x-amz-bucket-region": "eu-west-3" } })],
  [
    "its words",
    ({ method }) =>
      method === "HEAD" ? { status: 400 } : refusal(400, "AuthorizationHeaderMalformed", "<Region>eu-west-3</Region>"),
  ],
  [
    "the bucket's location",
    ({ url, method }) =>
      url.includes("location")
        ? { status: 200, body: LOCATION }
        : method === "HEAD"
          ? { status: 400 }
          : refusal(403, "SignatureDoesNotMatch"),
  ],
];

for (const [how, answer] of REDIRECTS) {
  test(`a bucket in another region is found by ${how}, once`, async () => {
    await using place = await stand((seen) =>
      signedFor(seen) === "eu-west-3" ? { status: 200, headers: { "content-length": "3" }, body: "abc" } : answer(seen),
    );
    assert.deepEqual(await place.store.stat(REF, { signal }), { sizeBytes: 3 });
    const before = place.seen.length;
    assert.equal((await place.store.get(REF, { signal })).toString(), "abc");
    assert.equal(place.seen.length, before + 1);
  });
}

test("a redirect that leads nowhere ends", async () => {
  await using place = await stand(() => refusal(301, "PermanentRedirect"));
  await assert.rejects(place.store.get(REF, { signal }), (error) => isFailure(error));
  assert.ok(place.seen.length <= 3);
});

test("an object is sent with its MD5, in one piece and with no checksum that only Amazon knows", async () => {
  await using place = await stand(({ method }) => (method === "HEAD" ? { status: 404 } : { status: 200 }));
  const bytes = Buffer.alloc(3 << 20, "x");
  await place.store.put(REF, bytes, { signal });
  const put = place.seen.find(({ method }) => method === "PUT");
  assert.equal(put?.headers["content-md5"], createHash("md5").update(bytes).digest("base64"));
  assert.equal(put?.headers["content-length"], String(bytes.length));
  assert.equal(put?.headers["if-none-match"], undefined);
  const others = Object.keys(put?.headers ?? {}).filter((name) => /checksum|transfer-encoding|^expect$/.test(name));
  assert.deepEqual(others, []);
  assert.equal(put?.headers["content-encoding"], undefined);
});

test("the configuration is sent only if none is there, and what another wrote meanwhile stays", async () => {
  await using place = await stand(({ method }) =>
    method === "HEAD" ? { status: 404 } : refusal(412, "PreconditionFailed"),
  );
  await place.store.put(CONFIG, Buffer.from("config"), { signal });
  const puts = place.seen.filter(({ method }) => method === "PUT");
  assert.deepEqual(
    puts.map(({ headers }) => headers["if-none-match"]),
    ["*"],
  );
});

test("a service that does not know the condition gets the configuration without it", async () => {
  await using place = await stand(({ method, headers }) =>
    method === "HEAD"
      ? { status: 404 }
      : headers["if-none-match"] === undefined
        ? { status: 200 }
        : refusal(501, "NotImplemented"),
  );
  await place.store.put(CONFIG, Buffer.from("config"), { signal });
  assert.equal(place.seen.filter(({ method }) => method === "PUT").length, 2);
});

test("an answer that breaks off is store/unreachable, never a short file", async () => {
  await using place = await stand((_, response) => {
    response.writeHead(200, { "content-length": "1000" });
    response.write("half of it", () => response.destroy());
    return undefined;
  });
  await assert.rejects(place.store.get(REF, { signal }), (error) => isFailure(error, "store/unreachable"));
});

test("a service that ignores ranges is still read right", async () => {
  await using place = await stand(() => ({ status: 200, body: "0123456789", headers: { "content-length": "10" } }));
  assert.equal((await place.store.get(REF, { signal, offset: 3, length: 4 })).toString(), "3456");
  assert.equal((await place.store.get(REF, { signal, offset: 7 })).toString(), "789");
});

test("a listing goes on after the last name where a service gives no token", async () => {
  const names = Array.from({ length: 5 }, (_, at) => `${at}`.repeat(64));
  await using place = await stand(({ url }) => {
    const after = new URL(url, "http://x").searchParams.get("start-after") ?? "";
    const rest = names.map((name) => `prefix/index/${name}`).filter((key) => key > after);
    const contents = rest.slice(0, 2).map((key) => `<Contents><Key>${key}</Key><Size>1</Size></Contents>`);
    const body = `<ListBucketResult><IsTruncated>${rest.length > 2}</IsTruncated>${contents.join("")}</ListBucketResult>`;
    return { status: 200, body };
  });
  const found = await Array.fromAsync(place.store.list("index", { signal }));
  assert.deepEqual(
    found.map(({ name }) => name),
    names,
  );
});

test("a listing that breaks off is never taken for a whole one", async () => {
  const first = `<Contents><Key>prefix/index/${"0".repeat(64)}</Key><Size>1</Size></Contents>`;
  for (const [inside, second] of [
    [`${first}<NextContinuationToken>more</NextContinuationToken>`, refusal(404, "NoSuchBucket")],
    // It goes on, and nobody says where.
    ["", { status: 200, body: "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>" }],
  ] as const) {
    const body = `<ListBucketResult><IsTruncated>true</IsTruncated>${inside}</ListBucketResult>`;
    await using place = await stand(({ url }) => (url.includes("continuation-token") ? second : { status: 200, body }));
    await assert.rejects(
      async () => await Array.fromAsync(place.store.list("index", { signal })),
      (error) => isFailure(error, inside === "" ? "store/unreachable" : "store/not-found"),
    );
  }
});

test("init makes a missing bucket, takes one that it may not look at, and says when it may not make one", async () => {
  await using missing = await stand(({ method }) => (method === "HEAD" ? { status: 404 } : { status: 200 }));
  await missing.store.create({ signal });
  assert.deepEqual(
    missing.seen.map(({ method, url }) => `${method} ${url}`),
    ["HEAD /bucket/", "PUT /bucket/"],
  );
  await using closed = await stand(() => ({ status: 403 }));
  await closed.store.create({ signal });
  await using forbidden = await stand(({ method }) =>
    method === "HEAD" ? { status: 404 } : refusal(403, "AccessDenied"),
  );
  await assert.rejects(forbidden.store.create({ signal }), (error) =>
    isExplained(error, "store/denied", /least rights/),
  );
});

test("a call that is never answered ends when it is aborted, with the reason", async () => {
  const controller = new AbortController();
  const reason = new Error("stopped");
  await using place = await stand(() => {
    controller.abort(reason);
    return undefined;
  });
  await assert.rejects(place.store.get(REF, { signal: controller.signal }), (error) => error === reason);
});

test("a profile of a file that only the repository's environment names is used", async () => {
  await using folder = await temporaryFolder();
  const [file, config] = [folder.at("credentials"), folder.at("config")];
  writeFileSync(file, "[other]\naws_access_key_id = THEIRS\naws_secret_access_key = secret\n");
  writeFileSync(config, "");
  const env = { AWS_PROFILE: "other", AWS_SHARED_CREDENTIALS_FILE: file, AWS_CONFIG_FILE: config };
  await using place = await stand(() => ({ status: 404 }), {
    ...env,
    AWS_ACCESS_KEY_ID: "",
    AWS_SECRET_ACCESS_KEY: "",
  });
  await place.store.stat(REF, { signal });
  assert.match(place.seen[0]?.headers.authorization ?? "", /Credential=THEIRS\//);
  const without = openBare(place.store.location, { ...env, AWS_PROFILE: "nobody" });
  await assert.rejects(without.stat(REF, { signal }), (error) => isExplained(error, "usage/invalid", /AWS_PROFILE/));
});

test("half of the credentials, or restic's way to take a role, is refused at once", () => {
  for (const env of [
    { AWS_ACCESS_KEY_ID: "AKIDEXAMPLE" },
    { AWS_SECRET_ACCESS_KEY: "very secret" },
    { ...KEYS, RESTIC_AWS_ASSUME_ROLE_ARN: "arn:aws:iam::1:role/x" },
    { ...KEYS, RESTIC_CACERT: "/nowhere/at/all.pem" },
  ]) {
    assert.throws(
      () => openBare("s3:host/bucket", env),
      (error) => isFailure(error, "usage/invalid"),
    );
  }
});

test("nobody at that port, and no such host, are store/unreachable", async () => {
  const server = createServer();
  const port = await listening(server);
  await close(server);
  for (const host of [`127.0.0.1:${port}`, "no-such-host.invalid"]) {
    const store = openBare(`s3:http://${host}/bucket`, KEYS);
    await assert.rejects(store.stat(REF, { signal }), (error) => isFailure(error, "store/unreachable"));
    await store.close();
  }
});

async function openTls(port: number, env: Readonly<Record<string, string>> = {}): Promise<Store> {
  return openBare(`s3:https://localhost:${port}/bucket`, { ...KEYS, ...env });
}

test("a certificate of an own authority is refused until it is named, and a plain server is told from one", async () => {
  await using folder = await temporaryFolder();
  const [key, cert] = [folder.at("key.pem"), folder.at("cert.pem")];
  const made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  const named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
  execFileSync("openssl", [...made, ...named, "-keyout", key, "-out", cert], { stdio: "ignore" });
  const tls = createTlsServer({ key: readFileSync(key), cert: readFileSync(cert) }, (_, response) => {
    response.writeHead(404).end();
  });
  const plain = createServer();
  try {
    const port = await listening(tls);
    await assert.rejects((await openTls(port)).stat(REF, { signal }), (error) => {
      assert.ok(isFailure(error, "store/denied"), String(error));
      assert.match(error.message, /certificate that cannot be verified/);
      assert.match(error.hint ?? "", /RESTIC_CACERT/);
      return true;
    });
    for (const variable of ["RESTIC_CACERT", "AWS_CA_BUNDLE"]) {
      const store = await openTls(port, { [variable]: cert });
      assert.equal(await store.stat(REF, { signal }), undefined);
      await store.close();
    }
    await assert.rejects((await openTls(await listening(plain))).stat(REF, { signal }), (error) => {
      assert.ok(isFailure(error, "store/unreachable"), String(error));
      assert.match(error.message, /does not speak TLS/);
      return true;
    });
  } finally {
    await close(tls);
    await close(plain);
  }
});
