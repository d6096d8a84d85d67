/** What is worrying about Chatwoot's processes wherever they run in containers: images, passwords, disagreement. */
import { listSome } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";

/** Of images that any pull may replace: a tag `latest`, or none. */
export function floatingTagFinding(images: readonly string[]): Finding[] {
  const floating = [...new Set(images)].filter((image) => {
    const [, tag] = /:([^/]*)$/.exec(image) ?? [];
    return !image.includes("@") && !/^[0-9a-f]{12,64}$/.test(image) && (tag === undefined || tag.startsWith("latest"));
  });
  if (floating.length === 0) return [];
  return [
    {
      kind: "image-tag-latest",
      level: "warning",
      names: floating,
      message: `the image is ${floating.join(" and ")}, so any pull brings another Chatwoot, and there is no way back from its migrations`,
      hint: "Name a version, for example chatwoot/chatwoot:v4.15.1, and change it when you mean to upgrade.",
    },
  ];
}

/** What Chatwoot's examples, its Helm chart and many guides have, and everybody tries first. */
const KNOWN_PASSWORDS = new Set([
  "postgres",
  "password",
  "chatwoot",
  "chatwoot_prod",
  "redis",
  "admin",
  "secret",
  "changeme",
  "change_me",
  "your_password",
  "yourpassword",
  "123456",
]);

function isKnown(password = ""): boolean {
  return KNOWN_PASSWORDS.has(password.toLowerCase());
}

export function knownPasswordFinding(environment: ReadonlyMap<string, string>): Finding[] {
  const known = [
    ...["POSTGRES_PASSWORD", "REDIS_PASSWORD"].filter((name) => isKnown(environment.get(name))),
    ...["DATABASE_URL", "REDIS_URL"].filter((name) => isKnown(URL.parse(environment.get(name) ?? "")?.password)),
  ];
  if (known.length === 0) return [];
  return [
    {
      kind: "default-secrets",
      level: "warning",
      message: `the password in ${known.join(" and ")} is one that examples have, so everybody knows it`,
      hint: "Set passwords of your own, in the environment and in the server itself, and make sure that no port of them is published to the world.",
    },
  ];
}

/** A process that has another value of one of these works on something else, or for another address. */
export const DECISIVE = [
  "SECRET_KEY_BASE",
  "ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY",
  "ACTIVE_RECORD_ENCRYPTION_DETERMINISTIC_KEY",
  "ACTIVE_RECORD_ENCRYPTION_KEY_DERIVATION_SALT",
  "RAILS_ENV",
  "DATABASE_URL",
  "POSTGRES_HOST",
  "POSTGRES_DATABASE",
  "REDIS_URL",
  "FRONTEND_URL",
  "ACTIVE_STORAGE_SERVICE",
] as const;

interface NamedProcess {
  name: string;
  env: ReadonlyMap<string, string>;
}

/** @param hintFor What to do about those that differ from the first. */
export function differenceFinding<T extends NamedProcess>(
  leader: T,
  others: readonly T[],
  hintFor: (differing: readonly T[]) => string,
): Finding[] {
  const differing = DECISIVE.filter((name) => others.some(({ env }) => env.get(name) !== leader.env.get(name)));
  if (differing.length === 0) return [];
  const who = others.filter(({ env }) => differing.some((name) => env.get(name) !== leader.env.get(name)));
  return [
    {
      kind: "environment-differs",
      level: "warning",
      message: `${leader.name} and ${listSome(who.map(({ name }) => name))} do not agree in ${differing.join(", ")}`,
      hint: hintFor(who),
    },
  ];
}

/**
 * What Chatwoot serves to browsers comes with its image: on a volume it stays as it was (F22).
 * @param mounted Names of those that have one there.
 * @param where What says so.
 */
export function publicFinding(mounted: readonly string[], where: string): Finding[] {
  if (mounted.length === 0) return [];
  return [
    {
      kind: "public-on-volume",
      level: "warning",
      message: `/app/public of ${mounted.join(" and ")} is on a volume, so an upgrade keeps showing the old pages`,
      hint: `Take that mount out of ${where}: the image brings these files. Chatkeep neither saves nor restores them.`,
    },
  ];
}
