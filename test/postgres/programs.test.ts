import assert from "node:assert/strict";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { delimiter } from "node:path";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { findPrograms } from "../../src/postgres/programs.ts";
import { installedServers } from "../harness/postgres.ts";
import { temporaryFolder, type TestFolder } from "../harness/temporary.ts";

const signal = new AbortController().signal;

/** Programs that only say a version, first in PATH. */
async function withPrograms<T>(folder: TestFolder, version: string, act: () => Promise<T>): Promise<T> {
  const bin = folder.at("bin");
  await mkdir(bin);
  for (const name of ["pg_dump", "pg_restore", "psql"]) {
    await writeFile(`${bin}/${name}`, `#!/bin/sh\necho "${name} (PostgreSQL) ${version}"\n`);
    await chmod(`${bin}/${name}`, 0o755);
  }
  const path = process.env["PATH"] ?? "";
  process.env["PATH"] = `${bin}${delimiter}${path}`;
  try {
    return await act();
  } finally {
    process.env["PATH"] = path;
  }
}

test("the programs of the server's own major are found", async () => {
  for (const { major, programs } of installedServers()) {
    const found = await findPrograms(major, { signal });
    assert.equal(found.major, major);
    assert.equal(found.isNewer, false);
    assert.equal(found.pgDump, `${programs}/pg_dump`);
    assert.match(found.version, new RegExp(`^${major}\\.\\d+`));
  }
});

test("newer programs are taken where the own ones are missing, and said to be newer", async () => {
  await using folder = await temporaryFolder();
  const found = await withPrograms(folder, "78.1 (Debian 78.1-1)", async () => await findPrograms(77, { signal }));
  assert.deepEqual(
    [found.major, found.isNewer, found.version, found.psql],
    [78, true, "78.1", folder.at("bin", "psql")],
  );
});

test("older programs are no help, and the package to install is named", async () => {
  await assert.rejects(
    findPrograms(77, { signal }),
    (error) =>
      isFailure(error, "program/missing") &&
      /too old for the server's 77/.test(error.message) &&
      /postgresql-client-77/.test(error.hint ?? ""),
  );
});
