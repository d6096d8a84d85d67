/** The recovery kit: one page that, with the repository, is enough to get everything back on an empty machine. */

export interface RecoveryKit {
  installation: { id: string; name: string };
  repositories: { name: string; location: string; id: string; keyId: string; password: string | undefined }[];
  /** RFC 3339. */
  printedAt: string;
}

/** Plain text, at most 78 columns, to print. */
export function formatRecoveryKit(kit: RecoveryKit): string {
  const lines = [
    "==============================================================================",
    "  CHATKEEP RECOVERY KIT",
    "==============================================================================",
    "",
    `  Installation   ${kit.installation.name}`,
    `                 ${kit.installation.id}`,
    `  Written        ${kit.printedAt}`,
    "",
    "  Print this page and keep it away from this machine, where only the people",
    "  who may restore can reach it. Then delete the file. Whoever has it and the",
    "  repository can read every conversation.",
    "",
  ];
  for (const repository of kit.repositories) {
    lines.push(
      "------------------------------------------------------------------------------",
      `  Repository     ${repository.name}`,
      `  Location       ${repository.location}`,
      `  Repository id  ${repository.id}`,
      `  Key            ${repository.keyId.slice(0, 16)}`,
      `  Password       ${repository.password ?? "____________________________________ (write it here)"}`,
      "",
    );
  }
  const location = kit.repositories[0]?.location ?? "LOCATION";
  lines.push(
    "------------------------------------------------------------------------------",
    "  WITH CHATKEEP, ON AN EMPTY MACHINE",
    "",
    "    export CHATKEEP_PASSWORD='…'",
    `    chatkeep init --from ${location}`,
    "    chatkeep list",
    "    chatkeep restore latest --to /srv/restored \\",
    "             --database-url postgresql://postgres@localhost/chatwoot_restored",
    "",
    "  WITHOUT CHATKEEP: restic 0.14 or newer, psql and pg_restore",
    "",
    `    export RESTIC_REPOSITORY=${location}`,
    "    export RESTIC_PASSWORD='…'",
    "    restic snapshots --tag chatkeep",
    `    restic restore latest --host ${kit.installation.name} --path /chatkeep \\`,
    "           --target /srv/restored",
    "    less /srv/restored/chatkeep/RESTORE.md",
    "==============================================================================",
    "",
  );
  return lines.join("\n");
}
