/** What the configuration says of Chatwoot's storage services, with the credentials that it gives for them. */
import { secretValuesOf } from "../chatwoot/secrets.ts";
import type { StorageSettings } from "../job/sources.ts";
import type { SourceSettings } from "../source/spec.ts";
import { BUCKET_SERVICES } from "../chatwoot/environment.ts";
import type { Config } from "./config.ts";
import { bytesOf } from "./repository-place.ts";
import { readVariables } from "./secrets.ts";
import type { Surroundings } from "./surroundings.ts";

type ServiceConfig = NonNullable<NonNullable<Config["storage"]>["amazon"]>;

/**
 * @returns by the service's name; those of which nothing is said are not there.
 * @throws Failure `config/invalid` when a file of credentials cannot be read.
 */
export async function storageSettings(config: Config | undefined, s: Surroundings): Promise<StorageSettings> {
  const services: Readonly<Record<string, ServiceConfig | undefined>> = config?.storage ?? {};
  const settings: Record<string, SourceSettings> = {};
  const forAll = s.rates?.download;
  for (const service of BUCKET_SERVICES) {
    const own = services[service];
    if (own === undefined && forAll === undefined) continue;
    const env = await readVariables(own ?? {}, `storage '${service}'`, s);
    s.hide(secretValuesOf(new Map(Object.entries(env))));
    settings[service] = {
      env,
      usesMachine: own?.credentials === "machine",
      endpoint: own?.endpoint,
      downloadRate: forAll ?? bytesOf(own?.["limit-download"]),
    };
  }
  return settings;
}
