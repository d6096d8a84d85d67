import assert from "node:assert/strict";
import { chmod, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { delimiter } from "node:path";
import { test } from "node:test";
import { isFailure } from "../../src/base/errors.ts";
import { findPrograms } from "../../src/postgres/programs.ts";
import { runProgram } from "../../src/system/process.ts";
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

/** Answers as an engine's command line does that has one image, and notes what it was asked to run. */
const DOCKER = `#!/bin/sh
case "$1 $2" in
  "info --format") test -e "$0.silent" && cat "$0.silent" || echo '{"ID":"x"}' ;;
  "image ls") printf 'sha256:abc\\nsha256:abc\\n' ;;
  "image inspect") echo '[{"Id":"sha256:abc","RepoTags":["pgvector/pgvector:pg77"],"Config":{"Env":["PG_MAJOR=77"]}}]' ;;
  "run --rm") echo "$PGPASSWORD: $*" >>"$0.ran"; echo "pg_dump (PostgreSQL) 77.3" ;;
esac
`;

test("where there is none, the programs of an image that is here are taken; no password is among the arguments", async () => {
  await using folder = await temporaryFolder();
  const docker = folder.at("bin", "docker");
  await mkdir(folder.at("bin"));
  await writeFile(docker, DOCKER, { mode: 0o755 });
  const before = { ...process.env };
  Object.assign(process.env, {
    PATH: `${folder.at("bin")}${delimiter}${before["PATH"] ?? ""}`,
    PGPASSWORD: "a secret",
  });
  try {
    const found = await findPrograms(77, { signal });
    assert.deepEqual(
      [found.version, found.major, found.isNewer, found.where],
      ["77.3", 77, false, "the image pgvector/pgvector:pg77"],
    );
    await runProgram(found.psql, ["--dbname=x"], { signal });
    // An engine that does not answer has none, and its program may end well all the same.
    for (const said of ['{"ID":"","Containers":0}', '{"ServerErrors":["Cannot connect to the Docker daemon"]}']) {
      await writeFile(`${docker}.silent`, said);
      await assert.rejects(findPrograms(77, { signal }), (error) => isFailure(error, "program/missing"));
    }
    await rm(`${docker}.silent`);
    // Another major is none.
    await assert.rejects(findPrograms(78, { signal }), (error) => isFailure(error, "program/missing"));
  } finally {
    process.env = before;
  }
  const ran = (await readFile(`${docker}.ran`, "utf8")).trim().split("\n");
  assert.equal(ran.length, 2);
  for (const line of ran) {
    assert.match(
      line,
      /^a secret: run .*--pull=never --network=host --cap-drop=ALL .*--env=PGPASSWORD .*--entrypoint=\w+ sha256:abc --/,
    );
    assert.equal(line.lastIndexOf("a secret"), 0);
  }
  assert.match(ran[1] ?? "", /--entrypoint=psql sha256:abc --dbname=x$/);
});
