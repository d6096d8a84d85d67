/** Chatwoot's releases and their migrations, as shipped with Chatkeep. */
import { type Migration, parseMigrations, parseReleases, type Release } from "../chatwoot/versions.ts";
import { readPart } from "../system/own-parts.ts";

/** What {@link identifySchema} compares a database with. */
export async function readReleases(): Promise<{ releases: Release[]; migrations: Migration[] }> {
  return {
    releases: parseReleases(readPart("assets/chatwoot/versions.tsv")),
    migrations: parseMigrations(readPart("assets/chatwoot/migrations.tsv")),
  };
}
