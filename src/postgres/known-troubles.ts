/** What is known of versions of PostgreSQL, and matters to who keeps data in one: each with its source. */
import { parseZonedInstant } from "../base/clock.ts";
import type { Finding } from "../base/findings.ts";

/** The last day of support of each major version: postgresql.org/support/versioning. */
const SUPPORTED_UNTIL: Readonly<Record<number, string>> = {
  9: "2021-11-11",
  10: "2022-11-10",
  11: "2023-11-09",
  12: "2024-11-21",
  13: "2025-11-13",
  14: "2026-11-12",
  15: "2027-11-11",
  16: "2028-11-09",
  17: "2029-11-08",
  18: "2030-11-14",
};

interface Fault {
  major: number;
  /** Minor versions that have it. */
  from: number;
  to: number;
  says: string;
  hint: string;
}

const SUBSTRING = {
  says: "has a fault that refuses to cut long texts with letters beyond ASCII, so that a backup, or Chatwoot, may fail with 'invalid byte sequence'",
  hint: "The next minor version mends it: update the server; its data stay as they are.",
};

const FAULTS: readonly Fault[] = [
  {
    // Release notes of 14.4, 16 June 2022.
    major: 14,
    from: 0,
    to: 3,
    says: "has a fault that damages indexes which are made or made anew CONCURRENTLY: rows are not found any more",
    hint: "Update the server to 14.4 or newer, then make every index anew: reindexdb --all.",
  },
  // Announced with 18.3, 17.9, 16.13, 15.17 and 14.22, 26 February 2026, which mend it.
  { major: 14, from: 21, to: 21, ...SUBSTRING },
  { major: 15, from: 16, to: 16, ...SUBSTRING },
  { major: 16, from: 12, to: 12, ...SUBSTRING },
  { major: 17, from: 8, to: 8, ...SUBSTRING },
  { major: 18, from: 2, to: 2, ...SUBSTRING },
];

/** @param version as the server says it: `14.3`. @param nowMs since 1970. */
export function versionFindings({ version, major }: { version: string; major: number }, nowMs: number): Finding[] {
  const minor = Number(version.split(".")[1] ?? Number.NaN);
  const findings = FAULTS.filter((fault) => fault.major === major && minor >= fault.from && minor <= fault.to).map(
    ({ says, hint }): Finding => ({
      kind: "postgres-known-fault",
      level: "warning",
      message: `PostgreSQL ${version} ${says}`,
      hint,
    }),
  );
  const until = SUPPORTED_UNTIL[major];
  if (until !== undefined && nowMs > (parseZonedInstant(`${until}T23:59:59Z`) ?? 0)) {
    findings.push({
      kind: "postgres-out-of-support",
      level: "note",
      message: `PostgreSQL ${major} gets no corrections any more, since ${until}`,
      hint: "Move to a newer major version when you can: a restore point made now can be restored into one. Never start a newer image on the same data.",
    });
  }
  return findings;
}
