/** A desk with three repositories, each with a password of its own: what one run of backup puts where, and what is told. */
import assert from "node:assert/strict";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { parse } from "yaml";
import { onDatabase } from "../../src/demo/database.ts";
import { systemClock } from "../../src/base/clock.ts";
import { releaseHold } from "../../src/job/hold.ts";
import { openRepository } from "../../src/repo/repository.ts";
import { openLocalStore } from "../../src/store/local-store.ts";
import { CHATKEEP, runCli, startCli, summaryOf } from "../harness/cli.ts";
import { cannotMount, runWithMounts } from "../harness/namespace.ts";
import { startRestServer } from "../harness/rclone.ts";
import { judges, resticPaths, runRestic } from "../harness/restic.ts";
import { longTest } from "../harness/whole.ts";
import { makeCheapToOpen } from "./cheap-key.ts";
import { type Desk, openDesk } from "./desk.ts";

let desk: Desk;
let second: string;
let third: string;

before(async () => {
  desk = await openDesk({
    hasServerForDrills: true,
    size: { messages: 120, conversations: 20, files: 10 },
  });
  second = join(desk.root, "second");
  third = join(desk.root, "third");
});
after(async () => await desk[Symbol.asyncDispose]());

interface Copied {
  repository: string;
  points: number;
  brought: number;
  ok: boolean;
  message?: string;
}

interface Finding {
  kind: string;
  level: string;
  message: string;
}

function copies(summary: Record<string, unknown>): Copied[] {
  return summary["copies"] as Copied[];
}

function alarms(summary: Record<string, unknown>): Finding[] {
  return (summary["findings"] as Finding[]).filter(({ level }) => level === "alarm");
}

function passwordFile(name: string): string {
  return name === "primary" ? desk.passwordFile : join(desk.root, "chatkeep", `chatkeep-${name}.password`);
}

function passwordOf(name: string): string {
  return readFileSync(passwordFile(name), "utf8").trim();
}

async function points(name: string): Promise<string[]> {
  const { points } = await desk.summary(["list", "--repository", name]);
  return (points as { point: string }[]).map(({ point }) => point);
}

async function change(): Promise<void> {
  await onDatabase(desk.installation.database, async (client) => {
    await client.query("update contacts set name = name || '.' where id = (select min(id) from contacts)");
  });
}

test("init --add makes one more repository that cuts as the first does, and backup copies all points there", async () => {
  await desk.summary(["backup"]);
  await change();
  const added = await desk.summary(["init", "--add", "second", "--location", second]);
  assert.equal(added["created"], true);
  await desk.summary(["init", "--add", "third", "--location", third]);
  const passwords = ["primary", "second", "third"].map(passwordOf);
  assert.equal(new Set(passwords).size, 3);
  const { signal } = new AbortController();
  const [a, b] = await Promise.all(
    [desk.repository, second].map(async (path, at) => {
      const opened = await openRepository(openLocalStore(path), { password: passwords[at] ?? "", signal });
      return opened.config;
    }),
  );
  assert.equal(a?.chunker_polynomial, b?.chunker_polynomial);
  assert.notEqual(a?.id, b?.id);
  for (const [repository, name] of [
    [desk.repository, "primary"],
    [second, "second"],
    [third, "third"],
  ] as const)
    await makeCheapToOpen({ ...desk, repository, passwordFile: passwordFile(name) });

  const summary = await desk.summary(["backup"]);
  assert.deepEqual(
    copies(summary).map(({ repository, points, ok }) => [repository, points, ok]),
    [
      ["second", 2, true],
      ["third", 2, true],
    ],
  );
  const names = await points("primary");
  assert.equal(names.length, 2);
  assert.deepEqual(await points("second"), names);
  assert.deepEqual(await points("third"), names);
});

for (const { path: restic, version } of judges()) {
  test(`restic ${version} finds the copy whole`, async () => {
    await runRestic(["check", "--read-data"], { repo: second, password: passwordOf("second"), restic });
  });
}

test("init --add takes no repository for another that is the first one, copied by hand or not", async () => {
  const twin = join(desk.root, "twin");
  cpSync(desk.repository, twin, { recursive: true });
  const before = readFileSync(desk.config, "utf8");
  for (const location of [desk.repository, twin]) {
    const args = ["init", "--add", "twin", "--location", location, "--password-file", desk.passwordFile];
    const refused = await desk.chatkeep(args);
    assert.equal(refused.status, 1, refused.stderr);
    assert.match(refused.stderr, /is repository 'primary' once more/);
  }
  assert.equal(readFileSync(desk.config, "utf8"), before);
  assert.ok(!existsSync(join(desk.root, "chatkeep", "chatkeep-recovery-kit-twin.txt")));
  rmSync(twin, { recursive: true });
});

test("init --from a copy puts that one first, under its own name, and the others after it", async () => {
  const config = join(desk.root, "elsewhere", "chatkeep.yaml");
  const from = ["--config", config, "init", "--from", `local:${second}/`, "--password-file", passwordFile("second")];
  assert.equal((await runCli(from, { cwd: desk.root })).status, 0);
  const known = parse(readFileSync(config, "utf8")) as { repositories: { name: string; location: string }[] };
  assert.deepEqual(
    known.repositories.map(({ name, location }) => [name, location]),
    [
      ["second", second],
      ["primary", desk.repository],
      ["third", third],
    ],
  );
  const copied = await runCli(["--config", config, "--json", "copy", "--to", "primary"], { cwd: desk.root });
  assert.equal(copied.status, 0, copied.stderr);
  const summary = summaryOf(copied.stdout);
  assert.deepEqual([summary["from"], summary["copied"], summary["skipped"]], ["second", [], 2]);
});

test("a copy whose place is gone is an alarm that names it, and the next run catches up", async () => {
  renameSync(second, `${second}.away`);
  await change();
  const summary = await desk.summary(["backup"], 3);
  assert.deepEqual(
    copies(summary).map(({ repository, ok }) => [repository, ok]),
    [
      ["second", false],
      ["third", true],
    ],
  );
  const [alarm, ...others] = alarms(summary);
  assert.deepEqual(others, []);
  assert.equal(alarm?.kind, "copy-failed");
  assert.match(alarm?.message ?? "", /repository 'second' did not get its copy: there is no repository/);
  renameSync(`${second}.away`, second);
  await change();
  const next = await desk.summary(["backup"]);
  assert.deepEqual(
    copies(next).map(({ repository, points }) => [repository, points]),
    [
      ["second", 2],
      ["third", 1],
    ],
  );
  assert.deepEqual(await points("second"), await points("primary"));
});

test("when the first repository is away the next one is written, told by an alarm, and read from", async () => {
  renameSync(desk.repository, `${desk.repository}.away`);
  await change();
  const summary = await desk.summary(["backup"], 3);
  assert.equal(summary["repository"], "second");
  assert.deepEqual(
    copies(summary).map(({ repository, points, ok }) => [repository, points, ok]),
    [["third", 1, true]],
  );
  assert.deepEqual(
    alarms(summary).map(({ kind }) => kind),
    ["repository-away"],
  );
  const listed = await desk.chatkeep(["list"]);
  assert.equal(listed.status, 0);
  assert.match(listed.stderr, /repository 'primary' does not answer \(.*\): reading from 'second'/);
  assert.match(listed.stdout, new RegExp(String(summary["point"]).slice(0, 8)));
  assert.equal((await desk.summary(["stats"]))["repository"], "second");
  // Who names a repository gets that one or nothing, and a check of one is never a check of another.
  assert.equal((await desk.chatkeep(["list", "--repository", "primary"])).status, 10);
  assert.equal((await desk.chatkeep(["verify"])).status, 10);

  const restored = await desk.chatkeep([
    "restore",
    "latest",
    "--only",
    "config",
    "--to",
    join(desk.root, "beside"),
    "--yes",
    "--quiet",
  ]);
  assert.equal(restored.status, 3, restored.stderr);
  const notAsked =
    /^alarm: repository 'primary' does not answer .*: what it has may be newer than what is read from 'second'$/m;
  assert.match(restored.stderr, notAsked);
  renameSync(`${desk.repository}.away`, desk.repository);
});

longTest(
  "the next backup that reaches the first repository brings it what was made without it, and nothing that was forgotten",
  async () => {
    const [made = ""] = await points("second");
    assert.ok(!(await points("primary")).includes(made));
    // Where it lies cannot be read now: told, tried again, and nothing is copied there that would say it was done.
    const locks = join(second, "locks");
    renameSync(locks, `${locks}.kept`);
    writeFileSync(locks, "");
    const failed = await desk.summary(["backup"], 3);
    assert.deepEqual(
      copies(failed).map(({ repository, brought, ok }) => [repository, brought, ok]),
      [
        ["second", 0, false],
        ["third", 1, true],
      ],
    );
    assert.match(alarms(failed)[0]?.message ?? "", /'primary' did not get from 'second' what was made while/);
    rmSync(locks);
    renameSync(`${locks}.kept`, locks);

    const summary = await desk.summary(["backup"]);
    assert.deepEqual(
      copies(summary).map(({ repository, points, ok }) => [repository, points, ok]),
      [
        ["second", 2, true],
        ["third", 1, true],
      ],
    );
    assert.deepEqual(await points("primary"), await points("second"));
    await runRestic(["check", "--read-data"], {
      repo: desk.repository,
      password: passwordOf("primary"),
      restic: resticPaths().at(-1)?.path ?? "",
    });

    await desk.summary(["forget", made, "--yes"]);
    assert.ok((await points("second")).includes(made));
    const next = await desk.summary(["backup"]);
    assert.ok(copies(next).every(({ brought }) => brought === 0));
    assert.ok(!(await points("primary")).includes(made));
    const again = await desk.summary(["copy", "--to", "second"]);
    assert.deepEqual([again["copied"], again["failed"]], [[], []]);

    // The newest one of a copy, taken out of it by name: nothing there is newer, and it does not come back all the same.
    const [newest = ""] = await points("second");
    await desk.summary(["forget", newest, "--repository", "second", "--yes"]);
    const last = await desk.summary(["backup"]);
    assert.deepEqual(
      copies(last).map(({ points }) => points),
      [1, 1],
    );
    assert.ok(!(await points("second")).includes(newest));
  },
);

/** Changes one byte of the point's top tree, which no other point has. */
async function damage(location: string, password: string, point: string): Promise<void> {
  const { signal } = new AbortController();
  const repository = await openRepository(openLocalStore(location), { password, signal });
  const { snapshots } = await repository.listSnapshots({ signal });
  const tree = snapshots.find(({ id }) => id === point)?.snapshot.tree;
  assert.ok(tree);
  const [found] = (await repository.loadIndex({ signal })).find("tree", tree);
  assert.ok(found);
  const pack = join(location, "data", found.pack.slice(0, 2), found.pack);
  const bytes = readFileSync(pack);
  bytes[found.offset + 20] = (bytes[found.offset + 20] ?? 0) ^ 1;
  chmodSync(pack, 0o600);
  writeFileSync(pack, bytes);
}

longTest(
  "a point that is damaged where it is copied from is tried again, though newer ones went through, until it is mended",
  async () => {
    await change();
    const made = await whileAway(second, async () => await desk.summary(["backup"], 3));
    const point = String(made["point"]);
    await damage(desk.repository, passwordOf("primary"), point);
    for (const tried of [1, 2]) {
      await change();
      const summary = await desk.summary(["backup"], 3);
      assert.deepEqual(
        copies(summary).map(({ repository, points, ok }) => [repository, points, ok]),
        [
          ["second", 1, false],
          ["third", 1, true],
        ],
        `${tried}`,
      );
      // The first of these backups says too that it could not build upon that point.
      const alarm = alarms(summary).find(({ kind }) => kind === "copy-failed");
      assert.match(alarm?.message ?? "", /'second' did not get all of its copy: restore point [0-9a-f]{8} of/);
    }
    const doctor = await desk.chatkeep(["doctor"]);
    assert.match(
      doctor.stdout + doctor.stderr,
      new RegExp(`repository 'second' lacks 1 restore point that 'primary' did not give whole: ${point.slice(0, 8)}`),
    );

    await desk.summary(["--repository", "primary", "repair", "packs", "--from", "third"]);
    const summary = await desk.summary(["backup"]);
    assert.deepEqual(
      copies(summary).map(({ repository, points, ok }) => [repository, points, ok]),
      [
        ["second", 2, true],
        ["third", 1, true],
      ],
    );
    assert.ok((await points("second")).includes(point));
    // The note of it goes with the next run, and what is forgotten from now on stays so.
    await desk.summary(["backup"]);
    const { stdout } = await runRestic(["snapshots", "--json", "--tag", "chatkeep-not-copied"], {
      repo: second,
      password: passwordOf("second"),
    });
    assert.deepEqual(JSON.parse(stdout), []);
    await desk.summary(["forget", point, "--repository", "second", "--yes"]);
    await desk.summary(["backup"]);
    assert.ok(!(await points("second")).includes(point));
  },
);

/** As a disk is mounted after the kernel has met an error, as one that fills up, and as this machine's own that is full. */
const UNWRITABLE = `
  out=$1; node=$2; chatkeep=$3; config=$4; repository=$5
  run() { name=$1; shift; set +e; "$@" > "$out/$name.out" 2> "$out/$name.err"; echo $? > "$out/$name.status"; set -e; }
  run before "$node" "$chatkeep" --config "$config" --json backup
  mount --bind "$repository" "$repository"
  mount -o remount,ro,bind "$repository"
  run read-only "$node" "$chatkeep" --config "$config" --json backup
  run named "$node" "$chatkeep" --config "$config" --json backup --repository primary
  umount "$repository"
  cp -a "$repository" "$out/template"
  mount -t tmpfs tmpfs "$repository"
  cp -a "$out/template/." "$repository"
  used=$(df --output=used --block-size=4096 "$repository" | tail -n 1)
  mount -o remount,nr_blocks=$((used + 2)) "$repository"
  run full "$node" "$chatkeep" --config "$config" --json backup --full
  ls "$repository/snapshots" > "$out/points"; ls "$repository/locks" > "$out/locks"
  umount "$repository"
  mkdir "$out/temporary"; mount -t tmpfs -o size=16k tmpfs "$out/temporary"; export TMPDIR="$out/temporary"
  run temporary "$node" "$chatkeep" --config "$config" --json backup`;

const noMounts = await cannotMount();

longTest(
  "a first repository that can be read and not written to, or fills up, is passed over for the next, and gets it later",
  async () => {
    const out = join(desk.root, "unwritable");
    mkdirSync(out);
    const before = new Set(await points("second"));
    const args = [out, process.execPath, CHATKEEP, desk.config, desk.repository];
    const { status, stderr } = await runWithMounts(UNWRITABLE, args, { env: { NO_COLOR: "1" } });
    assert.equal(status, 0, stderr);
    const read = (name: string) => readFileSync(join(out, name), "utf8");
    const told = (name: string, expected: number): Record<string, unknown> => {
      assert.equal(read(`${name}.status`).trim(), String(expected), read(`${name}.err`) + read(`${name}.out`));
      return summaryOf(read(`${name}.out`));
    };
    const made = String(told("before", 0)["point"]);
    for (const [name, why] of [
      ["read-only", /not allowed/],
      ["full", /no space left/],
    ] as const) {
      const summary = told(name, 3);
      assert.equal(summary["repository"], "second", name);
      assert.deepEqual(
        copies(summary).map(({ repository, points, ok }) => [repository, points, ok]),
        [["third", 1, true]],
      );
      // Of the disk that is full it is told as well that it is.
      const [alarm, ...others] = alarms(summary).filter(({ kind }) => kind !== "disk-low");
      assert.deepEqual([alarm?.kind, others], ["repository-away", []]);
      assert.match(alarm?.message ?? "", /'primary' cannot be written to, so the restore point was made in 'second'/);
      assert.match(alarm?.message ?? "", why);
    }
    // Nothing is left behind there that anybody would wait for.
    assert.ok(!read("points").includes(String(told("full", 3)["point"])));
    assert.equal(read("locks"), "");
    // Who names a repository means that one; and a disk of this machine is no reason to go elsewhere.
    assert.equal(read("named.status").trim(), "20");
    assert.equal(read("temporary.status").trim(), "20");
    const added = (await points("second")).filter((point) => !before.has(point));
    assert.deepEqual(added.length, 3);

    const summary = await desk.summary(["backup"]);
    assert.equal(copies(summary)[0]?.brought, 2);
    const there = await points("primary");
    for (const point of [...added, made]) assert.ok(there.includes(point), point);
  },
  { skip: noMounts ?? false },
);

longTest(
  "a first repository that goes away while the run writes is passed over too, and nothing is written where it was",
  async () => {
    const away = `${desk.repository}.away`;
    let text = "";
    const ended = Promise.withResolvers<number | null>();
    await onDatabase(desk.installation.database, async (client) => {
      // It waits for this table when it has begun to write, and before it is done.
      await client.query("begin");
      await client.query("lock table contacts in access exclusive mode");
      const child = startCli(["--config", desk.config, "--json", "backup"], { cwd: desk.root });
      child.on("close", (code) => ended.resolve(code));
      child.stderr?.resume();
      const begun = new Promise<void>((resolve) => {
        child.stdout?.setEncoding("utf8").on("data", (data: string) => {
          text += data;
          if (text.includes('"saving new files"')) resolve();
        });
      });
      await Promise.race([begun, ended.promise]);
      renameSync(desk.repository, away);
      // As the mount point that an unmounted disk leaves.
      mkdirSync(desk.repository);
      await client.query("commit");
    });
    const status = await ended.promise;
    const left = readdirSync(desk.repository);
    rmSync(desk.repository, { recursive: true });
    renameSync(away, desk.repository);
    assert.equal(status, 3, text);
    assert.deepEqual(left, []);
    const summary = summaryOf(text);
    assert.equal(summary["repository"], "second");
    assert.match(alarms(summary)[0]?.message ?? "", /'primary' cannot be written to.* is not there any more/);
    const next = await desk.summary(["backup"]);
    assert.equal(copies(next)[0]?.brought, 1);
    assert.ok((await points("primary")).includes(String(summary["point"])));
  },
);

async function held(): Promise<Record<string, string[]>> {
  const found: Record<string, string[]> = {};
  for (const name of ["primary", "second", "third"]) {
    const { holds } = await desk.summary(["hold", "--repository", name]);
    found[name] = (holds as { name: string }[]).map((one) => one.name).toSorted();
  }
  return found;
}

function everywhere(...names: string[]): Record<string, string[]> {
  return { primary: names, second: names, third: names };
}

async function whileAway<T>(path: string, work: () => Promise<T>): Promise<T> {
  renameSync(path, `${path}.away`);
  try {
    return await work();
  } finally {
    renameSync(`${path}.away`, path);
  }
}

longTest(
  "a hold is in every repository that is reached, and comes to and goes from the others with the next backup",
  async () => {
    const made = await desk.summary(["hold", "latest", "--name", "audit"]);
    assert.deepEqual([made["repositories"], made["findings"]], [["primary", "second", "third"], []]);
    assert.deepEqual(await held(), everywhere("audit"));
    const [point = ""] = await points("second");
    const refused = await desk.chatkeep(["forget", point, "--repository", "second", "--yes"]);
    assert.equal(refused.status, 2);
    assert.match(refused.stderr, /is held: audit/);

    const partly = await whileAway(second, async () => await desk.summary(["hold", point, "--name", "court"], 3));
    assert.deepEqual(partly["repositories"], ["primary", "third"]);
    assert.deepEqual(await held(), { ...everywhere("audit", "court"), second: ["audit"] });
    await desk.summary(["backup"]);
    assert.deepEqual(await held(), everywhere("audit", "court"));

    const released = await whileAway(second, async () => await desk.summary(["hold", "--release", point, "audit"], 3));
    assert.match((released["findings"] as Finding[])[0]?.message ?? "", /'second' it is still held/);
    assert.deepEqual(await held(), { ...everywhere("court"), second: ["audit", "court"] });
    await desk.summary(["backup"]);
    assert.deepEqual(await held(), everywhere("court"));
    await desk.summary(["hold", "--release", point, "court"]);
    assert.deepEqual(await held(), everywhere());
    // No trace of all this is left.
    for (const repository of ["primary", "second", "third"]) {
      const repo = { primary: desk.repository, second, third }[repository] ?? "";
      const { stdout } = await runRestic(["snapshots", "--json", "--tag", "chatkeep-hold-released"], {
        repo,
        password: passwordOf(repository),
      });
      assert.deepEqual(JSON.parse(stdout), [], repository);
    }
  },
);

longTest(
  "what is held while the first repository is away is held there too after the next backup, and a copy brings its hold",
  async () => {
    const [point = ""] = await points("second");
    const made = await whileAway(
      desk.repository,
      async () => await desk.summary(["hold", point, "--name", "audit"], 3),
    );
    assert.equal(made["repository"], "second");
    await desk.summary(["backup"]);
    assert.deepEqual(await held(), everywhere("audit"));
    // To a place that knows nothing of this desk.
    const fourth = join(desk.root, "fourth");
    const password = passwordOf("third");
    await runRestic(["init"], { repo: fourth, password });
    const env = { CHATKEEP_PASSWORD: password };
    const { holds } = await desk.summary(["copy", point, "--to", fourth], 0, { env });
    assert.equal(holds, 1);
    const there = await desk.summary(["hold", "--all", "--repository", fourth], 0, { env });
    assert.deepEqual(
      (there["holds"] as { point: string; name: string }[]).map((one) => [one.point, one.name]),
      [[point, "audit"]],
    );
    await desk.summary(["hold", "--release", point, "audit"]);
    assert.deepEqual(await held(), everywhere());
  },
);

longTest(
  "a hold that is made anew stays, though a release that another repository keeps has a time to come",
  async () => {
    const [point = ""] = await points("second");
    await desk.summary(["hold", point, "--name", "audit"]);
    const { signal } = new AbortController();
    const repository = await openRepository(openLocalStore(second), { password: passwordOf("second"), signal });
    // As by a machine whose clock is an hour ahead, and that reached this one only.
    const clock = { ...systemClock, now: () => systemClock.now() + 3_600_000 };
    const elsewhere = { repository, repositoryName: "second", installationId: undefined, clock, signal };
    await releaseHold(elsewhere, { word: point, name: "audit", remembered: "another" });
    assert.deepEqual(await held(), { ...everywhere("audit"), second: [] });
    const made = await desk.summary(["hold", point, "--name", "audit"]);
    assert.equal(made["changed"], true);
    await desk.summary(["backup"]);
    await desk.summary(["backup"]);
    assert.deepEqual(await held(), everywhere("audit"));
    await desk.summary(["hold", "--release", point, "audit"]);
    assert.deepEqual(await held(), everywhere());
  },
);

test("a wrong password is no reason to go elsewhere", async () => {
  const kept = readFileSync(desk.passwordFile, "utf8");
  writeFileSync(desk.passwordFile, "not the password\n");
  try {
    assert.equal((await desk.chatkeep(["backup"])).status, 12);
    assert.equal((await desk.chatkeep(["list"])).status, 12);
  } finally {
    writeFileSync(desk.passwordFile, kept);
  }
});

longTest("drills take the repositories in turn, and a proof counts for one of them", async () => {
  assert.equal((await desk.summary(["drill"]))["repository"], "primary");
  assert.equal((await desk.summary(["drill"]))["repository"], "second");
  const proven = async (name: string) => {
    const { points } = await desk.summary(["list", "--repository", name]);
    return (points as { provenAt: string | null }[]).filter(({ provenAt }) => provenAt !== null).length;
  };
  assert.deepEqual([await proven("primary"), await proven("second"), await proven("third")], [1, 1, 0]);
  // Proofs are not copied.
  const { copied } = await desk.summary(["copy", "--all", "--to", "third"]);
  assert.deepEqual(copied, []);
});

test("copy says what it was not told, and refuses a repository that is itself", async () => {
  const noTarget = await desk.chatkeep(["copy"]);
  assert.equal(noTarget.status, 2);
  assert.match(noTarget.stderr, /say where to copy to/);
  const itself = await desk.chatkeep(["copy", "--to", "primary"]);
  assert.equal(itself.status, 2);
  assert.match(itself.stderr, /one repository/);
  assert.equal((await desk.chatkeep(["copy", "--to", "nowhere"])).status, 2);
});

test("a copy goes to a server whose credentials stand in a file of the repository's own", async () => {
  await using server = await startRestServer();
  await desk.summary(["init", "--add", "server", "--location", server.location("desk/")], 0, { env: server.env });
  const denied = await desk.chatkeep(["copy", "--to", "server"]);
  assert.equal(denied.status, 20, denied.stderr);
  const credentials = join(desk.root, "chatkeep", "server.env");
  const lines = Object.entries(server.env).map(([name, value]) => `${name}="${value}"`);
  writeFileSync(credentials, `${lines.join("\n")}\n`, { mode: 0o644 });
  chmodSync(credentials, 0o644);
  const before = readFileSync(desk.config, "utf8");
  writeFileSync(
    desk.config,
    `# kept\n${before.replace("name: server\n", `name: server\n    env-file: ${credentials}\n`)}`,
  );
  const { copied, failed } = await desk.summary(["copy", "--to", "server"]);
  assert.deepEqual([(copied as unknown[]).length, failed], [(await points("primary")).length, []]);
  assert.deepEqual(await points("server"), await points("primary"));
  // Written in another way, it is the same repository, with its password and credentials.
  const { points: listed } = await desk.summary(["list", "--repository", server.location("desk")]);
  assert.equal((listed as unknown[]).length, (await points("primary")).length);
  await runRestic(["check", "--read-data"], {
    repo: server.location("desk/"),
    password: passwordOf("server"),
    env: server.env,
    restic: resticPaths().at(-1)?.path ?? "",
  });
  const doctor = await desk.chatkeep(["doctor"]);
  assert.equal(doctor.status, 3);
  assert.match(
    doctor.stdout + doctor.stderr,
    /the file with the credentials of repository 'server' can be read by other/,
  );
  assert.match(doctor.stdout, /place of 'primary' +answers .*, takes [\d.]+ \w+\/s/);
  assert.match(doctor.stdout, /place of 'server' +answers/);
  assert.match(doctor.stderr + doctor.stdout, /writing to the place of repository 'server' was not tried/);
  assert.ok(!(doctor.stdout + doctor.stderr + denied.stderr).includes(server.password));
});
