/** The files around a cwctl installation that a rebuilt server would lack: units, web server, certificates, passwords. */
import { join } from "node:path";
import { type Machine, mayExist, namesIn, readTextIfAllowed } from "./places.ts";

/** What nginx's configuration says of certificates; paths as the machine has them. */
export function certificatesIn(nginx: string): string[] {
  return [
    ...nginx.matchAll(/^\s*ssl_(?:certificate|certificate_key|dhparam|trusted_certificate)\s+"?([^\s;"]+)"?\s*;/gm),
  ]
    .map(([, path = ""]) => path)
    .filter((path) => path.startsWith("/"));
}

async function nginxFiles(machine: Machine, root: string): Promise<{ file: string; text: string }[]> {
  const found: { file: string; text: string }[] = [];
  for (const folder of ["/etc/nginx/sites-available", "/etc/nginx/conf.d"]) {
    for (const name of await namesIn(machine.at(folder))) {
      const file = join(machine.at(folder), name);
      const text = await readTextIfAllowed(file);
      if (text === undefined) continue;
      const isOurs = name.includes("chatwoot") || text.includes("chatwoot") || text.includes(machine.nameOf(root));
      if (isOurs) found.push({ file, text });
    }
  }
  return found;
}

function domainOf(frontendUrl: string | undefined): string | undefined {
  return /^https?:\/\/([A-Za-z0-9.-]+)/.exec(frontendUrl ?? "")?.[1];
}

/** Those that exist, or may exist where we are not allowed to look; units are not among them. */
export async function findSystemFiles(
  machine: Machine,
  root: string,
  frontendUrl: string | undefined,
): Promise<string[]> {
  const nginx = await nginxFiles(machine, root);
  const certificates = nginx.flatMap(({ text }) => certificatesIn(text));
  const domains = new Set(certificates.flatMap((path) => /^\/etc\/letsencrypt\/live\/([^/]+)\//.exec(path)?.[1] ?? []));
  const domain = domainOf(frontendUrl);
  if (domain !== undefined) domains.add(domain);
  const wanted = [
    "/opt/chatwoot/config",
    "/etc/sudoers.d/chatwoot",
    "/etc/ssl/dhparam",
    ...certificates,
    ...[...domains].flatMap((name) => [`/etc/letsencrypt/live/${name}`, `/etc/letsencrypt/renewal/${name}.conf`]),
  ];
  const existing: string[] = nginx.map(({ file }) => file);
  for (const path of wanted) if (await mayExist(machine.at(path))) existing.push(machine.at(path));
  return [...new Set(existing)];
}
