/**
 * Chatwoot seen from a container beside it that may not ask the engine: Chatkeep was given the environment that Chatwoot's
 * own processes have, the volume of uploaded files where they have it, and the folder of the Compose file.
 */
import { join } from "node:path";
import type { Environment } from "../../chatwoot/environment.ts";
import { type Machine, namesIn } from "../places.ts";
import type { Units } from "../units.ts";
import type { Kind, World } from "./kind.ts";
import { namedRoot, readOnDisk } from "./on-disk.ts";

/** Where Chatwoot's image keeps uploaded files. */
const STORAGE = "/app/storage";
/** Where Chatkeep's image expects the folder that Chatwoot was deployed from. */
const SITE = "/chatwoot";

/** What a container, a shell, or Chatkeep's own image sets: no part of Chatwoot. */
const OURS =
  /^(?:PATH|HOME|HOSTNAME|PWD|OLDPWD|SHLVL|TERM|USER|LOGNAME|SHELL|_|TMPDIR|NODE_VERSION|YARN_VERSION|MALLOC_\w+|XDG_\w+|DOCKER_\w+|CHATKEEP_\w+)$/;

function givenBy(env: World["env"]): Map<string, string> {
  return new Map(
    Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined && !OURS.test(entry[0])),
  );
}

/** Every Chatwoot has a secret, and says where its database is. */
function isChatwoots(environment: Environment): boolean {
  return (
    environment.has("SECRET_KEY_BASE") &&
    ["DATABASE_URL", "POSTGRES_HOST", "POSTGRES_PASSWORD"].some((name) => environment.has(name))
  );
}

/** Compose files, overrides, environment files; not what else may lie beside them. */
async function siteFiles(machine: Machine): Promise<string[]> {
  const folder = machine.at(SITE);
  const names = await namesIn(folder);
  return names
    .filter((name) => /^(?:docker-)?compose[\w.-]*\.ya?ml$|^\.env(?:\.[\w.-]+)?$|\.env$/.test(name))
    .map((name) => join(folder, name));
}

export const GIVEN_ENVIRONMENT: Kind = {
  name: "environment",
  async look(settings, world) {
    const { machine, env } = world;
    const environment = givenBy(env);
    const lookedFor = "SECRET_KEY_BASE and POSTGRES_HOST in Chatkeep's own environment";
    if (!isChatwoots(environment) && settings.kind !== "environment") return { sightings: [], lookedFor };
    const units: Units = { files: [], environment, workingFolder: undefined, environmentFiles: [] };
    const root = settings.root === undefined ? undefined : await namedRoot(settings.root);
    return {
      lookedFor,
      sightings: [
        {
          what: "the Chatwoot whose environment Chatkeep was given",
          choice: "'kind: environment' under 'installation'",
          read: async () =>
            await readOnDisk(
              {
                kind: "environment",
                root,
                units,
                processesOf: () => ({}),
                ...(root === undefined ? { storage: machine.at(STORAGE) } : {}),
                found: await siteFiles(machine),
              },
              settings,
              world,
            ),
        },
      ],
    };
  },
};
