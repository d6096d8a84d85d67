/** What doctor says of the installation itself: what was found, and whether its web process is well. */
import { plural } from "../base/bytes.ts";
import type { Finding } from "../base/findings.ts";
import type { Installation } from "../installation/installation.ts";
import { checkHealth } from "../installation/processes.ts";
import type { DoctorSummary } from "./summaries.ts";

function chosenName({ choice }: Installation): string | undefined {
  if (choice === undefined) return undefined;
  if ("project" in choice) return choice.project;
  return "container" in choice ? choice.container : `${choice.namespace}/${choice.deployment}`;
}

/** What was found of an installation, and from where it was read. */
export function installationFacts(installation: Installation): DoctorSummary["facts"] {
  const facts: DoctorSummary["facts"] = [];
  const { choice, image } = installation;
  const from = installation.root ?? chosenName(installation) ?? "the configuration";
  facts.push({ name: "installation", value: installation.kind, from });
  facts.push({ name: "Chatwoot", value: installation.version ?? "version unknown", from: image?.name ?? from });
  if (image !== undefined) facts.push({ name: "image", value: image.digest ?? image.id, from: image.name });
  if (installation.environment.size > 0) {
    facts.push({
      name: "environment",
      value: plural(installation.environment.size, "variable"),
      from: choice === undefined ? (installation.envFile ?? from) : "the container",
    });
  }
  for (const service of installation.storage) {
    facts.push({
      name: `storage '${service.serviceName}'`,
      value: service.kind,
      from: service.kind === "local" ? service.roots.join(", ") : "the environment",
    });
  }
  return facts;
}

/** Whether the web process answers, where it is known how to ask. */
export async function examineHealth(
  { processes: { health } }: Installation,
  { signal }: { signal: AbortSignal },
): Promise<{ facts: DoctorSummary["facts"]; findings: Finding[] }> {
  if (health === undefined) return { facts: [], findings: [] };
  const { isWell, detail, version } = await checkHealth(health, { signal });
  if (isWell) {
    const value = version === undefined ? "is well" : `answers, Chatwoot ${version}`;
    return { facts: [{ name: "web", value, from: detail }], findings: [] };
  }
  const finding: Finding = {
    kind: "web-not-well",
    level: "warning",
    message: `Chatwoot's web process is not well: ${detail}`,
    hint: "Its log says why. A backup does not need it. Where it is asked otherwise, say how: 'health' under 'installation'.",
  };
  return { facts: [], findings: [finding] };
}
