/**
 * What becomes of each column in a copy in which nobody can be recognised. Everything that can hold a text is replaced, unless
 * it is named here as a word of the application's own; so what a fork has added is replaced as well.
 */
import { OUTWARD_COLUMNS } from "./outward.ts";

/**
 * `name`, `email`, `phone`, `identifier`, `domain`: the same stand-in for the same value everywhere. `text`: what somebody said. `leaf`: by what it looks like. `titles`: a
 * list of names, parted by commas. `json`: leaf by leaf; `person`: likewise, numbers too. `empty`: nothing. `keep`: stays.
 */
export type Treatment =
  | "keep"
  | "name"
  | "email"
  | "phone"
  | "identifier"
  | "domain"
  | "text"
  | "leaf"
  | "titles"
  | "filename"
  | "json"
  | "person"
  | "list"
  | "empty";

/** Words of the application's own, and what was made for this copy. */
const KEPT: Readonly<Record<string, string>> = {
  active_storage_attachments: "name record_type",
  active_storage_blobs: "key content_type checksum metadata service_name",
  active_storage_variant_records: "variation_digest",
  ar_internal_metadata: "key value",
  articles: "locale",
  attachments: "extension",
  audits: "auditable_type associated_type user_type action",
  automation_rules: "event_name",
  calls: "status end_reason",
  captain_assistant_responses: "documentable_type",
  captain_custom_tools: "http_method auth_type",
  categories: "locale icon icon_color",
  channel_email: "smtp_authentication smtp_openssl_verify_mode imap_authentication provider",
  channel_sms: "provider",
  channel_web_widgets: "widget_color",
  channel_whatsapp: "provider",
  custom_attribute_definitions: "attribute_key",
  custom_roles: "permissions",
  data_imports: "data_type",
  email_templates: "name",
  inboxes: "channel_type timezone",
  installation_configs: "name serialized_value",
  labels: "color",
  messages: "sender_type",
  notifications: "primary_actor_type secondary_actor_type",
  platform_app_permissibles: "permissible_type",
  portals: "color",
  reporting_events: "name",
  reporting_events_rollups: "dimension_type metric",
  schema_migrations: "version",
  taggings: "taggable_type tagger_type context",
  users: "provider encrypted_password type",
  access_tokens: "owner_type",
};

const TREATED: Readonly<Record<string, Readonly<Record<string, Treatment>>>> = {
  accounts: { name: "name", internal_attributes: "person", custom_attributes: "person" },
  active_storage_blobs: { filename: "filename" },
  action_mailbox_inbound_emails: { message_id: "identifier", message_checksum: "identifier" },
  article_embeddings: { embedding: "empty" },
  articles: { slug: "name" },
  attachments: { external_url: "empty", fallback_title: "text", coordinates_lat: "empty", coordinates_long: "empty" },
  audits: { audited_changes: "person", username: "name", remote_address: "empty", request_uuid: "empty" },
  calls: { provider_call_id: "identifier", transcript: "text", meta: "person" },
  canned_responses: { short_code: "name" },
  captain_assistant_responses: { embedding: "empty" },
  channel_web_widgets: { website_url: "text" },
  companies: { name: "name", domain: "domain", additional_attributes: "person", custom_attributes: "person" },
  contact_inboxes: { source_id: "identifier" },
  contacts: {
    name: "name",
    middle_name: "name",
    last_name: "name",
    email: "email",
    phone_number: "phone",
    identifier: "identifier",
    location: "name",
    country_code: "empty",
    additional_attributes: "person",
    custom_attributes: "person",
  },
  conversations: {
    identifier: "identifier",
    cached_label_list: "titles",
    additional_attributes: "person",
    custom_attributes: "person",
  },
  copilot_messages: { message: "person" },
  inboxes: { name: "name", business_name: "name" },
  labels: { title: "name" },
  csat_survey_responses: { feedback_message: "text", csat_review_notes: "text" },
  notes: { content: "text" },
  messages: {
    content: "text",
    processed_message_content: "text",
    source_id: "identifier",
    content_attributes: "json",
    external_source_ids: "person",
    additional_attributes: "person",
  },
  portals: { slug: "name", name: "name" },
  tags: { name: "name" },
  teams: { name: "name" },
  users: {
    uid: "identifier",
    email: "email",
    name: "name",
    display_name: "name",
    current_sign_in_ip: "empty",
    last_sign_in_ip: "empty",
    ui_settings: "empty",
    custom_attributes: "person",
  },
};

export interface PersonalColumn {
  readonly table: string;
  readonly name: string;
  /** As `format_type` writes it. */
  readonly type: string;
  /** Part of a key that no two rows may share. */
  readonly isUnique: boolean;
}

const TEXT = /^(?:text|character varying|varchar|character|citext|name)\b(?!.*\[\])/;
const NO_TEXT =
  /^(?:smallint|integer|bigint|boolean|real|double precision|numeric|money|oid|uuid|date|interval|timestamp|time)\b(?!.*\[\])/;
/** Types whose values can hold words or addresses in another form: what was there is not told apart. */
const EMPTIED =
  /^(?:bytea|xml|inet|cidr|macaddr|hstore|tsvector|vector|halfvec|sparsevec|point|line|lseg|box|path|polygon|circle|bit)/;

/** Undefined: a type of which it is not known what it holds. */
export function treatmentOf({ table, name, type, isUnique }: PersonalColumn): Treatment | undefined {
  if (KEPT[table]?.split(" ").includes(name) === true) return "keep";
  const treated = TREATED[table]?.[name];
  if (treated !== undefined) return treated;
  // What was emptied or made anew for the copy tells nothing.
  if (OUTWARD_COLUMNS[table]?.[name] !== undefined) return "keep";
  if (NO_TEXT.test(type)) return "keep";
  if (type.startsWith("json")) return type.endsWith("[]") ? "empty" : "json";
  if (EMPTIED.test(type)) return "empty";
  if (/^(?:real|double precision|numeric)\[\]$/.test(type)) return "empty";
  if (/^(?:smallint|integer|bigint|uuid|boolean|date)\[\]$/.test(type)) return "keep";
  if (/^(?:text|character varying|varchar|citext).*\[\]$/.test(type)) return "list";
  if (!TEXT.test(type)) return undefined;
  if (/(?:^|_)e?mail$/.test(name)) return "email";
  if (/(?:^|_)phone(?:_number)?$/.test(name)) return "phone";
  if (name.endsWith("_type")) return "keep";
  return isUnique ? "name" : "leaf";
}

/** Settings that name the installation, and what stands there instead. */
export const NAMES_OF_INSTALLATION: Readonly<Record<string, string>> = {
  INSTALLATION_NAME: "Chatwoot",
  BRAND_NAME: "Chatwoot",
};
/** Settings that stay as they are: switches and limits. All others that a clone keeps are removed. */
export const PLAIN_SETTINGS =
  "^(DISPLAY_MANIFEST|CREATE_NEW_ACCOUNT_FROM_DASHBOARD|DIRECT_UPLOADS_ENABLED|DISABLE_[A-Z_]+|ENABLE_[A-Z_]+|[A-Z]+_API_VERSION|NOTION_VERSION|CAPTAIN_[A-Z_]*MODEL|DEPLOYMENT_ENV|ACCOUNT_LEVEL_FEATURE_DEFAULTS|INSTALLATION_PRICING_PLAN|INSTALLATION_PRICING_PLAN_QUANTITY|MAXIMUM_FILE_UPLOAD_SIZE|EMAIL_PROCESSING_TIMEOUT_SECONDS)$";
