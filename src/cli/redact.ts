/**
 * Nothing printed ever holds a secret. Every verb tells its secrets as soon as it knows them, and every byte that is
 * printed goes through {@link Redactor.redact}. The one exception is the content that `dump` was asked for.
 */
import { ERRORS } from "../base/errors.ts";
import { createRedactor, passwordsIn } from "../base/redact.ts";

/** Fields of our JSON whose values are our own words: they stay readable even when a password is such a word. */
const VOCABULARY = new Set(["type", "verb", "kind", "level"]);

function isVocabulary(key: string, value: unknown): boolean {
  return VOCABULARY.has(key) || (key === "code" && typeof value === "string" && value in ERRORS);
}

export class Redactor {
  readonly #values = new Set<string>();
  #redact: ((text: string) => string) | undefined;

  /** Hides these values in every form that {@link createRedactor} knows. */
  hide(secrets: Iterable<string>): void {
    for (const secret of secrets) {
      this.#values.add(secret);
      this.#values.add(secret.trim());
    }
    this.#redact = undefined;
  }

  redact(text: string): string {
    this.#redact ??= createRedactor(this.#values);
    return this.#redact(text);
  }

  /** A copy of a JSON-like value in which every text is redacted; its shape and its vocabulary stay. */
  redactDeep<T>(value: T): T {
    return this.#copy(value) as T;
  }

  #copy(value: unknown): unknown {
    if (typeof value === "string") return this.redact(value);
    if (Array.isArray(value)) return value.map((item) => this.#copy(item));
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, isVocabulary(key, item) ? item : this.#copy(item)]),
    );
  }
}

/** Secrets that the environment may hold for us or for the programs that we start. */
export function secretsOfEnvironment(env: Readonly<Record<string, string | undefined>>): string[] {
  const passwords = ["CHATKEEP_PASSWORD", "RESTIC_PASSWORD", "RESTIC_REST_PASSWORD", "PGPASSWORD", "POSTGRES_PASSWORD"];
  const keys = ["AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "MINIO_SECRET_KEY"];
  const azure = ["AZURE_ACCOUNT_KEY", "AZURE_ACCOUNT_SAS", "AZURE_STORAGE_CONNECTION_STRING"];
  const direct = [...passwords, ...keys, ...azure, "GOOGLE_ACCESS_TOKEN"];
  const addresses = ["DATABASE_URL", "CHATKEEP_REPOSITORY", "RESTIC_REPOSITORY"];
  return [...direct.map((name) => env[name] ?? ""), ...passwordsIn(addresses.map((name) => env[name] ?? ""))];
}
