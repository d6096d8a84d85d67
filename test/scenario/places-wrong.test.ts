/** What is wrong with a repository's place, kind by kind, as the command line tells it: one line, one hint, the status. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { callCli } from "../harness/cli.ts";
import { type FaultyAnswer, startFaultyHttp } from "../harness/faulty-http.ts";
import { startRestServer } from "../harness/rclone.ts";
import type { RunResult } from "../harness/run.ts";
import { startSshd } from "../harness/sshd.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { assertRefused, type Refusal } from "./refusal.ts";

const SECRET = Buffer.from("a secret, never to be seen").toString("base64");
const HOUR = 3_600_000;

type Env = Readonly<Record<string, string>>;

async function list(location: string, env: Env): Promise<RunResult> {
  await using folder = await temporaryFolder();
  const own = { HOME: folder.path, XDG_CACHE_HOME: undefined, CHATKEEP_PASSWORD: SECRET };
  return await callCli(["--repository", location, "list"], { cwd: folder.path, env: { ...own, ...env } });
}

const s3 = (endpoint: string): [string, Env] => [
  `s3:${endpoint}/box/desk`,
  { AWS_ACCESS_KEY_ID: "AKIDDESK", AWS_SECRET_ACCESS_KEY: SECRET, AWS_EC2_METADATA_DISABLED: "true" },
];
const azure = (endpoint: string): [string, Env] => [
  "azure:box:/desk",
  {
    AZURE_STORAGE_CONNECTION_STRING: `DefaultEndpointsProtocol=http;AccountName=desk;AccountKey=${SECRET};BlobEndpoint=${endpoint}/desk;`,
  },
];
const gs = (endpoint: string): [string, Env] => ["gs:box:/desk", { STORAGE_EMULATOR_HOST: endpoint }];
const rest = (endpoint: string): [string, Env] => [
  `rest:${endpoint}/desk/`,
  { RESTIC_REST_USERNAME: "desk", RESTIC_REST_PASSWORD: SECRET },
];

function s3Says(status: number, code: string, headers: Record<string, string> = {}): FaultyAnswer {
  return { status, headers, body: `<Error><Code>${code}</Code><Message>No.</Message></Error>` };
}

function azureSays(status: number, code: string, headers: Record<string, string> = {}): FaultyAnswer {
  return { status, headers: { "x-ms-error-code": code, ...headers }, body: `<Error><Code>${code}</Code></Error>` };
}

function gsSays(status: number, reason: string, message: string): FaultyAnswer {
  return { status, body: JSON.stringify({ error: { code: status, message, errors: [{ reason, message }] } }) };
}

const inAnHour = () => new Date(Date.now() + HOUR).toUTCString();

type Row = [what: string, place: (endpoint: string) => [string, Env], answer: () => FaultyAnswer, expected: Refusal];

const denied = (error: RegExp, hint: RegExp): Refusal => ({ status: 20, error, hint });
const missing: Refusal = { status: 10, error: /there is no repository/, hint: /chatkeep init/ };

const ROWS: readonly Row[] = [
  [
    "s3: a key that was deleted",
    s3,
    () => s3Says(403, "InvalidAccessKeyId"),
    denied(/access key/, /AWS_ACCESS_KEY_ID/),
  ],
  ["s3: a wrong secret", s3, () => s3Says(403, "SignatureDoesNotMatch"), denied(/secret/, /AWS_SECRET_ACCESS_KEY/)],
  ["s3: a session that has ended", s3, () => s3Says(400, "ExpiredToken"), denied(/has ended/, /AWS_SESSION_TOKEN/)],
  ["s3: a right that lacks", s3, () => s3Says(403, "AccessDenied"), denied(/AccessDenied/, /least rights/)],
  ["s3: a bucket that is missing", s3, () => s3Says(404, "NoSuchBucket"), missing],
  [
    "s3: a clock that is an hour off",
    s3,
    () => s3Says(403, "AccessDenied", { date: inAnHour() }),
    denied(/clock is wrong/, /NTP/),
  ],
  [
    "s3: a region that leads nowhere",
    s3,
    () => s3Says(301, "PermanentRedirect"),
    denied(/another region/, /AWS_DEFAULT_REGION/),
  ],
  [
    "azure: a wrong key",
    azure,
    () => azureSays(403, "AuthenticationFailed"),
    denied(/key or SAS/, /AZURE_ACCOUNT_KEY/),
  ],
  [
    "azure: a right that lacks",
    azure,
    () => azureSays(403, "AuthorizationPermissionMismatch"),
    denied(/AuthorizationPermissionMismatch/, /least rights/),
  ],
  ["azure: a container that is missing", azure, () => azureSays(404, "ContainerNotFound"), missing],
  [
    "azure: a clock that is an hour off",
    azure,
    () => azureSays(403, "AuthenticationFailed", { date: inAnHour() }),
    denied(/clock is wrong/, /NTP/),
  ],
  [
    "gs: credentials that ended",
    gs,
    () => gsSays(401, "authError", "Invalid Credentials"),
    denied(/does not accept/, /GOOGLE_ACCESS_TOKEN/),
  ],
  ["gs: a right that lacks", gs, () => gsSays(403, "forbidden", "No."), denied(/forbidden/, /least rights/)],
  ["gs: a bucket that is missing", gs, () => gsSays(404, "notFound", "The specified bucket does not exist."), missing],
  ["rest: a wrong password", rest, () => ({ status: 401 }), denied(/password/, /RESTIC_REST_PASSWORD/)],
  ["rest: a user who may not", rest, () => ({ status: 403 }), denied(/403|may not|not allow|refuse/, /./)],
  ["rest: a repository that is missing", rest, () => ({ status: 404 }), missing],
];

for (const [what, place, answer, expected] of ROWS) {
  test(what, async () => {
    await using faulty = await startFaultyHttp();
    faulty.answer = answer();
    const [location, env] = place(faulty.endpoint);
    assertRefused(await list(location, env), expected, [SECRET]);
  });
}

test("azure: an SAS that ended", async () => {
  const sas = `sv=2024-08-04&se=2020-01-01T00:00:00Z&sig=${SECRET}`;
  const result = await list("azure:box:/desk", { AZURE_ACCOUNT_NAME: "desk", AZURE_ACCOUNT_SAS: sas });
  assertRefused(result, denied(/ended at 2020-01-01/, /new SAS/), [SECRET]);
});

test("rest, s3: a certificate that nobody vouches for", async () => {
  await using tls = await startRestServer({ tls: true });
  const { RESTIC_CACERT: _unknown, ...env } = tls.env;
  const expected = denied(/certificate/, /RESTIC_CACERT/);
  assertRefused(await list(tls.location("desk"), env), expected);
  const [location, keys] = s3(`https://127.0.0.1:${tls.port}`);
  assertRefused(await list(location, keys), expected, [SECRET]);
});

test("sftp: a host key that is not known, one that changed, and a repository that is missing", async () => {
  await using sshd = await startSshd();
  const location = sshd.location("desk");
  assertRefused(await list(location, sshd.env), missing);
  const known = readFileSync(sshd.knownHosts);
  writeFileSync(sshd.knownHosts, "");
  assertRefused(await list(location, sshd.env), denied(/is not known/, /fingerprint/));
  await using folder = await temporaryFolder();
  const other = folder.at("other");
  assert.equal(spawnSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", other]).status, 0);
  const [pattern = ""] = known.toString().split(" ");
  writeFileSync(sshd.knownHosts, `${pattern} ${readFileSync(`${other}.pub`, "utf8")}`);
  assertRefused(await list(location, sshd.env), denied(/is not the one that is known/, /between you and the server/));
});
