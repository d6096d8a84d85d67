/** What the configuration says of Chatwoot's storage services, with the credentials that it gives for them. */
import { secretValuesOf } from "../chatwoot/secrets.ts";
import type { StorageSettings } from "../job/sources.ts";
import type { SourceSettings } from "../source/spec.ts";
import type { Config } from "./config.ts";
import { readVariables } from "./secrets.ts";
import type { Surroundings } from "./surroundings.ts";

type ServiceConfig = NonNullable<NonNullable<Config["storage"]>["amazon"]>;

/** @throws Failure `config/invalid` when a file of credentials cannot be read. */
export async function storageSettings(config: Config | undefined, s: Surroundings): Promise<StorageSettings> {
  const services: Readonly<Record<string, ServiceConfig | undefined>> = config?.storage ?? {};
  const settings: Record<string, SourceSettings> = {};
  for (const [service, own] of Object.entries(services)) {
    if (own === undefined) continue;
    const env = await readVariables(own, `storage '${service}'`, s);
    s.hide(secretValuesOf(new Map(Object.entries(env))));
    settings[service] = { env, usesMachine: own.credentials === "machine", endpoint: own.endpoint };
  }
  return settings;
}
