/** Contacts, conversations, messages, and the files sent with them. */
import type { Value } from "../database.ts";
import { FRONTEND_URL } from "../environment.ts";
import { DAY_MS, HISTORY_ENDS_AT, type SeedRows, formatTime, times } from "./rows.ts";
import type { DemoInbox, DemoTeam } from "./team.ts";
import { AWKWARD_TEXTS, makePerson, makeSentence } from "./words.ts";

/** An uploaded file that has a row in `active_storage_blobs`. */
export interface DemoBlob {
  id: number;
  filename: string;
  contentType: string;
}

export interface Conversation {
  id: number;
  inbox: DemoInbox;
  contactId: number;
  agentId: number;
  beganMs: number;
}

const HISTORY_DAYS = 90;
const AWKWARD_SHARE = 0.01;

function addContact(rows: SeedRows, inbox: DemoInbox, number: number, beganMs: number) {
  const { random } = rows;
  const person = makePerson(random, number, "example.org");
  const contactId = rows.addWithId("contacts", {
    name: person.given,
    last_name: person.family,
    email: random.chance(0.8) ? person.email : null,
    phone_number: random.chance(0.4) ? `+49157${String(10_000_000 + number)}` : null,
    account_id: inbox.accountId,
    additional_attributes: { city: "Berlin", browser: { name: "Firefox" } },
    custom_attributes: random.chance(0.3) ? { plan: "pro", seats: random.below(50) } : {},
    last_activity_at: formatTime(beganMs, random),
    ...times(random, beganMs),
  });
  const contactInboxId = rows.addWithId("contact_inboxes", {
    contact_id: contactId,
    inbox_id: inbox.id,
    source_id: random.uuid(),
    pubsub_token: random.alphanumeric(24),
    ...times(random, beganMs),
  });
  return { contactId, contactInboxId };
}

/** Conversations in the order in which they began, each with a contact of its own. */
export function addConversations(rows: SeedRows, team: DemoTeam, count: number): Conversation[] {
  const { random } = rows;
  return Array.from({ length: count }, (_, number) => {
    const inbox = random.pick(team.inboxes);
    const beganMs = HISTORY_ENDS_AT - HISTORY_DAYS * DAY_MS * (1 - number / count);
    const { contactId, contactInboxId } = addContact(rows, inbox, number, beganMs);
    const agentId = random.pick(team.users.filter((user) => user.accountId === inbox.accountId)).id;
    const id = rows.addWithId("conversations", {
      account_id: inbox.accountId,
      inbox_id: inbox.id,
      status: random.below(4) === 0 ? 0 : 1,
      assignee_id: random.chance(0.9) ? agentId : null,
      contact_id: contactId,
      contact_inbox_id: contactInboxId,
      uuid: random.uuid(),
      additional_attributes: { referer: "https://www.acme.example/cart?x=1&y=2" },
      cached_label_list: random.chance(0.2) ? "delivery, urgent" : null,
      last_activity_at: formatTime(beganMs, random),
      ...times(random, beganMs),
    });
    return { id, inbox, contactId, agentId, beganMs };
  });
}

function messageText(random: SeedRows["random"]): string {
  return random.chance(AWKWARD_SHARE) ? random.pick(AWKWARD_TEXTS) : makeSentence(random);
}

/** E-mail keeps its HTML, in which pictures are signed links to blobs. */
function contentAttributes(rows: SeedRows, isEmail: boolean, text: string, blobs: readonly DemoBlob[]): Value {
  const { random } = rows;
  if (!isEmail) return random.chance(0.1) ? `{"in_reply_to":${random.below(1000)},   "deleted": false}` : {};
  const picture = blobs.length > 0 && random.chance(0.05) ? random.pick(blobs) : undefined;
  const image = picture === undefined ? "" : `<img src="${FRONTEND_URL}${blobUrl(rows, picture)}">`;
  return {
    email: {
      message_id: `<${random.base36(16)}@mail.example.org>`,
      html_content: { full: `<p>${text}</p>${image}` },
      text_content: { full: text },
    },
  };
}

/** The path under which a stored file is linked to in texts. */
export function blobUrl(rows: SeedRows, blob: DemoBlob): string {
  return `/rails/active_storage/blobs/redirect/${rows.signBlobId(blob.id)}/${encodeURIComponent(blob.filename)}`;
}

function addMessage(rows: SeedRows, to: Conversation, text: string, ms: number, blobs: readonly DemoBlob[]): number {
  const { random } = rows;
  const isIncoming = random.chance(0.5);
  return rows.addWithId("messages", {
    content: text,
    account_id: to.inbox.accountId,
    inbox_id: to.inbox.id,
    conversation_id: to.id,
    message_type: isIncoming ? 0 : 1,
    private: !isIncoming && random.chance(0.1),
    sender_type: isIncoming ? "Contact" : "User",
    sender_id: isIncoming ? to.contactId : to.agentId,
    content_attributes: contentAttributes(rows, to.inbox.isEmail, text, blobs),
    processed_message_content: text,
    source_id: random.chance(0.3) ? random.base36(24) : null,
    ...times(random, ms),
  });
}

/** So many messages, most of them in the newest conversations, in the order in which they came. */
export function addMessages(
  rows: SeedRows,
  conversations: readonly Conversation[],
  count: number,
  blobs: readonly DemoBlob[],
): { messageId: number; conversation: Conversation }[] {
  const { random } = rows;
  const perConversation = count / Math.max(1, conversations.length);
  return Array.from({ length: count }, (_, number) => {
    const newest = Math.min(conversations.length - 1, Math.floor(number / perConversation));
    const conversation = conversations[Math.max(0, newest - random.below(12))];
    if (conversation === undefined) throw new RangeError("messages need a conversation");
    const ms = conversation.beganMs + ((number % perConversation) + 1) * 60_000;
    return { messageId: addMessage(rows, conversation, messageText(random), ms, blobs), conversation };
  });
}

/** Says that a file was sent with a message. */
export function attachToMessage(rows: SeedRows, blob: DemoBlob, messageId: number, conversation: Conversation): void {
  const began = times(rows.random, conversation.beganMs);
  const attachmentId = rows.addWithId("attachments", {
    file_type: blob.contentType.startsWith("image/") ? 0 : 3,
    message_id: messageId,
    account_id: conversation.inbox.accountId,
    extension: blob.filename.split(".").at(-1) ?? null,
    ...began,
  });
  rows.addWithId("active_storage_attachments", {
    name: "file",
    record_type: "Attachment",
    record_id: attachmentId,
    blob_id: blob.id,
    created_at: began.created_at,
  });
}
