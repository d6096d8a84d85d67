import assert from "node:assert/strict";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { parse } from "yaml";
import { parseCron } from "../../src/schedule/cron.ts";
import { findJob, formatCrontab, readCrontab, withJob, withoutJob, writeCrontab } from "../../src/schedule/crontab.ts";
import type { DailyJob } from "../../src/schedule/job.ts";
import { formatCompose, type ManifestOptions } from "../../src/schedule/manifests.ts";
import { ownUnits, removeUnits } from "../../src/schedule/systemd.ts";
import { formatUnits } from "../../src/schedule/units.ts";
import { CRONTAB } from "../harness/crontab.ts";
import { mustRun, run } from "../harness/run.ts";
import { temporaryFolder } from "../harness/temporary.ts";

const ID = "6f1c0000-0000-4000-8000-000000000001";
const OTHER = "6f1c0000-0000-4000-8000-000000000002";

function jobAt(folder: string, id = ID): DailyJob {
  return {
    installation: { id, name: "acme" },
    command: ["/bin/echo", `${folder}/with blank/100%/$HOME/"quoted"'s`],
    config: `${folder}/with blank/chatkeep.yaml`,
    times: parseCron("30 2 * * *", "Europe/Berlin"),
    writes: ["/var/lib/chatkeep", `${folder}/with blank/100%`],
  };
}

for (const scope of ["system", "user"] as const) {
  test(`systemd finds nothing wrong with the units of a ${scope}, whatever is in the paths`, async () => {
    await using folder = await temporaryFolder();
    const { name, service, timer } = formatUnits(jobAt(folder.path), scope);
    assert.equal(name, "chatkeep-acme");
    const files = [`${name}.service`, `${name}.timer`].map((file) => folder.at(file));
    await Promise.all(files.map(async (file, index) => await writeFile(file, [service, timer][index] ?? "")));
    const options = scope === "user" ? ["--user"] : [];
    // A user's manager wants a place for its sockets.
    const env = { XDG_RUNTIME_DIR: folder.path };
    const verified = await run("systemd-analyze", ["verify", "--man=no", ...options, ...files], { env });
    assert.equal(`${verified.stdout}${verified.stderr}`, "");
    assert.equal(verified.status, 0);
  });
}

test("the service may write only where the configuration says, and comes last in everything", () => {
  const { service, timer } = formatUnits(jobAt("/srv"), "system");
  assert.deepEqual(
    [...service.matchAll(/^ReadWritePaths=(.*)$/gm)].map(([, path]) => path),
    ['"-/var/lib/chatkeep"', '"-/srv/with blank/100%%"'],
  );
  for (const line of ["ProtectSystem=strict", "NoNewPrivileges=yes", "PrivateTmp=yes", "IOSchedulingClass=idle"])
    assert.ok(service.includes(`\n${line}\n`), line);
  assert.match(service, /^TimeoutStartSec=infinity$/m);
  assert.match(timer, /^Persistent=true$/m);
  assert.match(timer, /^RandomizedDelaySec=30m$/m);
});

test("only units with this installation's marker are known, and removed", async () => {
  await using folder = await temporaryFolder();
  const mine = formatUnits(jobAt("/srv"), "user");
  const other = formatUnits(jobAt("/srv", OTHER), "user");
  await writeFile(folder.at("chatkeep-old-name.service"), mine.service);
  await writeFile(folder.at("chatkeep-other.service"), other.service);
  await writeFile(folder.at("chatkeep-copied.service"), `# my own\n${mine.service}`);
  await writeFile(folder.at("unrelated.service"), mine.service);
  assert.deepEqual(await ownUnits(folder.path, ID), [folder.at("chatkeep-old-name.service")]);
  const { signal } = new AbortController();
  assert.deepEqual(await removeUnits({ scope: "user", folder: folder.path }, ID, { signal }), [
    folder.at("chatkeep-old-name.service"),
  ]);
  assert.deepEqual(await ownUnits(folder.path, ID), []);
  assert.deepEqual(await ownUnits(folder.path, OTHER), [folder.at("chatkeep-other.service")]);
});

test("a crontab keeps everything else that is in it, and has the line once", () => {
  const before = "# mine\nMAILTO=ops@example.com\n5 5 * * * /usr/bin/true # chatkeep\n";
  const once = withJob(before, jobAt("/srv"));
  assert.ok(once.startsWith(before));
  assert.equal(withJob(once, jobAt("/srv")), once);
  const both = withJob(once, jobAt("/srv", OTHER));
  assert.equal(findJob(both, ID), formatCrontab(jobAt("/srv"))[1]);
  assert.equal(withoutJob(withoutJob(both, OTHER), ID), before);
  assert.equal(findJob(before, ID), undefined);
  assert.equal(withoutJob(withJob("", jobAt("/srv")), ID), "");
});

test("cron hands the words to the program as they are", async () => {
  await using folder = await temporaryFolder();
  const job = jobAt(folder.path);
  const line = formatCrontab(job)[1] ?? "";
  const call = line.split(" ").slice(5).join(" ");
  assert.doesNotMatch(call, /(?<!\\)%/, "a bare % would end the command");
  // As cron does: then the rest is the shell's.
  const printed = await mustRun("/bin/sh", ["-c", call.replaceAll("\\%", "%").replace("/bin/echo", "printf '%s\\n'")]);
  assert.deepEqual(printed.stdout.trimEnd().split("\n"), [
    ...job.command.slice(1),
    "--config",
    job.config,
    "--quiet",
    "run",
    "--delay",
    "30",
  ]);
});

test("the table is read and written by crontab; none is an empty one, and what cron says is told", async () => {
  await using folder = await temporaryFolder();
  await mkdir(folder.at("bin"));
  await writeFile(folder.at("bin/crontab"), CRONTAB);
  await chmod(folder.at("bin/crontab"), 0o755);
  const { signal } = new AbortController();
  const env = { PATH: `${folder.at("bin")}:${process.env["PATH"] ?? ""}`, TABLE: folder.at("table") };
  assert.equal(await readCrontab({ signal, env }), "");
  await writeFile(folder.at("table"), "5 5 * * * true\n");
  assert.equal(await readCrontab({ signal, env }), "5 5 * * * true\n");
  await writeCrontab("1 1 * * * true\n", { signal, env });
  assert.equal(await readCrontab({ signal, env }), "1 1 * * * true\n");
  await writeCrontab("", { signal, env });
  assert.equal(await readCrontab({ signal, env }), "");
  await assert.rejects(writeCrontab("refuse\n", { signal, env }), /cron refused: .*can't install/);
});

test("the Compose service has the same times, and waits by itself", () => {
  const job = jobAt("/srv");
  const options = {
    image: "chatkeep:test",
    reads: ["/home/chatwoot"],
    stateDir: "/var/lib/chatkeep",
    owner: { uid: 10_027, gid: 10_027 },
  };
  const compose = parse(formatCompose(job, options)) as {
    services: { chatkeep: { command: string[]; volumes: { target: string; read_only?: boolean }[] } };
  };
  assert.ok(compose.services.chatkeep.command.includes("--when-due"));
  assert.deepEqual(
    compose.services.chatkeep.volumes.map(({ target, read_only: isReadOnly }) => [target, isReadOnly === true]),
    [
      ["/srv/with blank", true],
      ["/var/lib/chatkeep", false],
      // Below what is mounted to be read alone.
      ["/srv/with blank/100%", false],
      ["/home/chatwoot", true],
    ],
  );
});

const ENGINE = { kind: "socket", path: "/var/run/docker.sock" } as const;

/** What the service is given to ask an engine that listens there. */
function asking(engine: ManifestOptions["engine"]) {
  const usual = { image: "x", reads: [], stateDir: "/srv/state", owner: { uid: 10_027, gid: 10_027 } };
  const { services } = parse(formatCompose(jobAt("/srv"), { ...usual, engine })) as {
    services: {
      chatkeep: { user: string; environment: Record<string, string>; volumes: { source: string; target: string }[] };
    };
  };
  const { user, environment, volumes } = services.chatkeep;
  const variables = Object.fromEntries(Object.entries(environment).filter(([name]) => name.startsWith("DOCKER_")));
  const { source, target } = volumes.at(-1) ?? {};
  return { user, variables, mount: [source, target] };
}

test("the Compose service asks the engine that was found, whose socket stands in the container where it is looked for", () => {
  const found = asking({ kind: "socket", path: "/run/user/1000/podman/podman.sock" });
  assert.deepEqual(found, {
    user: "0:0",
    variables: {},
    mount: ["/run/user/1000/podman/podman.sock", "/var/run/docker.sock"],
  });
  const remote = asking({ kind: "tcp", host: "10.0.0.7", port: 2376, certificates: "/root/.docker" });
  const variables = { DOCKER_HOST: "tcp://10.0.0.7:2376", DOCKER_TLS_VERIFY: "1", DOCKER_CERT_PATH: "/root/.docker" };
  assert.deepEqual(remote, { user: "0:0", variables, mount: ["/root/.docker", "/root/.docker"] });
  const plain = asking({ kind: "tcp", host: "fd00::7", port: 2375 });
  assert.deepEqual(plain.variables, { DOCKER_HOST: "tcp://[fd00::7]:2375" });
});

function printedService(options: Partial<ManifestOptions>) {
  const usual = { image: "x", reads: [], stateDir: "/srv/state", owner: { uid: 10_027, gid: 10_027 } };
  const text = formatCompose(jobAt("/srv"), { ...usual, ...options });
  const { services, volumes } = parse(text) as {
    services: { chatkeep: { user?: string; volumes: { type: string; target: string; read_only?: boolean }[] } };
    volumes?: object;
  };
  const { user, volumes: mounts } = services.chatkeep;
  const state = mounts.find(({ target }) => target === "/srv/state");
  const names = mounts.find(({ target }) => target === "/etc/passwd");
  return { text, user, state: state?.type, hasVolume: volumes !== undefined, knowsNames: names?.read_only === true };
}

test("the Compose service runs as who owns the configuration, which nobody else may read", () => {
  const { text: _text, ...own } = printedService({});
  assert.deepEqual(own, { user: undefined, state: "volume", hasVolume: true, knowsNames: false });

  const { text: asRoot, ...root } = printedService({ owner: { uid: 0, gid: 0 } });
  assert.deepEqual(root, { user: "0:0", state: "volume", hasVolume: true, knowsNames: false });
  assert.match(asRoot, /^# The configuration is root's, so the service runs as root\./m);

  // A volume would be root's, and PostgreSQL does not start for a user without a name.
  const { text: asAnn, ...ann } = printedService({ owner: { uid: 1000, gid: 100 } });
  assert.deepEqual(ann, { user: "1000:100", state: "bind", hasVolume: false, knowsNames: true });
  assert.match(asAnn, /install -d -o 1000 -g 100 -m 700 \/srv\/state$/m);

  const { text: _asking, ...asking } = printedService({ owner: { uid: 1000, gid: 100 }, engine: ENGINE });
  assert.deepEqual(asking, { user: "0:0", state: "volume", hasVolume: true, knowsNames: false });
});
