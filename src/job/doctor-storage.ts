/** What `doctor` finds at Chatwoot's storage services: whether they can be read, a few files, and the bucket itself. */
import type { Clock } from "../base/clock.ts";
import { formatBytes, listSome, plural } from "../base/bytes.ts";
import { Failure, isFailure } from "../base/errors.ts";
import type { Finding } from "../base/findings.ts";
import type { Progress } from "../base/progress.ts";
import type { Installation } from "../installation/installation.ts";
import type { ServerAddress } from "../postgres/address.ts";
import { withConflictRetries } from "../postgres/conflict.ts";
import { connect } from "../postgres/connect.ts";
import type { BucketFacts } from "../source/bucket-facts.ts";
import type { SourceSpec } from "../source/source.ts";
import { outageFinding } from "./findings.ts";
import type { Queries } from "./list-storage.ts";
import { sampleStorage } from "./sample-storage.ts";
import { Sources, type StorageSettings } from "./sources.ts";
import type { DoctorSummary } from "./summaries.ts";

type Examined = Pick<DoctorSummary, "facts" | "findings"> & {
  /** Of all uploaded files that the database lists. */
  bytes: number;
};
type BucketSpec = Exclude<SourceSpec, { kind: "local" }>;

/** Reading goes by each file's own service, whatever the environment says now. */
const SERVICES_QUERY = `select service_name as service, count(*)::int as files, sum(byte_size)::text as bytes
 from active_storage_blobs group by 1 order by 1`;

export interface ExaminedInstallation {
  installation: Installation;
  address(): ServerAddress;
}

export interface StorageExamination {
  /** What the configuration says of storage services. */
  storageSettings?(): Promise<StorageSettings>;
  /** Ids of the blobs that the newest restore point tells to be lost, by service. */
  knownLost: ReadonlyMap<string, readonly string[]>;
  clock: Clock;
  progress: Progress;
  signal: AbortSignal;
}

/** The files, wherever they are: what the database lists, and what their services say. */
export async function examineStorage(found: ExaminedInstallation, options: StorageExamination): Promise<Examined> {
  await using connection = await connect(found.address(), options);
  const { installation } = found;
  await using sources = new Sources({ ...options, installation, settings: await options.storageSettings?.() });
  return await withConflictRetries(async () => await examineServices(connection, sources, options));
}

async function examineServices(
  database: Queries,
  sources: Sources,
  { knownLost, signal }: Pick<StorageExamination, "knownLost" | "signal">,
): Promise<Examined> {
  const examined: Examined = { facts: [], findings: [], bytes: 0 };
  const services = await database.query<{ service: string; files: number; bytes: string }>(SERVICES_QUERY);
  for (const { service, files, bytes } of services) {
    examined.bytes += Number(bytes);
    const place = await sources.find(service);
    if (place.kind === "out") {
      examined.findings.push(outageFinding(service, files, place.outage, "not saved"));
      continue;
    }
    const { spec } = place;
    const { there, findings } = await sampleStorage(database, sources, {
      spec,
      knownLost: knownLost.get(service) ?? [],
      signal,
    });
    examined.findings.push(...findings);
    if (spec.kind === "local") continue;
    examined.facts.push({
      name: `files in '${service}'`,
      value: `${plural(files, "file")}, ${formatBytes(Number(bytes))}`,
      from: `${spec.kind === "azure" ? "container" : "bucket"} '${spec.bucket}'`,
    });
    const told = await askBucket(sources, spec, { sample: there, signal });
    if (told instanceof Failure) examined.findings.push(notTold(service, told.message));
    else {
      examined.facts.push({ name: `bucket of '${service}'`, value: describe(told), from: told.region ?? "" });
      examined.findings.push(...bucketFindings(spec, told));
    }
  }
  return examined;
}

/** A service that has been read is there: what it does not tell of itself is no reason to worry. */
async function askBucket(
  sources: Sources,
  spec: BucketSpec,
  options: { sample: string | undefined; signal: AbortSignal },
): Promise<BucketFacts | Failure> {
  try {
    const told = await (await sources.open(spec)).facts(options);
    return told ?? new Failure("internal/bug", "a bucket was taken for a folder");
  } catch (error) {
    options.signal.throwIfAborted();
    if (!isFailure(error) || error.code === "internal/bug") throw error;
    return error;
  }
}

function notTold(service: string, why: string): Finding {
  return {
    kind: "bucket-not-told",
    level: "note",
    message: `the bucket of storage '${service}' tells nothing of itself: ${why}`,
    hint: "Backups do not need it. Look in the provider's console for versioning, lifecycle rules and public access.",
  };
}

function word(value: BucketFacts["versioning"]): string {
  return value === "unknown" ? "not told" : value === true ? "on" : "off";
}

function describe({ versioning, lock, softDeleteDays, replication }: BucketFacts): string {
  const parts = [
    versioning === undefined ? "" : `versioning ${word(versioning)}`,
    lock === undefined ? "" : `object lock ${word(lock)}`,
    typeof softDeleteDays === "number" && softDeleteDays > 0
      ? `deleted files kept ${plural(softDeleteDays, "day")}`
      : "",
    replication === undefined ? "" : `replication ${word(replication)}`,
  ].filter((part) => part !== "");
  return parts.length === 0 ? "tells nothing of itself" : parts.join(", ");
}

export function bucketFindings(spec: BucketSpec, facts: BucketFacts): Finding[] {
  return [
    ...openFindings(spec, facts),
    ...ruleFindings(spec, facts),
    ...regionFindings(spec, facts),
    ...rightsFindings(spec, facts),
    protectionFinding(spec, facts),
  ];
}

function openFindings({ service }: BucketSpec, { publicReads, publicLists }: BucketFacts): Finding[] {
  const verbs = [publicLists === true ? "list" : "", publicReads === true ? "read" : ""].filter((verb) => verb !== "");
  if (verbs.length === 0) return [];
  return [
    {
      kind: "bucket-public",
      level: "alarm",
      message: `anybody can ${verbs.join(" and ")} the uploaded files of storage '${service}': its bucket answers without credentials`,
      hint: "These are your customers' files. Block public access to the bucket: Chatwoot hands out links of its own, signed and for a short time.",
    },
  ];
}

function ruleFindings({ service }: BucketSpec, { expiring, archiving }: BucketFacts): Finding[] {
  const findings: Finding[] = [];
  if (Array.isArray(expiring) && expiring.length > 0) {
    findings.push({
      kind: "bucket-expires",
      level: "alarm",
      subject: `${service}: ${expiring.join("; ")}`,
      message: `a lifecycle rule deletes uploaded files of storage '${service}': ${listSome(expiring)}`,
      hint: "Chatwoot never uploads a file again, and shows an error in its place. Take the rule away; restore points have what was there when they were made. Where it is meant to be: 'chatkeep ack bucket-expires'.",
    });
  }
  if (Array.isArray(archiving) && archiving.length > 0) {
    findings.push({
      kind: "bucket-archives",
      level: "warning",
      message: `a lifecycle rule takes uploaded files of storage '${service}' out of reach: ${listSome(archiving)}`,
      hint: "Neither Chatwoot nor a backup can read them there. Take the rule away, or choose a class that can be read at once.",
    });
  }
  return findings;
}

function regionFindings(spec: BucketSpec, { region }: BucketFacts): Finding[] {
  if (spec.kind !== "s3" || !spec.isAmazon || region === undefined || region === spec.region) return [];
  return [
    {
      kind: "bucket-elsewhere",
      level: "note",
      message: `the bucket of storage '${spec.service}' lies in ${region}, and ${spec.names.address} ${spec.region === undefined ? "is empty" : `says ${spec.region}`}`,
      hint: `Chatkeep follows it. Set ${spec.names.address}=${region} in Chatwoot's environment, which looks elsewhere first.`,
    },
  ];
}

function rightsFindings({ service }: BucketSpec, { rights }: BucketFacts): Finding[] {
  if (rights.length === 0) return [];
  return [
    {
      kind: "bucket-not-told",
      level: "note",
      message: `the bucket of storage '${service}' does not tell everything of itself: the credentials lack ${rights.join(", ")}`,
      hint: "Backups do not need these rights; with them 'doctor' would see rules that delete files.",
    },
  ];
}

/** What the provider's own protection is good for, and what not: nothing of it knows the database. */
function protectionFinding({ service, kind }: BucketSpec, facts: BucketFacts): Finding {
  const { versioning, softDeleteDays, lock } = facts;
  const isKept = versioning === true || (typeof softDeleteDays === "number" && softDeleteDays > 0);
  const isUnknown = versioning === "unknown" && !isKept;
  const keeps = isUnknown
    ? "may keep what is deleted (it does not tell)"
    : isKept
      ? "keeps what is deleted for a while"
      : "keeps nothing that is deleted";
  const management = kind === "azure" ? " Lifecycle rules and replication are told in Azure's portal only." : "";
  const locked = lock === true || !isKept ? "" : " Whoever has credentials that may delete versions deletes them, too.";
  return {
    kind: "bucket-protection",
    level: "note",
    message: `the provider's own protection of storage '${service}' ${keeps}, and does not stand for a backup`,
    hint: `It brings single files back, by hand. It does not help when the account is closed or the bucket is deleted, and it does not know which files belong to the database of a moment: restore points do.${locked}${management}`,
  };
}
