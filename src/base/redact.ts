/** Takes secrets out of texts: nothing that is printed, logged or answered ever holds one. */
import { Buffer } from "node:buffer";

/** Shorter values would turn up in innocent texts. */
const HIDDEN_MIN_LENGTH = 6;
/** Words that everybody knows: to hide them would say more than it hides, and spoil every line they stand in. */
const PUBLIC_WORDS = new Set(
  "chatwoot chatwoot_prod chatwoot_dev chatwoot_production postgres postgresql password redis localhost production development secret default".split(
    " ",
  ),
);

/** The base64 of any text that holds the value, at each of its three places, without the digits that its neighbours share. */
function base64Forms(value: string): string[] {
  const bytes = Buffer.from(value, "utf8");
  const forms = [bytes.toString("base64"), bytes.toString("base64").replace(/=+$/, "")];
  if (bytes.length >= 12) {
    for (const before of [1, 2]) {
      const encoded = Buffer.concat([Buffer.alloc(before), bytes])
        .toString("base64")
        .replace(/=+$/, "");
      forms.push(encoded.slice(before + 1, -1));
    }
    forms.push(bytes.toString("base64").replace(/=+$/, "").slice(0, -1));
  }
  return forms.flatMap((form) => [form, form.replaceAll("+", "-").replaceAll("/", "_")]);
}

function formsOf(value: string): string[] {
  const urlForms = [encodeURIComponent(value.toWellFormed()), encodeURI(value.toWellFormed())];
  return [
    value,
    ...urlForms,
    ...urlForms.map((form) => form.replaceAll(/%[0-9A-F]{2}/g, (code) => code.toLowerCase())),
    JSON.stringify(value).slice(1, -1),
    ...base64Forms(value),
  ];
}

const MASK = "•••";

/**
 * Makes a function that takes secrets out of any text: as they are, URL-encoded, JSON-escaped and in base64.
 * Values shorter than six characters, and words that everybody knows, are left.
 */
export function createRedactor(values: Iterable<string>): (text: string) => string {
  const forms = new Set<string>();
  for (const value of values) {
    if (value.length < HIDDEN_MIN_LENGTH || PUBLIC_WORDS.has(value.toLowerCase())) continue;
    for (const form of formsOf(value)) if (form.length >= HIDDEN_MIN_LENGTH) forms.add(form);
  }
  if (forms.size === 0) return (text) => text;
  const longestFirst = [...forms].toSorted((a, b) => b.length - a.length);
  const pattern = new RegExp(longestFirst.map((form) => RegExp.escape(form)).join("|"), "g");
  return (text) => {
    const redacted = text.replaceAll(pattern, MASK);
    // What is left may close up to a secret that holds the mask itself: then nothing of the text is safe.
    return longestFirst.some((form) => redacted.includes(form)) ? MASK : redacted;
  };
}

/** Passwords in addresses and connection strings: as they are written, and as they are meant. */
export function passwordsIn(texts: Iterable<string>): string[] {
  const found: string[] = [];
  for (const text of texts) {
    for (const match of text.matchAll(/:\/\/[^/?#\s]*?:([^/\s]+)@/g)) {
      const password = match[1] ?? "";
      found.push(password, decodePercent(password));
    }
    for (const match of text.matchAll(/\bpassword=('[^']*'|[^&\s]+)/gi))
      found.push((match[1] ?? "").replaceAll("'", ""));
  }
  return found;
}

function decodePercent(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // not percent-encoded after all
  }
}

/** Names of options and variables whose value is a secret; not those that say where one is read. */
const SECRET_NAME =
  /(?:pass|passwd|password|passphrase|pwd|secret|token|credentials?|signature|(?:^|[-_.])sas|(?:api|access|account|private|signing|encryption|master)[-_]?key)(?:$|[-_.])/i;
const PLACE_NAME = /(?:file|path|command|cmd|dir|id|name|user)$/i;
/** What one of these programs takes as a short option. */
const SHORT_OPTIONS: Readonly<Record<string, RegExp>> = {
  sshpass: /^-p(.*)$/s,
  mysql: /^-p(.+)$/s,
  mysqldump: /^-p(.+)$/s,
  mariadb: /^-p(.+)$/s,
  "redis-cli": /^-a(.*)$/s,
};

function isSecretOption(name: string): boolean {
  return SECRET_NAME.test(name) && !PLACE_NAME.test(name);
}

/**
 * What looks like a secret in a command: values of options, variables and headers that are called so, and passwords in addresses.
 * A guess, since nobody can know what a word means to a program of somebody else: what must not be told at all is not shown.
 * @param words A command's words, or a line for the shell as one of them.
 */
export function secretsInCommand(words: Iterable<string>): string[] {
  const found: string[] = [];
  let before = "";
  let short: RegExp | undefined;
  for (const word of words) {
    const own = secretsOfWord(word, before);
    found.push(...passwordsIn([word]), ...own);
    const parts = /\s/.test(word) ? wordsOf(word) : [];
    if (parts.length > 1) found.push(...secretsInCommand(parts));
    const [, joined = ""] = short?.exec(word) ?? [];
    // '-p' and its value may be two words.
    const isValue = short?.exec(before)?.[1] === "";
    found.push(isValue ? word : joined);
    short = SHORT_OPTIONS[word.replace(/^.*\//, "")] ?? short;
    before = word;
  }
  return [...new Set(found)].filter((value) => value !== "");
}

function secretsOfWord(word: string, before: string): string[] {
  const [, assigned = "", value = ""] = /^-{0,2}([\w.-]+)=(.*)$/s.exec(word) ?? [];
  if (isSecretOption(assigned)) return [value];
  const [, header = "", rest = ""] = /^([\w-]+):\s*(.+)$/s.exec(word) ?? [];
  if (/^(?:proxy-)?authorization$/i.test(header)) return [rest.replace(/^\w+\s+/, "")];
  if (isSecretOption(header)) return [rest];
  if (/^(?:-u|--user|--proxy-user)$/.test(before)) return [/^[^:]*:(.+)$/s.exec(word)?.[1] ?? ""];
  const [, option = ""] = /^--?([\w-]{3,})$/.exec(before) ?? [];
  return isSecretOption(option) && !word.startsWith("-") ? [word] : [];
}

/** The words of a line for the shell, without their quotes: near enough to find a value in it. */
function wordsOf(line: string): string[] {
  const words = line.match(/(?:[^\s"';|&()]|"(?:[^"\\]|\\.)*"|'[^']*')+/gs) ?? [];
  return words.map((word) =>
    word.replaceAll(/"((?:[^"\\]|\\.)*)"|'([^']*)'/gs, (_, double?: string, single?: string) => double ?? single ?? ""),
  );
}
