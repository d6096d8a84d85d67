/**
 * Whether a machine knows the locales that a database orders its text by. PostgreSQL refuses every connection to a database
 * whose locale its machine does not know; that is told before a server is started.
 */
import { isFailure } from "../base/errors.ts";
import { type Program, runProgram } from "../system/process.ts";

/** Those that every machine has, or that are no matter of the machine's. */
const BUILT_IN = new Set(["c", "posix", ""]);

/** As `locale -a` and PostgreSQL may each write it: `en_US.UTF-8` and `en_US.utf8` are one. */
function normalised(name: string): string {
  const [language = "", codeset] = name.split(".");
  if (codeset === undefined) return language.toLowerCase();
  const [set = "", modifier] = codeset.split("@");
  const plain = set.toLowerCase().replaceAll(/[^a-z0-9]/g, "");
  return `${language.toLowerCase()}.${plain}${modifier === undefined ? "" : `@${modifier.toLowerCase()}`}`;
}

/** Those of the wanted locales that are not among what `locale -a` printed. */
export function lackingLocales(wanted: readonly string[], printed: string): string[] {
  const there = new Set(printed.split("\n").map((line) => normalised(line.trim())));
  return [...new Set(wanted)].filter((name) => {
    const plain = normalised(name);
    return !BUILT_IN.has(plain) && !there.has(plain);
  });
}

/** What this machine lacks of them; nothing where it does not tell (musl's systems take every name). */
export async function lackingHere(wanted: readonly string[], signal: AbortSignal): Promise<string[]> {
  if (wanted.length === 0) return [];
  const program: Program = "locale";
  try {
    const { stdout } = await runProgram(program, ["-a"], { signal });
    return lackingLocales(wanted, stdout.toString("utf8"));
  } catch (error) {
    if (!isFailure(error)) throw error;
    signal.throwIfAborted();
    return [];
  }
}

/** What `localedef` calls the sets of characters whose names are written in several ways. */
const CHARMAPS: Readonly<Record<string, string>> = { utf8: "UTF-8", euctw: "EUC-TW", euckr: "EUC-KR", eucjp: "EUC-JP" };

function charmapOf(codeset: string): string {
  const plain = codeset.toLowerCase().replaceAll(/[^a-z0-9]/g, "");
  const part = /^iso8859(\d+)$/.exec(plain)?.[1];
  return part === undefined ? (CHARMAPS[plain] ?? codeset) : `ISO-8859-${part}`;
}

/** How a machine is given a locale, as a sentence. */
export function localeRemedy(lacking: readonly string[]): string {
  const [first = ""] = lacking;
  const [, language = "", codeset, modifier = ""] = /^([^.@]*)(?:\.([^@]*))?(@.*)?$/.exec(first) ?? [];
  const packages = `Debian, Ubuntu: install the package locales first; Red Hat: glibc-langpack-${language.split("_")[0] ?? ""}`;
  // What a name means that says no set of characters, the system's own list knows.
  if (codeset === undefined)
    return `Make it: 'localedef -i ${language}${modifier} -f CHARMAP ${first}' as root, with the CHARMAP that '${first}' has in /usr/share/i18n/SUPPORTED (${packages}).`;
  const charmap = charmapOf(codeset);
  return `Make it: 'localedef -i ${language}${modifier} -f ${charmap} ${language}.${charmap}${modifier}' as root (${packages}).`;
}
