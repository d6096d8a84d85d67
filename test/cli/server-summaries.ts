/** A server that was left running, as the verb says it. */
import type { ServerAccess, StartedServerSummary } from "../../src/job/server-summary.ts";

export const POINT_SERVED = "b07d55e1".padEnd(64, "0");

export const SERVER_ACCESS: ServerAccess = {
  host: "127.0.0.1",
  port: 41_235,
  user: "chatkeep_look_3fa91c",
  database: "chatwoot_production",
  passwordFile: "/var/tmp/chatkeep-recovered-3fa91c/password",
  url: "postgresql://chatkeep_look_3fa91c@127.0.0.1:41235/chatwoot_production?passfile=%2Fvar%2Ftmp%2Fchatkeep-recovered-3fa91c%2Fpassword",
};

export const SERVER_STARTED: StartedServerSummary = {
  type: "summary",
  verb: "restore",
  started: {
    id: "3fa91c",
    state: "running",
    since: "2026-11-23T10:36:00.000Z",
    point: "2026-11-23T10:31:00.000000Z",
    lastCommitAt: "2026-11-23T10:30:58.204117Z",
    replayedTo: "0/4A1F6C8",
    server: "PostgreSQL 16.14 in /usr/lib/postgresql/16/bin",
    folder: "/var/tmp/chatkeep-recovered-3fa91c",
    access: SERVER_ACCESS,
  },
  repository: "nas",
  seconds: 8.2,
  findings: [],
};
