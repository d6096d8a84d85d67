/** What the configuration says of Chatwoot's storage services. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { test } from "node:test";
import { parseConfig } from "../../src/app/config.ts";
import { storageSettings } from "../../src/app/storage.ts";
import type { Surroundings } from "../../src/app/surroundings.ts";
import { systemClock } from "../../src/base/clock.ts";
import { silent } from "../../src/base/progress.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const BASE = `installation: { id: 6f1c2b7e-0d4f-4c58-9a55-0b8f5b0f7a11, name: acme }
repositories: [{ name: primary, location: /var/backups/chatkeep, password-file: p }]
storage:
`;

function redact<T>(value: T): T {
  return value;
}

function surroundings(cwd: string, hidden: string[] = []): Surroundings {
  const { signal } = new AbortController();
  const hide = (secrets: Iterable<string>) => void hidden.push(...secrets);
  return { hide, redact, person: undefined, progress: silent, signal, env: {}, cwd, clock: systemClock };
}

test("variables of a file and of the configuration are read, the latter count, and what is secret in them is hidden", async () => {
  await using folder = await temporaryFolder();
  await writeFile(folder.at("reader.env"), "AWS_ACCESS_KEY_ID=READER\nAWS_SECRET_ACCESS_KEY='hush hush'\n");
  const text = `${BASE}  amazon: { env-file: reader.env, env: { AWS_REGION: eu-west-1, AWS_ACCESS_KEY_ID: OTHER } }
  google: { credentials: machine }
  microsoft: { endpoint: "https://acme.blob.core.usgovcloudapi.net" }
`;
  const hidden: string[] = [];
  const settings = await storageSettings(parseConfig(text, "c.yaml", {}), surroundings(folder.path, hidden));
  assert.deepEqual(settings["amazon"]?.env, {
    AWS_ACCESS_KEY_ID: "OTHER",
    AWS_SECRET_ACCESS_KEY: "hush hush",
    AWS_REGION: "eu-west-1",
  });
  assert.deepEqual([settings["amazon"]?.usesMachine, settings["google"]?.usesMachine], [false, true]);
  assert.equal(settings["microsoft"]?.endpoint, "https://acme.blob.core.usgovcloudapi.net");
  assert.ok(hidden.includes("hush hush"));
  assert.deepEqual(await storageSettings(undefined, surroundings("/")), {});
});

test("a rate comes from the service, in KiB, and one of the run goes before it, for every bucket", async () => {
  const config = parseConfig(`${BASE}  amazon: { limit-download: 2000 }\n`, "c.yaml", {});
  const rates = async (download?: number) =>
    Object.entries(await storageSettings(config, { ...surroundings("/"), rates: { download } })).map(
      ([service, { downloadRate }]) => [service, downloadRate],
    );
  assert.deepEqual(await rates(), [["amazon", 2000 * 1024]]);
  assert.deepEqual(
    await rates(500),
    ["amazon", "google", "microsoft", "s3_compatible"].map((service) => [service, 500]),
  );
});

test("a file that is not there, a service that no Chatwoot has and an endpoint that is none are refused with their place", async () => {
  const missing = parseConfig(`${BASE}  amazon: { env-file: nowhere.env }\n`, "c.yaml", {});
  await assert.rejects(storageSettings(missing, surroundings("/nowhere")), {
    code: "config/invalid",
    message: /credentials of storage 'amazon' from 'nowhere.env'/,
  });
  for (const [line, message] of [
    ["  r2: {}", /^c\.yaml:4:3: unknown key 'r2' in 'storage'$/],
    ["  microsoft: { credentials: machine }", /unknown key 'credentials' in 'storage.microsoft'$/],
    ["  amazon: { endpoint: minio.internal }", /storage\.amazon\.endpoint: write it as https:\/\/host/],
  ] as const) {
    assert.throws(() => parseConfig(`${BASE}${line}\n`, "c.yaml", {}), { code: "config/invalid", message });
  }
});
