/** Makes up all rows of an installation. */
import type { Catalogue } from "../catalogue.ts";
import type { DemoSecrets } from "../environment.ts";
import type { MadeFile } from "../files.ts";
import type { SeededRandom } from "../random.ts";
import { addHelpCentre, addRailsTables, addReports, addRest, addSettings } from "./rest.ts";
import { DAY_MS, HISTORY_ENDS_AT, type SeedRows, formatTime, startRows } from "./rows.ts";
import { type DemoBlob, addConversations, addMessages, attachToMessage } from "./talk.ts";
import { addTeam } from "./team.ts";

export interface DemoSize {
  messages: number;
  /** At least 1. */
  conversations: number;
  files: number;
  /** All files of this size (but the empty one) instead of the usual mixture. */
  fileBytes?: number;
}

export interface SeedOptions {
  catalogue: Catalogue;
  random: SeededRandom;
  secrets: DemoSecrets;
  size: DemoSize;
  files: readonly MadeFile[];
}

function addBlobs(rows: SeedRows, files: readonly MadeFile[]): DemoBlob[] {
  return files.map(({ key, filename, contentType, content, checksum }, number) => {
    const createdMs = HISTORY_ENDS_AT - 90 * DAY_MS * (1 - number / files.length);
    const id = rows.addWithId("active_storage_blobs", {
      key,
      filename,
      content_type: contentType,
      metadata: '{"identified":true,"analyzed":true}',
      byte_size: content.length,
      checksum,
      service_name: "local",
      created_at: formatTime(createdMs, rows.random),
    });
    return { id, filename, contentType };
  });
}

/** Pictures that only an article's text links to: one file in so many. */
const UNATTACHED_EVERY = 15;

/** Shares the files out: to articles, to people as their pictures, to derived pictures, and most of them to messages. */
function shareOut(rows: SeedRows, blobs: readonly DemoBlob[], users: readonly { id: number }[]) {
  const { random } = rows;
  const unattached = blobs.filter((_, number) => number % UNATTACHED_EVERY === 4);
  const others = blobs.filter((_, number) => number % UNATTACHED_EVERY !== 4);
  const avatars = others.splice(0, Math.min(users.length, Math.floor(others.length / 10)));
  const attach = (blob: DemoBlob, name: string, type: string, recordId: number) =>
    rows.addWithId("active_storage_attachments", {
      name,
      record_type: type,
      record_id: recordId,
      blob_id: blob.id,
      created_at: formatTime(HISTORY_ENDS_AT - 90 * DAY_MS, random),
    });
  for (const [number, blob] of avatars.entries()) {
    attach(blob, "avatar", "User", users[number]?.id ?? 1);
    const thumbnail = others.pop();
    if (thumbnail === undefined) continue;
    const variantId = rows.addWithId("active_storage_variant_records", {
      blob_id: blob.id,
      variation_digest: random.alphanumeric(27),
    });
    attach(thumbnail, "image", "ActiveStorage::VariantRecord", variantId);
  }
  return { unattached, forMessages: others };
}

/** All rows of an installation, and how many they are. */
export function seedRows({ catalogue, random, secrets, size, files }: SeedOptions): { rows: SeedRows; total: number } {
  const rows = startRows(random, secrets);
  const team = addTeam(rows);
  const blobs = addBlobs(rows, files);
  const { unattached, forMessages } = shareOut(rows, blobs, team.users);
  const conversations = addConversations(rows, team, size.conversations);
  const messages = addMessages(rows, conversations, size.messages, unattached);
  for (const [number, blob] of forMessages.entries()) {
    const to = messages[Math.floor((number / forMessages.length) * messages.length)];
    if (to !== undefined) attachToMessage(rows, blob, to.messageId, to.conversation);
  }
  addHelpCentre(rows, team, unattached);
  addSettings(rows);
  addReports(rows, conversations);
  addRailsTables(rows, catalogue);
  addRest(rows, catalogue);
  let total = 0;
  for (const tableRows of rows.tables.values()) total += tableRows.length;
  return { rows, total };
}
