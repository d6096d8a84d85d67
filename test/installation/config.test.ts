import assert from "node:assert/strict";
import { chmod, mkdir, readFile, symlink, truncate } from "node:fs/promises";
import { test } from "node:test";
import { LIMITS } from "../../src/base/limits.ts";
import { captureConfig } from "../../src/installation/config.ts";
import type { Installation } from "../../src/installation/installation.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { write } from "./checkout.ts";

const signal = new AbortController().signal;

function installation(parts: Partial<Installation>): Installation {
  return {
    kind: "manual",
    environment: new Map(),
    database: { url: "postgresql://db/chatwoot" },
    storage: [],
    configFiles: [],
    systemFiles: [],
    madeFiles: [],
    processes: {},
    notes: [],
    ...parts,
  };
}

test("the environment is saved whole, and every other file under its place on the machine", async () => {
  await using folder = await temporaryFolder();
  await write(folder.path, "app/.env", "A=1\n");
  await chmod(folder.at("app/.env"), 0o640);
  await write(folder.path, "etc/nginx/site.conf", "server {}");
  await write(folder.path, "etc/nginx/deep/er.conf", "x");
  await write(folder.path, "archive/key1.pem", "key");
  await mkdir(folder.at("live"));
  await symlink("../archive/key1.pem", folder.at("live/key.pem"));
  const { files, findings } = await captureConfig(
    installation({
      envFile: folder.at("app/.env"),
      configFiles: [folder.at("etc/nginx")],
      systemFiles: [folder.at("live"), folder.at("etc/nginx/site.conf")],
    }),
    { signal, filesystemRoot: folder.path },
  );
  assert.deepEqual(
    files.map((file) => file.path),
    ["env", "files/etc/nginx/deep/er.conf", "files/etc/nginx/site.conf", "files/live/key.pem"],
  );
  assert.equal(files[0]?.mode, 0o640);
  assert.equal(await readFile(files.at(-1)?.absolute ?? "", "utf8"), "key");
  assert.equal(files.at(-1)?.absolute, folder.at("archive/key1.pem"));
  assert.deepEqual(findings, []);
});

test("what is named and cannot be saved is a warning; links in a circle end", async () => {
  await using folder = await temporaryFolder();
  await write(folder.path, "etc/large.bin", "");
  await truncate(folder.at("etc/large.bin"), LIMITS.configFileMaxBytes + 1);
  await symlink(".", folder.at("etc/again"));
  await symlink("nowhere", folder.at("etc/broken"));
  const { files, findings } = await captureConfig(
    installation({ configFiles: [folder.at("etc"), folder.at("gone")], systemFiles: [folder.at("gone too")] }),
    { signal, filesystemRoot: folder.path },
  );
  assert.deepEqual(files, []);
  assert.deepEqual(
    findings.map(({ kind, level }) => ({ kind, level })),
    [
      { kind: "config-file-unreadable", level: "warning" },
      { kind: "config-file-too-large", level: "warning" },
      { kind: "config-file-unreadable", level: "warning" },
    ],
  );
  assert.match(findings[0]?.message ?? "", /etc\/broken/);
  assert.match(findings[2]?.message ?? "", /gone is not there/);
});

test("a cancelled run stops", async () => {
  await using folder = await temporaryFolder();
  await write(folder.path, "a", "");
  const cancelled = AbortSignal.abort(new Error("stopped"));
  await assert.rejects(
    captureConfig(installation({ configFiles: [folder.at("a")] }), { signal: cancelled }),
    /stopped/,
  );
});
