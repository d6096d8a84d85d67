/** The images of before an upgrade, with an engine that says what real ones say, and with `docker compose` in short. */
import assert from "node:assert/strict";
import { chmod, chown, mkdir, readFile, stat, writeFile, rm } from "node:fs/promises";
import { afterEach, beforeEach, test } from "node:test";
import { isFailure } from "../../../src/base/errors.ts";
import { findInstallation } from "../../../src/installation/find.ts";
import { type ComposeProject, readComposeProject } from "../../../src/installation/images.ts";
import { imageStage, type KeptImages } from "../../../src/job/stages/image-stage.ts";
import type { PointReader } from "../../../src/job/point-reader.ts";
import type { StageContext } from "../../../src/job/stages/stage.ts";
import type { ImageDetails } from "../../../src/system/container-details.ts";
import { makeStandInCompose, type StandInCompose } from "../../harness/stand-in-compose.ts";
import { type StandInContainer, type StandInEngine, startStandInEngine } from "../../harness/stand-in-engine.ts";
import { temporaryFolder, type TestFolder } from "../../harness/temporary.ts";
import { production } from "../../installation/compose-shapes.ts";
import { memoryRecord } from "./stage-context.ts";

const signal = new AbortController().signal;
const NAME = "chatwoot/chatwoot:v4.15.1";
const [OLD, NEW, SERVER] = ["1", "2", "3"].map((digit) => `sha256:${digit.repeat(64)}`) as [string, string, string];
const FILE = "services: { rails: { image: chatwoot/chatwoot:v4.15.1 } }\n";
const PATH = process.env["PATH"];

let folder: TestFolder;
let engine: StandInEngine;
let images: ImageDetails[];
let containers: StandInContainer[];
let docker: StandInCompose;
let compose: string;
let wanted: ComposeProject;

/** Containers of the services that `docker compose up` was called for are of what their names mean then. */
function made(of: readonly StandInContainer[]): StandInContainer[] {
  for (const line of docker.newUps()) {
    for (const one of of.filter(({ Config }) => line.includes(` ${Config.Labels?.["com.docker.compose.service"]}`))) {
      one.Image = images.find(({ RepoTags }) => RepoTags?.includes(one.Config.Image))?.Id ?? one.Image;
    }
  }
  return [...of];
}

beforeEach(async () => {
  folder = await temporaryFolder();
  await mkdir(folder.at("restore"));
  docker = await makeStandInCompose(folder, [NAME]);
  process.env["PATH"] = `${docker.path}:${PATH}`;
  compose = folder.at("docker-compose.yaml");
  await writeFile(compose, FILE);
  images = [
    { Id: OLD, RepoTags: [NAME], RepoDigests: ["chatwoot/chatwoot@sha256:of-the-registry"], Config: {} },
    { Id: NEW, RepoTags: [], Config: {} },
    { Id: SERVER, RepoTags: ["pgvector/pgvector:pg16", "redis:alpine"], Config: {} },
  ];
  containers = production(folder.at("storage"), { folder: folder.path });
  for (const one of containers) one.Image = one.Config.Image === NAME ? OLD : SERVER;
  engine = await startStandInEngine({
    get containers() {
      return made(containers);
    },
    images,
  });
  const { place } = await contextOf(undefined);
  const project = await readComposeProject(place.installation, { signal });
  assert(project !== undefined);
  wanted = project;
  await upgrade();
});

afterEach(async () => {
  process.env["PATH"] = PATH;
  await engine[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

/** The name means another image, the containers run that, and the Compose file is other and for its owner alone. */
async function upgrade(): Promise<void> {
  const [old, newer] = images;
  assert(old !== undefined && newer !== undefined);
  [old.RepoTags, newer.RepoTags] = [[], [NAME]];
  for (const one of containers) if (one.Image === OLD) one.Image = NEW;
  await writeFile(compose, `${FILE}# of the upgrade\n`);
  await chmod(compose, 0o640);
  if (process.getuid?.() === 0) await chown(compose, 1234, 1235);
}

async function contextOf(project: ComposeProject | undefined): Promise<StageContext> {
  const env = { DOCKER_HOST: engine.host };
  const { installation } = await findInstallation({}, { signal, env });
  const saved = new Map([[`config/files${compose}`, FILE]]);
  const reader = {
    find: async (path: string) => await Promise.resolve(saved.has(path) ? {} : undefined),
    readText: async (path: string) => await Promise.resolve(saved.get(path) ?? ""),
  } as unknown as PointReader;
  // What is asked of databases is asked by other stages.
  return {
    place: { installation },
    folder: folder.at("restore"),
    signal,
    reader,
    options: { project },
  } as unknown as StageContext;
}

function running(): string[] {
  return made(containers).map(({ Image }) => Image);
}

async function fileNow(): Promise<[text: string, mode: number, uid: number]> {
  const { mode, uid } = await stat(compose);
  return [await readFile(compose, "utf8"), mode & 0o777, uid];
}

test("names mean the images of before again and containers are made of them, not started; an undo is as after the upgrade", async () => {
  const context = await contextOf(wanted);
  const [, ...owned] = await fileNow();
  const plan = await imageStage.plan(context);
  assert.deepEqual(plan.blockers, []);
  assert.deepEqual(plan.lines, [
    "containers of rails, sidekiq are made again of the images that they ran",
    `put back: ${compose}`,
  ]);
  assert.deepEqual(running().slice(0, 2), [NEW, NEW], "a plan changes nothing");
  const record = memoryRecord<KeptImages>();
  const { lines, next } = await imageStage.apply(context, record);
  assert.equal(lines[0], `rails runs ${NAME} as it was (sha256:111111111111)`);
  assert.match(lines[2] ?? "", /docker-compose\.yaml is as it was; the other one is kept as /);
  assert.match(next?.[0] ?? "", /the next 'docker compose pull' brings the newer ones back/);
  assert.deepEqual(running(), [OLD, OLD, SERVER, SERVER]);
  assert.deepEqual(await fileNow(), [FILE, ...owned]);
  const [up] = docker.calls().filter((line) => line.includes(" up "));
  assert.match(
    up ?? "",
    /^compose --project-name=chatwoot .* --profile=\* up --no-start --no-deps --no-build --pull=never rails sidekiq$/,
  );
  assert.deepEqual((await imageStage.plan(context)).lines, [], "nothing is left to do");
  assert.deepEqual(await imageStage.planUndo?.(context, record), { blockers: [], findings: [] });
  await writeFile(compose, `${FILE}# by a person\n`);
  const back = await imageStage.undo(context, record);
  const [, aside = ""] = /what was written into it since is kept as (\S+)$/m.exec(back.lines.join("\n")) ?? [];
  assert.equal(await readFile(aside, "utf8"), `${FILE}# by a person\n`);
  assert.deepEqual(running(), [NEW, NEW, SERVER, SERVER]);
  assert.deepEqual(
    images.map(({ RepoTags }) => RepoTags?.includes(NAME)),
    [false, true, false],
  );
  assert.deepEqual(await fileNow(), [`${FILE}# of the upgrade\n`, ...owned]);
});

test("a copy that is gone stands in the way of going back", async () => {
  const context = await contextOf(wanted);
  const record = memoryRecord<KeptImages>();
  await imageStage.apply(context, record);
  await rm(folder.at("restore/compose/0"));
  const { blockers = [] } = (await imageStage.planUndo?.(context, record)) ?? {};
  assert.deepEqual(
    blockers.map(({ kind }) => kind),
    ["put-aside-gone"],
  );
  assert.ok(blockers[0]?.message.startsWith(`${compose} cannot be put back`));
});

test("killed before or after anything, it is called again and ends as if it had not been; so is its undo", async () => {
  const context = await contextOf(wanted);
  const record = memoryRecord<KeptImages>();
  record.onKeep = () => {
    throw new Error("killed");
  };
  await assert.rejects(imageStage.apply(context, record), /killed/);
  assert.match((await fileNow())[0], /of the upgrade/, "it is kept before anything is changed");
  record.onKeep = () => {};
  // The engine has the names already, and Compose does not come to its end.
  await docker.setFailing(true);
  await assert.rejects(imageStage.apply(context, record), (error) => isFailure(error, "program/failed"));
  await docker.setFailing(false);
  assert.equal(docker.newUps().length, 1, "what failed has made nothing");
  assert.deepEqual(running().slice(0, 2), [NEW, NEW]);
  await imageStage.apply(context, record);
  const { lines } = await imageStage.apply(context, record);
  assert.equal(lines.length, 3, "what was done is told, also by the last call");
  assert.deepEqual(running(), [OLD, OLD, SERVER, SERVER]);
  for (const _ of [1, 2]) await imageStage.undo(context, record);
  assert.deepEqual(running(), [NEW, NEW, SERVER, SERVER]);
  assert.match((await fileNow())[0], /of the upgrade/);
});

test("an image that is gone stands in the way beforehand, with what brings it back; so does a machine without Compose", async () => {
  const context = await contextOf(wanted);
  images.splice(0, 1);
  await docker.setFailing(true);
  const { blockers } = await imageStage.plan(context);
  assert.deepEqual(
    blockers.map(({ kind }) => kind),
    ["compose-not-run", "image-gone", "image-gone"],
  );
  assert.match(blockers[0]?.hint ?? "", new RegExp(`docker tag ${OLD} ${NAME}`));
  assert.match(blockers[1]?.hint ?? "", /'docker pull chatwoot\/chatwoot@sha256:of-the-registry' brings it back/);
});

test("without an upgrade to undo, and where all runs as it did, there is nothing to do", async () => {
  assert.deepEqual((await imageStage.plan(await contextOf(undefined))).lines, []);
});
