/** What is told of a base in which the server found pages that their checksums do not fit. */
import type { Finding } from "../base/findings.ts";

export function damagedPagesFinding(repository: string): Finding {
  return {
    kind: "pages-damaged",
    level: "alarm",
    subject: repository,
    message: `the server found damaged pages while the newest base in repository '${repository}' was read: it has them as they are`,
    hint: "The server's log names each file and block ('checksum verification failed in file'). Look at its disks before anything else, and mend what is damaged: an index with REINDEX; a table's rows from an earlier base or restore point. Moments from this base have these pages as they are. It goes when a base without them is there: the next is read whole again, and checked.",
  };
}
