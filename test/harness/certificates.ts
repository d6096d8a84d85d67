/** Certificates of a test's own, made by the system's openssl: a root, and what it signs. */
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { mustRun } from "./run.ts";

export interface Signed {
  /** Paths of files in PEM. */
  certificate: string;
  key: string;
}

export interface Authority {
  /** Path of its own certificate, in PEM. */
  certificate: string;
  /** Signs a certificate of this common name, and of these names of hosts. */
  sign(commonName: string, hosts?: readonly string[]): Promise<Signed>;
}

/** Makes a root in a folder. */
export async function makeAuthority(folder: string, name: string): Promise<Authority> {
  const openssl = async (...args: string[]) => await mustRun("openssl", args, { cwd: folder });
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const [certificate, key] = [join(folder, `${name}.crt`), join(folder, `${name}.key`)];
  await openssl("req", "-x509", ...newKey, "-days", "2", "-subj", `/CN=${name}`, "-keyout", key, "-out", certificate);
  return {
    certificate,
    async sign(commonName, hosts = []) {
      const base = join(folder, `${name}-${commonName}`);
      const signed = { certificate: `${base}.crt`, key: `${base}.key` };
      await openssl("req", ...newKey, "-subj", `/CN=${commonName}`, "-keyout", signed.key, "-out", `${base}.csr`);
      await writeFile(
        `${base}.ext`,
        hosts.length === 0 ? "" : `subjectAltName=${hosts.map((host) => `DNS:${host}`).join(",")}\n`,
      );
      const by = ["-CA", certificate, "-CAkey", key, "-CAcreateserial", "-days", "2", "-extfile", `${base}.ext`];
      await openssl("x509", "-req", "-in", `${base}.csr`, ...by, "-out", signed.certificate);
      await chmod(signed.key, 0o600);
      return signed;
    },
  };
}
