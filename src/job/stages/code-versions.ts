/** Which code a place has, which the point was taken of, and whether the one may run the other's database. */
import { join } from "node:path";
import type { Finding } from "../../base/findings.ts";
import { type CodeFacts, type GateVerdict, judgeVersions, type SavedDatabase } from "../../chatwoot/version-gates.ts";
import type { ImagePlace, Installation } from "../../installation/installation.ts";
import { namesIn } from "../../installation/places.ts";
import { readReleases } from "../../installation/releases.ts";
import type { Manifest } from "../../point/manifest.ts";
import { connectBeside } from "../../postgres/target.ts";
import type { StageContext } from "./stage.ts";

/** Chatwoot's own images. */
const UPSTREAM = "chatwoot/chatwoot";

/** `ghcr.io/x/chatwoot:v4` → `ghcr.io/x/chatwoot` */
function repositoryOf(name: string): string {
  return name
    .replace(/@sha256:[0-9a-f]+$/, "")
    .replace(/:[^/:]+$/, "")
    .replace(/^(?:docker\.io\/)?(?:library\/)?/, "");
}

/** Images of one repository, whatever their tags; or no images at all. */
export function isSameMake(
  one: Pick<ImagePlace, "name"> | undefined,
  other: Pick<ImagePlace, "name"> | undefined,
): boolean {
  if (one === undefined || other === undefined) return one === other;
  return repositoryOf(one.name) === repositoryOf(other.name);
}

/** True for one of Chatwoot's own images. */
export function isOfUpstream(name: string): boolean {
  return repositoryOf(name) === UPSTREAM;
}

export function isSameImage(one: ImagePlace, other: ImagePlace): boolean {
  return one.id === other.id || (one.digest !== undefined && one.digest === other.digest);
}

/** As a Compose file names exactly this one. */
export function exactName({ name, digest, id }: ImagePlace): string {
  return digest ?? `${name} (${id.slice(0, 19)})`;
}

async function migrationFiles(root: string | undefined): Promise<string[] | undefined> {
  if (root === undefined) return undefined;
  const found = (await namesIn(join(root, "db/migrate"))).flatMap((name) => /^(\d{14})_\w+\.rb$/.exec(name)?.[1] ?? []);
  return found.length === 0 ? undefined : found;
}

async function codeFactsOf({ image, version, code, root }: Installation, { chatwoot }: Manifest): Promise<CodeFacts> {
  const folder = code?.root ?? root;
  const number = version === undefined ? "the code" : `Chatwoot ${version}`;
  return {
    version,
    // Where an image runs, a folder of the machine is no part of it.
    migrations: await migrationFiles(image === undefined || code !== undefined ? folder : undefined),
    isSameMake: isSameMake(image, chatwoot.image),
    isUpstreams: image !== undefined && isOfUpstream(image.name),
    what: image === undefined ? `${number} that is installed here` : `the image ${image.name}`,
  };
}

/** For people: what has to be installed to have the saved code. */
export function savedCodeName({ chatwoot }: Manifest): string | undefined {
  const { image, version, commit } = chatwoot;
  if (image !== undefined) return `the image ${exactName(image)}`;
  if (version === null) return commit === null ? undefined : `commit ${commit.slice(0, 10)}`;
  return commit === null ? `Chatwoot ${version}` : `Chatwoot ${version} (commit ${commit.slice(0, 10)})`;
}

function savedDatabaseOf(manifest: Manifest): SavedDatabase {
  return {
    applied: manifest.chatwoot.migrations,
    version: manifest.chatwoot.version,
    hasUsers: manifest.tables.some(({ schema, name, rows }) => schema === "public" && name === "users" && rows > 0),
    hasVector: manifest.server.extensions.some(({ name }) => name === "vector"),
    code: savedCodeName(manifest),
  };
}

async function offersVector({ place, signal }: StageContext): Promise<boolean> {
  await using connection = await connectBeside(place.address, { signal });
  const found = await connection.query("select from pg_catalog.pg_available_extensions where name = 'vector'");
  return found.length > 0;
}

const FITS: GateVerdict = { relation: "same", lacking: [], blockers: [], findings: [] };

/** Whether the code that the place has now may run the point's database. */
export async function judgePlace(context: StageContext): Promise<GateVerdict> {
  const { manifest, place, options } = context;
  // Its containers will run the images of before an upgrade again.
  if (options.project !== undefined) return FITS;
  const saved = savedDatabaseOf(manifest);
  const facts = await codeFactsOf(place.installation, manifest);
  const known = await readReleases();
  const judge = (canHaveVector: boolean) =>
    judgeVersions(saved, facts, { migrate: options.migrate, canHaveVector, known });
  const verdict = judge(false);
  // The server is asked only where it decides something.
  return verdict.blockers.some(({ kind }) => kind === "pgvector-needed") && (await offersVector(context))
    ? judge(true)
    : verdict;
}

/** What stands in the way of the point's database where no code is brought back, and what is worth knowing. */
export async function planVersions(context: StageContext): Promise<{ blockers: Finding[]; findings: Finding[] }> {
  const { blockers, findings } = await judgePlace(context);
  const { manifest, place, options } = context;
  const made = options.project === undefined ? makeFindings(manifest, place.installation) : [];
  return { blockers: [...blockers], findings: [...findings, ...made] };
}

/** The same release in another edition, or built otherwise. */
function makeFindings({ chatwoot }: Manifest, { image, edition }: Installation): Finding[] {
  const findings: Finding[] = [];
  if (image !== undefined && chatwoot.image !== undefined && !isSameImage(image, chatwoot.image)) {
    findings.push({
      kind: "image-differs",
      level: "warning",
      message: `this place runs ${exactName(image)}; the point was taken of ${exactName(chatwoot.image)}`,
      hint: `To have exactly that again, name ${chatwoot.image.digest ?? chatwoot.image.name} as the image of web and worker, and make their containers again.`,
    });
  }
  if (chatwoot.edition === "ee" && edition === "ce") {
    findings.push({
      kind: "edition-differs",
      level: "warning",
      message: "the point was taken of Chatwoot with its enterprise folder, and this place is the community edition",
      hint: "All data comes back, and what only the other edition uses lies idle; people who log in by SAML cannot. Use the ordinary image to have it again.",
    });
  }
  return findings;
}
