/** What is worrying about an installation that was found. */
import { listSome } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import { activeStorageService } from "../chatwoot/environment.ts";
import { hasEncryptionKeys } from "../chatwoot/encryption.ts";
import type { Installation } from "./installation.ts";
import { isExposed, lookAt } from "./places.ts";

function railsEnvFindings({ environment }: Installation): Finding[] {
  const rails = environment.get("RAILS_ENV");
  if (rails === undefined || rails === "") {
    return [
      {
        kind: "rails-env-unset",
        level: "note",
        message: "RAILS_ENV is not set in Chatwoot's environment; it is taken for production",
        hint: "Set RAILS_ENV=production in Chatwoot's environment file, so that every tool looks at the same database.",
      },
    ];
  }
  if (rails === "production") return [];
  return [
    {
      kind: "rails-env-not-production",
      level: "warning",
      message: `RAILS_ENV is '${rails}' in Chatwoot's environment, so the database is not the production one`,
      hint: "Chatwoot's example file ships RAILS_ENV=development: set it to production if this Chatwoot serves people.",
    },
  ];
}

function secretFindings({ environment }: Installation): Finding[] {
  const findings: Finding[] = [];
  const secret = environment.get("SECRET_KEY_BASE") ?? "";
  if (secret === "" || /replace_with/i.test(secret)) {
    findings.push({
      kind: secret === "" ? "secret-key-base-missing" : "secret-key-base-example",
      level: "warning",
      message: `SECRET_KEY_BASE in Chatwoot's environment is ${secret === "" ? "not set" : "the example's, which everybody knows"}`,
      hint:
        secret === ""
          ? "Without it, links to files in articles and e-mails and the sessions of widget visitors break: name the environment file that the running Chatwoot uses."
          : "Anybody can sign links and sessions with it: set one of your own; links to files in articles must then be made anew.",
    });
  }
  if (!hasEncryptionKeys(environment)) {
    findings.push({
      kind: "encryption-keys-unset",
      level: "note",
      message:
        "the ACTIVE_RECORD_ENCRYPTION_* keys are not in Chatwoot's environment, so channel passwords stand unencrypted in its database",
      hint: "Nothing to do for the backup: the repository is encrypted. Two-factor logins need these keys.",
    });
  }
  return findings;
}

/** How the environment was read. */
export interface EnvironmentRead {
  /** Variables whose value a shell command would make. */
  commands: readonly string[];
  /** Files that the processes are given and that are not read. */
  environmentFiles: readonly string[];
  /** Lines that say nothing, by file. */
  idle: readonly { file: string; lines: readonly number[] }[];
}

/** Never what stands there: it may be a secret that lost its name. */
export function idleLinesFinding(file: string, lines: readonly number[]): Finding {
  const which = `${lines.length === 1 ? "line" : "lines"} ${listSome(lines.map(String), 8)}`;
  return {
    kind: "env-file-lines",
    level: "note",
    message: `${which} of ${file} ${lines.length === 1 ? "says" : "say"} nothing: no NAME=value, and no comment`,
    hint: "What was meant there is not in force, neither for Chatwoot nor for a backup. Write NAME=value, or # before a comment.",
  };
}

/** Worries that the environment alone shows. */
export function environmentFindings(
  installation: Installation,
  { commands, environmentFiles, idle }: EnvironmentRead,
): Finding[] {
  const findings = idle.map(({ file, lines }) => idleLinesFinding(file, lines));
  if (commands.length > 0) {
    findings.push({
      kind: "environment-command",
      level: "warning",
      message: `the environment file makes ${commands.join(", ")} by a shell command, which Chatkeep does not run`,
      hint: "Write the value itself into the file, so that it is saved and can be used.",
    });
  }
  if (environmentFiles.length > 0) {
    findings.push({
      kind: "environment-file-not-read",
      level: "warning",
      message: `Chatwoot's systemd unit takes environment from ${environmentFiles.join(", ")}, which Chatkeep does not read`,
      hint: "Name the file under 'config' to have it saved, and put what Chatkeep needs into Chatwoot's .env.",
    });
  }
  // Without any environment there is nothing to say of it: the database was named by hand.
  if (installation.environment.size === 0) return findings;
  findings.push(...railsEnvFindings(installation), ...secretFindings(installation));
  const service = activeStorageService(installation.environment);
  const known = installation.storage.find((candidate) => candidate.serviceName === service);
  if (service !== "local" && known === undefined) {
    findings.push({
      kind: "storage-service-unsupported",
      level: "warning",
      message: `new files go to storage '${service}', which no Chatwoot defines`,
      hint: "Set ACTIVE_STORAGE_SERVICE to local, amazon, s3_compatible, google or microsoft; Chatkeep reads these.",
    });
  }
  return findings;
}

function folderHint({ kind, choice }: Installation): string {
  if (kind === "environment")
    return "Mount Chatwoot's volume of uploaded files there, to be read only, as Chatwoot's own service has it in the Compose file.";
  if (kind === "kubernetes")
    return "Is it mounted in this pod, and may its user read it? Or name the right folder as 'storage' under 'installation'.";
  return choice === undefined
    ? "Name the right folder as 'storage' under 'installation', and run Chatkeep as a user that may read it."
    : "Run Chatkeep as root: nobody else may read an engine's volumes, whatever groups he is in.";
}

/** Worries that a look at the disk shows. */
export async function placeFindings(installation: Installation): Promise<Finding[]> {
  const findings: Finding[] = [];
  const { envFile } = installation;
  if (envFile !== undefined && (await isExposed(envFile))) {
    findings.push({
      kind: "env-file-exposed",
      level: "note",
      message: `every user of this machine can read ${envFile}, which holds Chatwoot's secrets`,
      hint: `Take the right away: chmod o-r ${envFile}.`,
    });
  }
  // Where new files go into a bucket there may be none in a folder; if there are, the database says so.
  if (activeStorageService(installation.environment) !== "local") return findings;
  const local = installation.storage.find((service) => service.kind === "local");
  if (local === undefined) {
    findings.push({
      kind: "storage-unknown",
      level: "warning",
      message: "it is not known where Chatwoot's uploaded files are",
      hint: "Name the folder as 'storage' under 'installation' in the configuration.",
    });
  } else if (local.kind === "local") {
    for (const root of local.roots) {
      if ((await lookAt(root))?.isFolder === true) continue;
      findings.push({
        kind: "storage-folder-missing",
        level: "warning",
        message: `the folder of Chatwoot's uploaded files, ${root}, is not there or may not be entered`,
        hint: folderHint(installation),
      });
    }
  }
  return findings;
}
