/** What a bucket of Google Cloud Storage says of itself, and what strangers get. */
import { plural } from "../base/bytes.ts";
import { type GsService, parseGs } from "../store/gs-service.ts";
import type { BucketFacts } from "./bucket-facts.ts";

interface Options {
  readonly sample: string | undefined;
  readonly signal: AbortSignal;
}

/** Of Google's bucket resource, what matters here. */
interface Bucket {
  readonly location?: string;
  readonly locationType?: string;
  readonly versioning?: { readonly enabled?: boolean };
  readonly retentionPolicy?: object;
  readonly objectRetention?: { readonly mode?: string };
  readonly softDeletePolicy?: { readonly retentionDurationSeconds?: string };
  readonly lifecycle?: { readonly rule?: readonly Rule[] };
}

interface Rule {
  readonly action?: { readonly type?: string };
  readonly condition?: Readonly<Record<string, unknown>>;
}

const FIELDS = "location,locationType,versioning,retentionPolicy,objectRetention,softDeletePolicy,lifecycle";

export async function readGcsFacts(service: GsService, options: Options): Promise<BucketFacts> {
  const { signal } = options;
  const answer = await service.ask({ method: "GET", path: service.bucket, query: { fields: FIELDS }, signal });
  const open = await publicOf(service, options);
  if (answer.status === 403) {
    return {
      region: undefined,
      versioning: "unknown",
      lock: "unknown",
      expiring: "unknown",
      archiving: undefined,
      replication: "unknown",
      softDeleteDays: "unknown",
      ...open,
      rights: ["storage.buckets.get"],
    };
  }
  service.expect(answer, [200], "cannot ask the bucket about itself");
  const bucket: Bucket = parseGs(answer);
  return {
    region: bucket.location,
    versioning: bucket.versioning?.enabled === true,
    lock: bucket.retentionPolicy !== undefined || bucket.objectRetention?.mode === "Enabled",
    expiring: bucket.lifecycle?.rule?.flatMap(expiryOf) ?? [],
    // Google reads its archive class at once.
    archiving: undefined,
    replication: bucket.locationType === undefined ? undefined : bucket.locationType !== "region",
    softDeleteDays: Number(bucket.softDeletePolicy?.retentionDurationSeconds ?? 0) / 86_400,
    ...open,
    rights: [],
  };
}

/** Conditions that no file of Active Storage meets: about versions that are no longer current, and about a time that it never sets. */
const NEVER_MET = [
  "numNewerVersions",
  "daysSinceNoncurrentTime",
  "noncurrentTimeBefore",
  "daysSinceCustomTime",
  "customTimeBefore",
] as const;

function expiryOf({ action, condition = {} }: Rule): string[] {
  if (action?.type !== "Delete" || condition["isLive"] === false) return [];
  if (NEVER_MET.some((name) => name in condition)) return [];
  const [prefixes, suffixes] = [namesIn(condition["matchesPrefix"]), namesIn(condition["matchesSuffix"])];
  if (prefixes?.length === 0 || suffixes?.length === 0) return [];
  const { age, createdBefore, matchesStorageClass: classes } = condition;
  const which = [
    prefixes === undefined ? "" : ` that begin with ${prefixes.join(" or ")}`,
    suffixes === undefined ? "" : ` that end with ${suffixes.join(" or ")}`,
    Array.isArray(classes) ? ` of class ${classes.join(" or ")}` : "",
  ].join("");
  const when =
    typeof age === "number"
      ? ` after ${plural(age, "day")}`
      : typeof createdBefore === "string"
        ? ` when they are from before ${createdBefore}`
        : "";
  return [`files${which} are deleted${when}`];
}

/** Of beginnings or ends of names those that a key of Active Storage can have: keys are base36. Undefined where all names will do. */
function namesIn(condition: unknown): string[] | undefined {
  if (!Array.isArray(condition) || condition.length === 0 || condition.includes("")) return undefined;
  return condition.filter((name) => typeof name === "string" && /^[a-z0-9]+$/.test(name)).map((name) => `'${name}'`);
}

async function publicOf(
  service: GsService,
  { sample, signal }: Options,
): Promise<Pick<BucketFacts, "publicReads" | "publicLists">> {
  const stranger = await service.anonymous(signal);
  if (stranger === undefined) return { publicReads: undefined, publicLists: undefined };
  const isAnswered = async (path: string, query: Record<string, string>) =>
    (await stranger.ask({ method: "GET", path, query, signal })).status === 200;
  return {
    publicReads: sample === undefined ? undefined : await isAnswered(service.pathOf(sample), { fields: "size" }),
    publicLists: await isAnswered(service.objects, { maxResults: "1", fields: "items(name)" }),
  };
}
