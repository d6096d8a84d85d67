/** What a repository has of the files that a watch follows. */
import { followsOf, readFollowed } from "../../src/job/continuous/followed-files.ts";
import type { Repository } from "../../src/repo/repository.ts";

const { signal } = new AbortController();

/**
 * Reads every followed file of an installation, and returns the SHA-256 of what each holds: of files of one chunk, as those of a demo
 * are, whose id is that sum; reading it verifies that.
 */
export async function followedIn(opened: Repository, installation: string): Promise<ReadonlySet<string>> {
  const repository = opened.anew();
  await repository.loadIndex({ signal });
  const { snapshots } = await repository.listSnapshots({ signal });
  const kept = new Set<string>();
  const [newest] = followsOf(snapshots, installation);
  if (newest === undefined) return kept;
  const { folders } = await readFollowed(repository, newest, { signal });
  for (const { content } of [...folders.values()].flatMap((nodes) => [...nodes.values()])) {
    for (const chunk of content ?? []) {
      await repository.readChunk("data", chunk, { signal });
      kept.add(chunk);
    }
  }
  return kept;
}
