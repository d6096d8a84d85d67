/** A fork's checkout and a folder without git, each in a restore point; what becomes of the server they were on; and stages that are killed. */
import assert from "node:assert/strict";
import { cp, mkdir, readFile, rm } from "node:fs/promises";
import type { Installation } from "../../../src/installation/installation.ts";
import { PointReader } from "../../../src/job/point-reader.ts";
import { listPoints } from "../../../src/job/points.ts";
import type { CodeRecord } from "../../../src/job/stages/code-stage.ts";
import type { StageContext, StageOptions } from "../../../src/job/stages/stage.ts";
import type { Manifest } from "../../../src/point/manifest.ts";
import type { TestFolder } from "../../harness/temporary.ts";
import { readFolder } from "../../harness/tree.ts";
import { commit, git, makeCheckout, makeUpstream, write } from "../../installation/checkout.ts";
import { backUpInto, type MemoryDesk, openMemoryDesk } from "../memory-desk.ts";
import { contextFor, type MemoryRecord } from "./stage-context.ts";

const signal = new AbortController().signal;

export interface ForkDesk extends AsyncDisposable {
  readonly desk: MemoryDesk;
  /** Of a fork's checkout with local commits and edits, and of a folder without git. */
  readonly fork: PointReader;
  readonly plain: PointReader;
}

export async function openForkDesk(): Promise<ForkDesk> {
  const desk = await openMemoryDesk();
  const { folder } = desk;
  await makeUpstream(folder.at("upstream"));
  await makeCheckout(folder.at("upstream"), folder.at("fork"));
  await makeForks(folder.at("fork"));
  await write(folder.at("plain"), "lib/mine.rb", "mine\n");
  await write(folder.at("plain"), "changed.rb", "saved\n");
  for (const [kind, root] of [
    ["git", folder.at("fork")],
    ["files", folder.at("plain")],
  ] as const) {
    await backUpInto(desk.repository, { ...desk, installation: { ...desk.installation, code: { kind, root } } });
  }
  await desk.repository.loadIndex({ signal });
  const { points } = await listPoints(desk.repository, { signal });
  const [plain, fork] = points.map((point) => new PointReader(desk.repository, point, { signal }));
  assert(fork && plain);
  return { desk, fork, plain, [Symbol.asyncDispose]: async () => await desk[Symbol.asyncDispose]() };
}

/** Local commits on a branch of their own, an edit that is staged, one that is not, and untracked files. */
async function makeForks(root: string): Promise<void> {
  await git(root, "checkout", "--quiet", "-b", "acme");
  await write(root, "app/models/acme.rb", "class Acme\nend\n");
  await commit(root, "acme's own");
  await write(root, "README.md", "staged\n");
  await git(root, "add", "--all");
  await write(root, "README.md", "staged and edited\n");
  await write(root, "app/models/message.rb", "edited\n");
  await write(root, "public/acme.css", "untracked\n");
}

export async function stateOf(root: string): Promise<unknown> {
  // So that git's memory of times is fresh.
  await git(root, "status");
  return {
    files: await readFolder(root, { except: (path) => path === ".git" }),
    head: await readFile(`${root}/.git/HEAD`, "utf8"),
    said: await Promise.all(
      [["status", "--porcelain"], ["for-each-ref"], ["diff"], ["diff", "--cached"]].map(
        async (question) => await git(root, ...question),
      ),
    ),
  };
}

export async function workOf(root: string): Promise<unknown> {
  const { files, head, said } = (await stateOf(root)) as { files: unknown; head: string; said: string[] };
  return { files, head, status: said[0], edits: said.slice(2) };
}

export function placeAt({ desk }: ForkDesk, root: string, kind: "git" | "files" = "git"): Installation {
  return { ...desk.installation, root, code: { kind, root } };
}

export async function contextOf(
  { desk }: ForkDesk,
  folder: TestFolder,
  reader: PointReader,
  installation: Installation,
  { chatwoot, ...options }: Partial<StageOptions> & { chatwoot?: Partial<Manifest["chatwoot"]> } = {},
): Promise<StageContext> {
  await mkdir(folder.at("restore"), { recursive: true });
  const context = await contextFor(reader, installation, {
    folder: folder.at("restore"),
    options,
    address: desk.demo.database,
  });
  if (chatwoot === undefined) return context;
  return { ...context, manifest: { ...context.manifest, chatwoot: { ...context.manifest.chatwoot, ...chatwoot } } };
}

/** The same server later: upgraded, edited by somebody else, and with files where the saved ones belong. */
export async function upgraded({ desk }: ForkDesk, folder: TestFolder): Promise<string> {
  const root = folder.at("app");
  await cp(desk.folder.at("fork"), root, { recursive: true });
  await git(root, "reset", "--quiet", "--hard");
  await rm(`${root}/public/acme.css`);
  await write(root, "newer.rb", "newer\n");
  await write(root, "config/app.yml", "shared: &shared\n  version: '4.16.0'\n");
  await commit(root, "upgraded");
  await git(root, "checkout", "--quiet", "master");
  await write(root, "config/app.yml", "edited since\n");
  await write(root, "public/acme.css", "another\n");
  await write(root, "app/models/acme.rb", "in the way\n");
  return root;
}

/** Ends the work as a kill would, right behind something that was recorded. */
export async function killedAt(
  kill: number,
  record: MemoryRecord<CodeRecord>,
  work: () => Promise<unknown>,
): Promise<void> {
  let count = 0;
  record.onKeep = () => {
    count += 1;
    if (count === kill) throw new Error("killed");
  };
  await assert.rejects(work(), /killed/);
  record.onKeep = () => {};
}
