/** The `.env` of an installation, as Chatwoot's own set-up script for Linux leaves it behind. */
import type { DemoAddress } from "./database.ts";
import type { SeededRandom } from "./random.ts";

export interface DemoSecrets {
  secretKeyBase: string;
  primaryKey: string;
  deterministicKey: string;
  salt: string;
  databasePassword: string;
  smtpPassword: string;
  facebookSecret: string;
  inboundPassword: string;
}

export function makeSecrets(random: SeededRandom): DemoSecrets {
  return {
    secretKeyBase: random.alphanumeric(63),
    primaryKey: random.alphanumeric(32),
    deterministicKey: random.alphanumeric(32),
    salt: random.alphanumeric(32),
    databasePassword: random.alphanumeric(24),
    smtpPassword: random.alphanumeric(20),
    facebookSecret: random.alphanumeric(32),
    inboundPassword: random.alphanumeric(20),
  };
}

export const FRONTEND_URL = "https://support.acme.example";

/** The variables in the order of the file. */
export function makeEnvironment(database: DemoAddress, secrets: DemoSecrets): Map<string, string> {
  return new Map([
    ["SECRET_KEY_BASE", secrets.secretKeyBase],
    ["FRONTEND_URL", FRONTEND_URL],
    ["FORCE_SSL", "true"],
    ["ENABLE_ACCOUNT_SIGNUP", "false"],
    ["REDIS_URL", "redis://localhost:6379"],
    ["REDIS_PASSWORD", ""],
    ["POSTGRES_HOST", database.host],
    ["POSTGRES_PORT", String(database.port)],
    ["POSTGRES_USERNAME", database.user],
    ["POSTGRES_PASSWORD", secrets.databasePassword],
    ["RAILS_ENV", "production"],
    ["RAILS_MAX_THREADS", "5"],
    ["MAILER_SENDER_EMAIL", "Acme Support <support@acme.example>"],
    ["SMTP_DOMAIN", "acme.example"],
    ["SMTP_ADDRESS", "smtp.acme.example"],
    ["SMTP_PORT", "587"],
    ["SMTP_USERNAME", "support"],
    ["SMTP_PASSWORD", secrets.smtpPassword],
    ["SMTP_AUTHENTICATION", "plain"],
    ["MAILER_INBOUND_EMAIL_DOMAIN", "reply.acme.example"],
    ["RAILS_INBOUND_EMAIL_SERVICE", "relay"],
    ["RAILS_INBOUND_EMAIL_PASSWORD", secrets.inboundPassword],
    ["ACTIVE_STORAGE_SERVICE", "local"],
    ["S3_BUCKET_NAME", ""],
    ["AWS_ACCESS_KEY_ID", ""],
    ["AWS_SECRET_ACCESS_KEY", ""],
    ["FB_APP_ID", "104729104729"],
    ["FB_APP_SECRET", secrets.facebookSecret],
    ["RAILS_LOG_TO_STDOUT", "true"],
    ["LOG_LEVEL", "info"],
    ["ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY", secrets.primaryKey],
    ["ACTIVE_RECORD_ENCRYPTION_DETERMINISTIC_KEY", secrets.deterministicKey],
    ["ACTIVE_RECORD_ENCRYPTION_KEY_DERIVATION_SALT", secrets.salt],
    ["INSTALLATION_ENV", "linux_script"],
    ...(database.database === "chatwoot_production" ? [] : [["POSTGRES_DATABASE", database.database] as const]),
  ]);
}

const COMMENTS: Readonly<Record<string, string>> = {
  SECRET_KEY_BASE: "Signs cookies and the links to files. Keep it when you move.",
  REDIS_URL: "Redis",
  POSTGRES_HOST: "PostgreSQL",
  MAILER_SENDER_EMAIL: "Outgoing e-mail",
  MAILER_INBOUND_EMAIL_DOMAIN: "Incoming e-mail",
  ACTIVE_STORAGE_SERVICE: "Where uploads are kept",
  ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY: "Encrypt channel credentials in the database. Without them those are lost.",
};

/** The file's text. Values that need quotes are quoted, as the dotenv gem reads them. */
export function formatEnvironment(environment: ReadonlyMap<string, string>): string {
  const lines = [...environment].flatMap(([name, value]) => {
    const comment = COMMENTS[name];
    const shown = /[\s#<>]/.test(value) ? `"${value}"` : value;
    return [...(comment === undefined ? [] : ["", `# ${comment}`]), `${name}=${shown}`];
  });
  return `${lines.join("\n").trimStart()}\n`;
}
