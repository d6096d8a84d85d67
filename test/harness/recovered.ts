/** A cluster as it was at a moment, recovered from a repository into a private server: to be asked, and thrown away. */
import { systemClock } from "../../src/base/clock.ts";
import { silent } from "../../src/base/progress.ts";
import { recoveryOf } from "../../src/job/continuous/moment.ts";
import { findServingBases, openMomentSource } from "../../src/job/continuous/moment-source.ts";
import { passageOf } from "../../src/job/continuous/set-back.ts";
import type { AskedMoment } from "../../src/point/moment.ts";
import { recover, type Recovered } from "../../src/postgres/recovery.ts";
import type { ScratchPlaces } from "../../src/postgres/scratch.ts";
import type { Repository } from "../../src/repo/repository.ts";

export interface RecoverMomentOptions {
  repository: Repository;
  /** The installation's id. */
  installation: string;
  asked: AskedMoment;
  /** The database that is asked then. */
  database: string;
  /** Where its server may come from; by default from any place. */
  places?: Pick<ScratchPlaces, "kinds" | "embedded">;
  signal: AbortSignal;
}

/** @throws Failure `moment/outside`, and as a recovery. */
export async function recoverMoment(options: RecoverMomentOptions): Promise<Recovered> {
  const { installation, asked, database, places = {}, signal } = options;
  const repository = options.repository.anew();
  await repository.loadIndex({ signal });
  const { serving, continuous } = await findServingBases({ repository, installationId: installation, asked, signal });
  const [served] = serving;
  if (served === undefined) throw new Error("no base serves the moment, and nothing said so");
  const passage = await passageOf(served, continuous, { repository, clock: systemClock, progress: silent, signal });
  await using source = await openMomentSource(served, continuous, {
    repository,
    passage,
    database,
    roles: ["postgres"],
    progress: silent,
    signal,
  });
  return await recover({
    ...recoveryOf(source),
    places,
    progress: silent,
    signal,
  });
}
