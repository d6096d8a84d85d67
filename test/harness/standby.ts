/** A standby of a test's server, for what is read from the one and must not touch the other. */
import { setTimeout as sleep } from "node:timers/promises";
import { FLUSH, startPostgres, type TestServer } from "./postgres.ts";

export interface Standby extends TestServer {
  /** Resolves when it has applied everything that was done on its primary, which must not commit asynchronously. */
  caughtUp(): Promise<void>;
  /** Makes it a primary, of a new timeline. */
  promote(): Promise<void>;
}

export async function startStandby(primary: TestServer, settings: readonly string[] = []): Promise<Standby> {
  const server = await startPostgres({ standbyOf: primary, programs: primary.programs, settings });
  return Object.assign(server, {
    async caughtUp() {
      // What came before it is sent: VACUUM waits for nothing.
      await primary.query(FLUSH);
      const [at] = await primary.query("select pg_current_wal_flush_lsn()::text as lsn");
      for (;;) {
        const [row] = await server.query(`select pg_last_wal_replay_lsn() >= '${String(at?.["lsn"])}' as done`);
        if (row?.["done"] === true) return;
        await sleep(20);
      }
    },
    promote: async () => void (await server.query("select pg_promote()")),
  });
}
