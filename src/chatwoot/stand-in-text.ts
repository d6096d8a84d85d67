/** Texts and JSON of people, replaced so that a page, a template and a link still have their form, and nothing is left that was said. */
import { NOWHERE } from "./outward.ts";
import type { StandIns } from "./stand-in.ts";

const HTML_NAMES =
  "a|abbr|article|b|blockquote|body|br|center|code|col|colgroup|dd|div|dl|dt|em|font|footer|h[1-6]|head|header|hr|html|i|img|li|link|meta|ol|p|pre|section|small|span|strong|style|sub|sup|table|tbody|td|tfoot|th|thead|title|tr|u|ul";

/** What keeps its form, or part of it: links, addresses, tags, entities of HTML, fields of templates. */
const FORMS = new RegExp(
  [
    String.raw`(?<url>(?:https?|ftp|mention)://[^\s"'<>\\]+)`,
    String.raw`(?<email>[\p{L}\p{N}._%+'-]{1,64}@[\p{L}\p{N}-]{1,63}(?:\.[\p{L}\p{N}-]{1,63})+)`,
    `(?<tag></?(?:${HTML_NAMES})(?=[\\s/>])[^<>]*>)`,
    "(?<entity>&(?:nbsp|amp|lt|gt|quot|apos|ndash|mdash|hellip);)",
    String.raw`(?<field>\{\{\s{0,4}(?:\d{1,2}|(?:contact|conversation|agent|inbox|account|message|user)(?:\.[a-z_]{1,20})?)\s{0,4}\}\})`,
  ].join("|"),
  "giu",
);

/**
 * A text in which every letter, digit and picture is another, but for the words of HTML and the fields of templates. Links lead
 * nowhere, and e-mail addresses are the stand-ins that they are everywhere.
 *
 * @param place As for {@link StandIns.text}.
 */
export function replaceText(text: string, place: string, standIns: StandIns): string {
  let made = "";
  let at = 0;
  for (const match of text.matchAll(FORMS)) {
    made += standIns.text(text.slice(at, match.index), `${place} ${at}`);
    at = match.index + match[0].length;
    const { url, email, tag } = match.groups ?? {};
    if (url !== undefined) made += replaceUrl(url, `${place} ${at}`, standIns);
    else if (email !== undefined) made += standIns.email(email);
    else if (tag !== undefined) made += replaceTag(tag, `${place} ${at}`, standIns);
    else made += match[0];
  }
  return made + standIns.text(text.slice(at), `${place} ${at}`);
}

function replaceUrl(url: string, place: string, standIns: StandIns): string {
  const mention = /^(mention:\/\/(?:user|team)\/\d{1,10}\/)(.*)$/is.exec(url);
  if (mention !== null) return `${mention[1] ?? ""}${standIns.text(mention[2] ?? "", place)}`;
  const [, path = ""] = /^[a-z]+:\/\/[^/?#]*\/?(.*)$/is.exec(url) ?? [];
  return `https://${NOWHERE}/${standIns.text(path.replaceAll("@", "-"), place)}`;
}

/** The name of the tag and the names of what it is given stay. */
function replaceTag(tag: string, place: string, standIns: StandIns): string {
  const [, open = "", given = "", close = ""] = /^(<\/?[a-z0-9]+)(.*?)(\/?>)$/is.exec(tag) ?? [];
  const attribute =
    /\s(?:href|src|alt|title|style|class|id|width|height|align|valign|border|cellpadding|cellspacing|bgcolor|color|size|face|target|rel|dir|lang|charset|name|content|colspan|rowspan)\s*=\s*/giu;
  let made = open;
  let at = 0;
  for (const match of given.matchAll(attribute)) {
    made += replaceText(given.slice(at, match.index), `${place} ${at}`, standIns) + match[0];
    at = match.index + match[0].length;
  }
  return `${made}${replaceText(given.slice(at), `${place} ${at}`, standIns)}${close}`;
}

/** Keys whose words the application itself knows: kinds, ways, states. */
const KEPT_KEYS =
  /(?:^|_)(?:type|types|action_name|attribute_key|attribute_model|filter_operator|query_operator|event_name|locale|locales|language|timezone|layout|status|state|color|operator|role|provider|channel|category|format|availability|deleted)$/;
const KEPT_WORD = /^[a-z][a-z_:/-]{0,40}$/i;
const NAME_KEYS =
  /(?:^|_)(?:name|first_name|last_name|username|user_name|company|city|country|label|labels|title|identifier|slug|handle|nickname)$/;

/** What somebody says, however short: the same words in another place are others, so that none can be guessed by how often they come. */
const SAID_KEYS =
  /^(?:full|reply|quoted|subject|body|content|text|message|html|transcript|feedback|comment|note|description|bio)$/;

const DATE = /^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2}| UTC)?)?$/;
const ADDRESS = /^[^\s@<>"]+@[^\s@<>"]+\.[^\s@<>".]+$/;
const OTHERS_NAME =
  /^(?:\+?\d{7,20}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?:whatsapp|sms|tel):\+?\d+|\d+@[a-z.]+)$/i;

/** What is no longer may be a name, whatever it is called. */
const NAME_MAX_CHARS = 60;
const NAME_MAX_WORDS = 4;

export interface JsonOptions {
  /** Numbers may tell who it is, as a customer's number does. */
  readonly hasNumbers: boolean;
  /** Told of each text before it is replaced by a stand-in that is the same everywhere. */
  readonly meet?: ((value: string) => void) | undefined;
}

/** A text by what it looks like, for a value of which nothing else is known. */
export function replaceLeaf(
  key: string,
  value: string,
  place: string,
  standIns: StandIns,
  meet?: (value: string) => void,
): string {
  if (value === "" || (KEPT_KEYS.test(key) && KEPT_WORD.test(value))) return value;
  if (DATE.test(value)) return standIns.date(value);
  if (ADDRESS.test(value)) {
    meet?.(value);
    return standIns.email(value);
  }
  if (OTHERS_NAME.test(value)) {
    meet?.(value);
    return standIns.identifier(value);
  }
  if (!SAID_KEYS.test(key) && value.length <= NAME_MAX_CHARS && !/[\n<>]|:\/\//.test(value)) {
    const words = value.trim().split(/\s+/).length;
    if (words > 1 || NAME_KEYS.test(key)) meet?.(value);
    if (words <= NAME_MAX_WORDS) return standIns.name(value);
  }
  return replaceText(value, place, standIns);
}

/**
 * JSON of the same shape in which every text is replaced. Numbers keep their digits as they were written, but for those that may
 * tell who it is. What is no JSON is replaced as a text.
 */
export function replaceJson(
  text: string,
  place: string,
  standIns: StandIns,
  { hasNumbers, meet }: JsonOptions,
): string {
  const walk = (value: unknown, key: string, path: string): unknown => {
    if (typeof value === "string") return replaceLeaf(key, value, path, standIns, meet);
    if (value instanceof Digits) return hasNumbers ? new Digits(replaceNumber(value.text, standIns)) : value;
    if (Array.isArray(value)) return value.map((one, at) => walk(one, key, `${path}.${at}`));
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([name, one]) => [replaceKey(name, standIns), walk(one, name, `${path}.${name}`)]),
    );
  };
  let parsed: unknown;
  try {
    parsed = JSON.parse(text, keepDigits);
  } catch {
    return JSON.stringify(replaceText(text, place, standIns));
  }
  return writeJson(walk(parsed, "", place));
}

/** A number as it was written: more than a JavaScript number holds, perhaps. */
class Digits {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

function keepDigits(_key: string, value: unknown, context?: { source?: string }): unknown {
  return typeof value === "number" && context?.source !== undefined ? new Digits(context.source) : value;
}

function writeJson(value: unknown): string {
  if (value instanceof Digits) return value.text;
  if (Array.isArray(value)) return `[${value.map(writeJson).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const entries = Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}:${writeJson(one)}`);
  return `{${entries.join(",")}}`;
}

/** Small ones are amounts, and say nothing of anybody. */
const TELLING_DIGITS = 4;

function replaceNumber(digits: string, standIns: StandIns): string {
  if (!/^-?\d+$/.test(digits) || digits.replace("-", "").length < TELLING_DIGITS) return digits;
  const sign = digits.startsWith("-") ? "-" : "";
  let made = standIns.name(digits.slice(sign.length));
  while (made.startsWith("0")) made = standIns.name(made);
  return `${sign}${made}`;
}

/** Keys are words of the application or of whoever set it up; one that is an address or a number is somebody's. */
function replaceKey(key: string, standIns: StandIns): string {
  if (ADDRESS.test(key)) return standIns.email(key);
  return /\d{7}/.test(key) ? standIns.identifier(key) : key;
}
