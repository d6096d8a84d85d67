/** Chatwoot's releases and their migrations, as shipped with Chatkeep. */
import { readFile } from "node:fs/promises";
import { type Migration, parseMigrations, parseReleases, type Release } from "../chatwoot/versions.ts";

const ASSETS = new URL("../../assets/chatwoot/", import.meta.url);

/** What {@link identifySchema} compares a database with. */
export async function readReleases(): Promise<{ releases: Release[]; migrations: Migration[] }> {
  const [releases, migrations] = await Promise.all(
    ["versions.tsv", "migrations.tsv"].map((name) => readFile(new URL(name, ASSETS), "utf8")),
  );
  return { releases: parseReleases(releases ?? ""), migrations: parseMigrations(migrations ?? "") };
}
