/** The recovery kit as a page to print: one HTML file that needs nothing else, runs nothing and asks nobody. */
import {
  fingerprintOf,
  KIT_WARNING,
  kitSteps,
  needsCredentials,
  type KitRepository,
  type QrModules,
  type RecoveryKit,
} from "./recovery-kit.ts";

const STYLE = `
@page { margin: 12mm 14mm; }
* { box-sizing: border-box; }
body { font: 10pt/1.35 "Helvetica Neue", Helvetica, Arial, sans-serif; color: #111; background: #fff;
  max-width: 182mm; margin: 8mm auto; padding: 0 4mm; }
@media print { body { margin: 0 auto; padding: 0; } }
header { display: flex; justify-content: space-between; align-items: flex-end; border-bottom: 2.5pt solid #111;
  padding-bottom: 2mm; }
h1 { font-size: 19pt; line-height: 1.1; margin: 0; }
header p { margin: 0; text-align: right; font-size: 9pt; }
.name { font-size: 13pt; font-weight: bold; }
.warning { border-left: 2.5pt solid #111; padding-left: 3mm; margin: 3mm 0; }
section { break-inside: avoid; margin: 3mm 0; }
h2 { font-size: 10.5pt; margin: 0 0 1mm; }
.repository { display: flex; gap: 4mm; border: 0.75pt solid #777; border-radius: 1.5mm; padding: 3mm 4mm; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 1mm 4mm; margin: 0; flex: 1; align-content: start; }
dt { color: #555; }
dd { margin: 0; font-family: Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 9pt; overflow-wrap: anywhere; }
.password { font-size: 10pt; font-weight: bold; }
.fill { border-bottom: 0.75pt solid #111; min-height: 7mm; }
figure { margin: 0; flex: none; width: 35mm; text-align: center; font-size: 8pt; color: #555; }
svg { display: block; width: 35mm; height: 35mm; }
pre { margin: 0; padding: 2mm 3mm; border: 0.75pt solid #bbb; border-radius: 1.5mm; font: 8.5pt/1.5 Menlo, Consolas,
  "DejaVu Sans Mono", monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
footer { border-top: 0.75pt solid #777; margin-top: 4mm; padding-top: 2mm; font-size: 8.5pt; color: #555; }
`;

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"]/g, (char) => ENTITIES[char] ?? char);
}

const QUIET_ZONE = 4;

/** One path of unit squares; `crispEdges`, so that no printer blurs them. */
function formatSvg(qr: QrModules): string {
  const size = qr.length + 2 * QUIET_ZONE;
  const squares = qr.flatMap((cells, row) =>
    cells.flatMap((isDark, column) => (isDark ? [`M${column + QUIET_ZONE} ${row + QUIET_ZONE}h1v1h-1z`] : [])),
  );
  return `<svg viewBox="0 0 ${size} ${size}" shape-rendering="crispEdges" role="img" aria-label="QR code of the password"><path d="${squares.join("")}"/></svg>`;
}

function term(name: string, value: string, kind?: "password"): string {
  return `<dt>${name}</dt><dd${kind === undefined ? "" : ` class="${kind}"`}>${escapeHtml(value)}</dd>`;
}

function toFill(name: string): string {
  return `<dt>${name}</dt><dd class="fill"></dd>`;
}

function formatRepository({ name, location, opened, password }: KitRepository): string {
  const terms = [
    term("Location", location),
    ...(needsCredentials(location) ? [toFill("Its login")] : []),
    opened === undefined
      ? term("Fingerprint", "(it could not be opened when this was written)")
      : term("Fingerprint", fingerprintOf(opened.id, opened.keyId)),
    ...(opened === undefined ? [] : [term("Repository id", opened.id)]),
    password === undefined ? toFill("Password") : term("Password", password.text, "password"),
  ];
  const figure =
    password === undefined
      ? ""
      : `<figure>${formatSvg(password.qr)}<figcaption>the password, to scan</figcaption></figure>`;
  return `<section><h2>Repository ${escapeHtml(name)}</h2><div class="repository"><dl>${terms.join("")}</dl>${figure}</div></section>`;
}

/** One self-contained HTML file for A4 or letter paper: no scripts, and nothing is loaded from anywhere. */
export function formatRecoveryPage(kit: RecoveryKit): string {
  const { installation, writtenAt } = kit;
  const steps = kitSteps(kit).map(
    ({ title, notes = [], commands }) =>
      `<section><h2>${escapeHtml(title)}</h2>${notes.length === 0 ? "" : `<p>${escapeHtml(notes.join(" "))}</p>`}<pre>${escapeHtml(commands.join("\n"))}</pre></section>`,
  );
  return [
    "<!doctype html>",
    '<html lang="en"><head><meta charset="utf-8">',
    `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">`,
    '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">',
    `<title>Chatkeep recovery kit: ${escapeHtml(installation.name)}</title>`,
    `<style>${STYLE}</style></head><body>`,
    `<header><h1>Chatkeep recovery kit</h1><p><span class="name">${escapeHtml(installation.name)}</span><br>${escapeHtml(installation.id)}<br>written ${escapeHtml(writtenAt.slice(0, 16).replace("T", " "))} UTC</p></header>`,
    `<p class="warning">${escapeHtml(KIT_WARNING)} When it is printed, delete the files.</p>`,
    ...kit.repositories.map(formatRepository),
    ...steps,
    "<footer>The fingerprint names the repository and the key that this paper opens it with. 'chatkeep key list' and 'restic key list' show which keys are still good; a paper whose key is not among them is to be destroyed.</footer>",
    "</body></html>",
    "",
  ].join("\n");
}
