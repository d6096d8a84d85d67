/**
 * The configuration: one YAML file, checked by a schema, every complaint with its line and column.
 * `${NAME}` in a value stands for an environment variable. Secrets may be given by `…-file` or `…-command` instead.
 */
import { readFile } from "node:fs/promises";
import { isAbsolute, join, resolve } from "node:path";
import { isMap, isNode, isScalar, LineCounter, parseDocument, type Document } from "yaml";
import { z } from "zod";
import { Failure, messageOf } from "../base/errors.ts";
import { INSTALLATION_KINDS } from "../installation/installation.ts";
import type { ScratchKind } from "../postgres/scratch.ts";
import { hooksSchema, notifySchema, objectivesSchema, pingSchema, scheduleSchema } from "./config-daily.ts";
import { watchSchema } from "./config-watch.ts";
import type { Globals, Surroundings } from "./surroundings.ts";

const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, "use letters, digits, '.', '_' and '-', at most 63");

/** KiB a second, as restic counts; a terabyte a second is no limit. */
const rate = z
  .int()
  .min(1)
  .max(2 ** 30);

const retentionTime = z.string().regex(/^[1-9]\d{0,3}d$/, "write it in days, as 30d");

const immutableSchema = z.union(
  [retentionTime, z.strictObject({ for: retentionTime, mode: z.enum(["governance", "compliance"]).optional() })],
  "write it as 30d, or as { for: 30d, mode: compliance }",
);

const variables = z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "not the name of a variable"), z.string());

const repositoryFields = z.strictObject({
  name,
  location: z.string().min(1),
  "password-file": z.string().min(1).optional(),
  "password-command": z.string().min(1).optional(),
  password: z.string().min(1).optional(),
  /** Credentials of its place, for it alone: a file of NAME=value lines, and single variables. */
  "env-file": z.string().min(1).optional(),
  env: variables.optional(),
  "limit-upload": rate.optional(),
  "limit-download": rate.optional(),
  /** Calls under way at once at a remote place, for each thread. */
  connections: z.int().min(1).max(256).optional(),
  /** Every file is kept from being removed for so long after it was last used. */
  immutable: immutableSchema.optional(),
});

const repositorySchema = repositoryFields
  .refine(({ immutable, location }) => immutable === undefined || /^(s3|azure):/.test(location), {
    path: ["immutable"],
    message: "only an s3: or azure: repository can be immutable",
  })
  .refine(
    ({ immutable, location }) =>
      typeof immutable !== "object" || immutable.mode !== "governance" || !location.startsWith("azure:"),
    {
      path: ["immutable", "mode"],
      message: "an azure: repository knows only 'compliance': who may extend what can be lifted may lift it",
    },
  );

const processCommands = z.strictObject({ web: z.string().min(1).optional(), worker: z.string().min(1).optional() });

const installationSchema = z.strictObject({
  id: z.uuid(),
  name,
  kind: z.enum(INSTALLATION_KINDS).optional(),
  root: z.string().min(1).optional(),
  "env-file": z.string().min(1).optional(),
  "database-url": z.string().min(1).optional(),
  "database-url-file": z.string().min(1).optional(),
  storage: z.string().min(1).optional(),
  /** Further files and folders to save as configuration. */
  config: z.array(z.string().min(1)).optional(),
  /** Folder of the code, a git checkout or not. */
  code: z.string().min(1).optional(),
  version: z.string().min(1).optional(),
  /** Which of several Compose projects of this machine. */
  "compose-project": z.string().min(1).optional(),
  /** A container of Chatwoot's, where no Compose project has a name for it. */
  container: z.string().min(1).optional(),
  /** Of a Kubernetes cluster; without it that of Chatkeep's own pod, or of the kubeconfig's context. */
  namespace: z.string().min(1).optional(),
  /** A Deployment or StatefulSet of Chatwoot's, where the namespace has several installations. */
  deployment: z.string().min(1).optional(),
  /** Lines for the shell, where the ways of the kind are not the right ones: run by a restore. */
  stop: processCommands.optional(),
  start: processCommands.optional(),
  /** A line for the shell, or the address of the web process. */
  health: z.string().min(1).optional(),
  /** A line for the shell that runs Chatwoot's own migrations: when a restore is asked for them. */
  migrate: z.string().min(1).optional(),
});

const count = z.int().min(0).max(100_000).optional();
const span = z
  .string()
  .regex(/^(?=\d)(\d{1,4}y)?(\d{1,5}m)?(\d{1,6}d)?(\d{1,7}h)?$/, "write it as 1y6m, 30d or 2d12h")
  .optional();

const retentionSchema = z.strictObject({
  last: count,
  hourly: count,
  daily: count,
  weekly: count,
  monthly: count,
  yearly: count,
  within: span,
  "within-hourly": span,
  "within-daily": span,
  "within-weekly": span,
  "within-monthly": span,
  "within-yearly": span,
  tags: z.array(z.string().min(1)).optional(),
  /** Of continuous protection: any moment that is no older can be brought back. */
  window: z
    .string()
    .regex(/^(?=\d)([1-9]\d{0,3}d)?([1-9]\d{0,4}h)?$/, "write it as 7d, 36h or 2d12h")
    .optional(),
});

/** Where a drill looks for a server, in this order. */
export const DRILL_SERVERS = [
  "programs",
  "container",
  "embedded",
  "database-url",
] as const satisfies readonly ScratchKind[];

const databaseSchema = z.strictObject({
  /** What 'backup --from-standby' reads in place of the server that Chatwoot uses. */
  "standby-url": z.string().min(1).optional(),
  "standby-url-file": z.string().min(1).optional(),
  /** Prints the password of the role that Chatkeep uses; asked whenever a session is opened. */
  "password-command": z.string().min(1).optional(),
  jobs: z.int().min(1).max(16).optional(),
  /** Rows are read, and tables scanned, no faster. */
  "max-rate": rate.optional(),
  /** Every row is read at least this often, whatever the server says of changes. */
  "full-every": z
    .string()
    .regex(/^\d{1,3}d$/, "write it in days, as 7d; 0d reads every row each time")
    .optional(),
});

const drillSchema = z.strictObject({
  /** An image of the database that is on this machine, by name or digest. */
  image: z.string().min(1).optional(),
  /** A folder with npm's embedded server. */
  embedded: z.string().min(1).optional(),
  /** A server on which a database may be made and dropped. */
  "database-url": z.string().min(1).optional(),
  "database-url-file": z.string().min(1).optional(),
  /** Where a server is looked for, in this order. */
  servers: z.array(z.enum(DRILL_SERVERS)).min(1).optional(),
});

/** How one of Chatwoot's storage services is read, where its own environment is not what Chatkeep should go by. */
const storageSchema = z.strictObject({
  /** Variables that count before Chatwoot's own: a key that may only read. */
  "env-file": z.string().min(1).optional(),
  env: variables.optional(),
  /** `machine`: the provider's own chain, for the role of this machine or container. */
  credentials: z.enum(["environment", "machine"]).optional(),
  /** Where the service answers, if not at its usual address. */
  endpoint: z
    .string()
    .regex(/^https?:\/\/[^/?#@]+(\/[^?#]*)?$/, "write it as https://host or https://host/path")
    .optional(),
  "limit-download": rate.optional(),
});

const storagesSchema = z.strictObject({
  amazon: storageSchema.optional(),
  s3_compatible: storageSchema.optional(),
  google: storageSchema.omit({ endpoint: true }).optional(),
  microsoft: storageSchema.omit({ credentials: true }).optional(),
});

const fallSchema = z.strictObject({
  percent: z.number().min(0).max(100).optional(),
  count: z.int().min(0).optional(),
});
const fall = z.union([fallSchema, z.literal(false)], "write it as { percent: 10, count: 100 }, or false").optional();

/** How much an account may lose without an alarm; what is not said is in `FALL_LIMITS`. */
const alarmsSchema = z.strictObject({ conversations: fall, messages: fall, contacts: fall, files: fall });

const configSchema = z.strictObject({
  installation: installationSchema,
  repositories: z
    .array(repositorySchema)
    .min(1, "name at least one repository")
    .refine((all) => new Set(all.map((one) => one.name)).size === all.length, "two repositories have one name"),
  database: databaseSchema.optional(),
  storage: storagesSchema.optional(),
  drill: drillSchema.optional(),
  retention: retentionSchema.optional(),
  alarms: alarmsSchema.optional(),
  schedule: scheduleSchema.optional(),
  objectives: objectivesSchema.optional(),
  /** Continuous protection. */
  watch: watchSchema.optional(),
  notify: notifySchema.optional(),
  /** A dead-man's switch: it is called when a run begins and ends, so that silence is noticed. */
  ping: pingSchema.optional(),
  hooks: hooksSchema.optional(),
  /** JSON: how the last run went, and what there is to restore. */
  "status-file": z.string().min(1).optional(),
  /** The same for node_exporter's textfile collector. */
  "metrics-file": z
    .string()
    .regex(/\.prom$/, "its name must end with .prom, or node_exporter passes over it")
    .optional(),
  /** Where the lock, the last status and undelivered notices lie. */
  "state-dir": z.string().min(1).optional(),
});

export type Config = z.infer<typeof configSchema>;
export type RepositoryConfig = z.infer<typeof repositorySchema>;
export type RetentionConfig = z.infer<typeof retentionSchema>;
export type AlarmsConfig = z.infer<typeof alarmsSchema>;
export type InstallationConfig = z.infer<typeof installationSchema>;

export interface LoadedConfig {
  path: string;
  config: Config;
  /** It names variables of the environment. */
  usesVariables: boolean;
}

const VARIABLE = /\$\{([A-Za-z_][A-Za-z0-9_]*)\}/;

/** Where a configuration is looked for that nobody names. */
export const DEFAULT_PLACES = ["./chatkeep.yaml", "/etc/chatkeep/chatkeep.yaml"] as const;
export const SYSTEM_CONFIG = "/etc/chatkeep/chatkeep.yaml";

/** The file that `--config`, `$CHATKEEP_CONFIG` or the usual places name; undefined when there is none. */
export async function findConfig(globals: Globals, s: Surroundings): Promise<LoadedConfig | undefined> {
  const named = globals.config ?? s.env["CHATKEEP_CONFIG"];
  if (named !== undefined && named !== "") {
    const text = await readConfig(resolve(s.cwd, named));
    if (text === undefined) {
      throw new Failure("config/missing", `there is no configuration file '${named}'`, {
        hint: "Make one with 'chatkeep init', or name another with --config.",
      });
    }
    return { path: resolve(s.cwd, named), config: parseConfig(text, named, s.env), usesVariables: VARIABLE.test(text) };
  }
  for (const place of DEFAULT_PLACES) {
    const path = isAbsolute(place) ? place : join(s.cwd, place);
    const text = await readConfig(path);
    if (text !== undefined) return { path, config: parseConfig(text, path, s.env), usesVariables: VARIABLE.test(text) };
  }
  return undefined;
}

/** @throws Failure `config/missing` that names the places that were looked in. */
export async function loadConfig(globals: Globals, s: Surroundings): Promise<LoadedConfig> {
  const found = await findConfig(globals, s);
  if (found !== undefined) return found;
  throw new Failure("config/missing", `no configuration found: looked for ${DEFAULT_PLACES.join(" and ")}`, {
    hint: "Run 'chatkeep init' to make one, or name it with --config FILE.",
  });
}

/** Undefined where there is no such file. @throws Failure `config/invalid` when it may not be read. */
export async function readConfig(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw new Failure("config/invalid", `cannot read the configuration '${path}': ${messageOf(cause)}`, {
      hint: "Run Chatkeep as the user that may read it.",
      cause,
    });
  }
}

/** @throws Failure `config/invalid` with line and column. */
export function parseConfig(text: string, path: string, env: Surroundings["env"]): Config {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, prettyErrors: false });
  const [error] = document.errors;
  if (error !== undefined) throw invalid(path, lines, error.pos[0], error.message.split("\n")[0] ?? "not YAML");
  const problems: { offset: number; message: string }[] = [];
  const value = substitute(document, env, problems);
  const [missing] = problems;
  if (missing !== undefined) throw invalid(path, lines, missing.offset, missing.message);
  const result = configSchema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw issue === undefined ? invalid(path, lines, 0, "not valid") : invalidIssue(path, lines, document, issue);
}

function invalid(path: string, lines: LineCounter, offset: number, message: string): Failure {
  const { line, col } = lines.linePos(offset);
  return new Failure("config/invalid", `${path}:${line}:${col}: ${message}`, {
    hint: "Mend that line; 'chatkeep help config' lists what can stand in the file.",
  });
}

function invalidIssue(path: string, lines: LineCounter, document: Document, issue: z.core.$ZodIssue): Failure {
  const keys = issue.path.map((part) => (typeof part === "symbol" ? part.toString() : part));
  if (issue.code === "unrecognized_keys") {
    const [unknown = ""] = issue.keys;
    const where = keys.length === 0 ? "" : ` in '${keys.join(".")}'`;
    return invalid(path, lines, keyOffset(document, keys, unknown), `unknown key '${unknown}'${where}`);
  }
  const what = keys.join(".") || "the file";
  if (issue.code === "invalid_type") {
    const given: unknown = keys.length === 0 ? document.toJS() : document.getIn(keys);
    const isThere = given !== undefined && given !== null;
    const wanted = KINDS[issue.expected] ?? issue.expected;
    return invalid(
      path,
      lines,
      nodeOffset(document, keys),
      isThere ? `${what}: must be ${wanted}` : keys.length === 0 ? "the file is empty" : `${what}: missing, or empty`,
    );
  }
  // Zod's own sentences begin with a capital; what we say may hold somebody's words.
  const message = issue.code === "custom" ? issue.message : issue.message.toLowerCase();
  return invalid(path, lines, nodeOffset(document, keys), `${what}: ${message}`);
}

/** What a person calls them. */
const KINDS: Readonly<Record<string, string>> = {
  string: "text: put it into quotes",
  int: "a whole number",
  number: "a number",
  array: "a list",
  object: "a group of names and values",
};

function keyOffset(document: Document, path: (string | number)[], key: string): number {
  const node = path.length === 0 ? document.contents : document.getIn(path, true);
  if (!isMap(node)) return 0;
  const pair = node.items.find((item) => isScalar(item.key) && item.key.value === key);
  return isNode(pair?.key) ? (pair.key.range?.[0] ?? 0) : 0;
}

/** Where the value lies, or the nearest thing around it that exists. */
function nodeOffset(document: Document, path: (string | number)[]): number {
  for (let length = path.length; length >= 0; length -= 1) {
    const node = length === 0 ? document.contents : document.getIn(path.slice(0, length), true);
    if (isNode(node) && node.range) return node.range[0];
  }
  return 0;
}

/** The document's value with what variables stand for; those that are not set are problems. */
export function substitute(
  document: Document,
  env: Surroundings["env"],
  problems: { offset: number; message: string }[],
): unknown {
  const visit = (node: unknown): unknown => {
    if (isMap(node)) {
      return Object.fromEntries(
        node.items.map((item) => [isScalar(item.key) ? String(item.key.value) : "", visit(item.value)]),
      );
    }
    if (typeof node === "object" && node !== null && "items" in node && Array.isArray(node.items))
      return node.items.map(visit);
    if (!isScalar(node)) return isNode(node) ? node.toJS(document) : node;
    if (typeof node.value !== "string") return node.value;
    return node.value.replaceAll(new RegExp(VARIABLE, "g"), (whole, variable: string) => {
      const found = env[variable];
      if (found === undefined)
        problems.push({ offset: node.range?.[0] ?? 0, message: `the environment variable ${variable} is not set` });
      return found ?? whole;
    });
  };
  return visit(document.contents);
}
