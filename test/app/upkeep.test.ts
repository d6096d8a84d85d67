import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { test } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { createRepository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { callCli, summaryOf } from "../harness/cli.ts";
import { temporaryFolder } from "../harness/temporary.ts";
import { CHEAP } from "../repo/small-backup.ts";

test("a prune of the first repository says which others it left out, and one that is named does not", async () => {
  await using folder = await temporaryFolder();
  const password = "the right one";
  await writeFile(folder.at("password"), `${password}\n`, { mode: 0o600 });
  for (const name of ["primary", "offsite"]) {
    await createRepository(openLocalStore(folder.at(name)), {
      password,
      clock: systemClock,
      hostname: "here",
      username: "me",
      cost: CHEAP,
      signal: new AbortController().signal,
    });
  }
  const places = ["primary", "offsite"].map((name) => {
    return `{ name: ${name}, location: ${folder.at(name)}, password-file: ${folder.at("password")} }`;
  });
  await writeFile(
    folder.at("chatkeep.yaml"),
    `installation: { id: 6f1c0000-0000-4000-8000-00000000cafe, name: acme, kind: manual, database-url: "postgres://localhost/acme" }
repositories: [${places.join(", ")}]
state-dir: ${folder.at("state")}
`,
  );
  const prune = async (...args: string[]) => {
    const result = await callCli(["--config", folder.at("chatkeep.yaml"), ...args, "prune"], { cwd: folder.path });
    assert.equal(result.status, 0, result.stderr);
    return result.stdout;
  };
  assert.match(await prune(), /^nothing to free in primary: [^]*\n +left out +offsite: each by --repository$/m);
  assert.doesNotMatch(await prune("--repository", "primary"), /left out/);
  assert.deepEqual(summaryOf(await prune("--json"))["others"], ["offsite"]);
});
