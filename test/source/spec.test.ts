/** What Chatwoot's environment says of its storage services, as people write it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { readEnvFile, storageServicesOf } from "../../src/chatwoot/environment.ts";
import type { S3Spec, SourceSpec } from "../../src/source/source.ts";
import { findSource, type Outage, type SourceSettings } from "../../src/source/spec.ts";

function find(service: string, text: string, settings?: SourceSettings) {
  const env = readEnvFile(text).values;
  return findSource(service, storageServicesOf(env, "/app"), env, settings);
}

function specOf(service: string, text: string, settings?: SourceSettings): SourceSpec {
  const found = find(service, text, settings);
  assert.ok("spec" in found, JSON.stringify(found));
  return found.spec;
}

function s3SpecOf(...given: Parameters<typeof specOf>): S3Spec {
  const spec = specOf(...given);
  assert.ok(spec.kind === "s3");
  return spec;
}

function googleKeyOf(text: string, settings?: SourceSettings): string | undefined {
  const spec = specOf("google", text, settings);
  assert.ok(spec.kind === "gcs");
  return spec.key;
}

function outageOf(service: string, text: string, settings?: SourceSettings): Outage {
  const found = find(service, text, settings);
  assert.ok("outage" in found, JSON.stringify(found));
  return found.outage;
}

const AMAZON = "AWS_ACCESS_KEY_ID=AKID\nAWS_SECRET_ACCESS_KEY=secret\nS3_BUCKET_NAME=acme\n";
const COMPATIBLE = "STORAGE_ACCESS_KEY_ID=AKID\nSTORAGE_SECRET_ACCESS_KEY=secret\nSTORAGE_BUCKET_NAME=acme\n";
const AZURE = "AZURE_STORAGE_ACCOUNT_NAME=acme\nAZURE_STORAGE_ACCESS_KEY=c2VjcmV0\nAZURE_STORAGE_CONTAINER=files\n";

test("Amazon's host follows from the region, and a region that is empty is found out later", () => {
  const at = (region: string) => {
    const { scheme, host, region: named } = s3SpecOf("amazon", `${AMAZON}AWS_REGION=${region}\n`);
    return [`${scheme}://${host}`, named];
  };
  assert.deepEqual(at("eu-central-1"), ["https://s3.eu-central-1.amazonaws.com", "eu-central-1"]);
  assert.deepEqual(at("cn-north-1"), ["https://s3.cn-north-1.amazonaws.com.cn", "cn-north-1"]);
  assert.deepEqual(at(""), ["https://s3.us-east-1.amazonaws.com", undefined]);
  assert.match(outageOf("amazon", `${AMAZON}AWS_REGION="Frankfurt, Germany"\n`).why, /AWS_REGION is no region/);
});

/** The address, and whether the bucket's name stands in its path. */
function compatible(lines: string): [string, boolean] {
  const { scheme, host, basePath, isPathStyle } = s3SpecOf("s3_compatible", `${COMPATIBLE}${lines}\n`);
  return [`${scheme}://${host}${basePath}`, isPathStyle];
}

test("an endpoint may lack its scheme and have a path, and says where the bucket's name stands", () => {
  assert.deepEqual(compatible("STORAGE_ENDPOINT=https://minio.example.com"), ["https://minio.example.com", false]);
  assert.deepEqual(compatible("STORAGE_ENDPOINT=minio.example.com:9000/"), ["https://minio.example.com:9000", false]);
  assert.deepEqual(compatible("STORAGE_ENDPOINT=http://minio:9000/s3\nSTORAGE_FORCE_PATH_STYLE=true"), [
    "http://minio:9000/s3",
    true,
  ]);
  assert.deepEqual(compatible("STORAGE_ENDPOINT=http://minio:9000\nSTORAGE_FORCE_PATH_STYLE=false"), [
    "http://minio:9000",
    false,
  ]);
  for (const endpoint of ["ftp://minio", "https://key:secret@minio", "https://"]) {
    assert.match(outageOf("s3_compatible", `${COMPATIBLE}STORAGE_ENDPOINT=${endpoint}\n`).why, /STORAGE_ENDPOINT/);
  }
});

test("a key of Google's is read however it was quoted on its way, and never told", () => {
  const key = { type: "service_account", client_email: "a@b", private_key: "-----BEGIN-----\nabc\n-----END-----\n" };
  const text = JSON.stringify(key);
  const wanted = JSON.stringify(key);
  assert.equal(googleKeyOf(`GCS_BUCKET=acme\nGCS_CREDENTIALS='${text}'\n`), wanted);
  // As Docker's env_file hands it on, quotes and all; and with line breaks that were doubled.
  const env = new Map([
    ["GCS_BUCKET", "acme"],
    ["GCS_CREDENTIALS", `'${text}'`],
  ]);
  const known = storageServicesOf(env, "/app");
  const found = findSource("google", known, env);
  assert.equal("spec" in found && found.spec.kind === "gcs" && found.spec.key, wanted);
  env.set("GCS_CREDENTIALS", text.replaceAll(String.raw`\n`, String.raw`\\n`));
  const doubled = findSource("google", known, env);
  assert.equal("spec" in doubled && doubled.spec.kind === "gcs" && doubled.spec.key, wanted);
  const outage = outageOf("google", `GCS_BUCKET=acme\nGCS_CREDENTIALS='{"private_key": "secret"'\n`);
  assert.match(outage.why, /GCS_CREDENTIALS is not the key/);
  assert.doesNotMatch(JSON.stringify(outage), /secret"/);
});

test("what is empty is named, as far as reading needs it", () => {
  assert.match(
    outageOf("amazon", "S3_BUCKET_NAME=acme\n").why,
    /^AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are empty/,
  );
  assert.match(outageOf("s3_compatible", COMPATIBLE).why, /^STORAGE_ENDPOINT is empty/);
  // Nothing of it is set any more, and blobs still name it.
  assert.match(outageOf("microsoft", "").why, /^AZURE_STORAGE_CONTAINER, AZURE_STORAGE_ACCOUNT_NAME and .* are empty/);
  assert.match(outageOf("google", "GCS_CREDENTIALS='{}'\n").why, /^GCS_BUCKET is empty/);
  assert.match(outageOf("microsoft", AZURE.replace("=acme", "=Acme Files")).why, /AZURE_STORAGE_ACCOUNT_NAME cannot/);
  assert.match(outageOf("microsoft", AZURE.replace("c2VjcmV0", "?sv=2026")).why, /AZURE_STORAGE_ACCESS_KEY is no key/);
});

test("a service that no Chatwoot has is told apart from one that is not set up, and a folder nobody named too", () => {
  assert.equal(outageOf("r2", "").kind, "storage-service-unknown");
  assert.equal(outageOf("toString", "").kind, "storage-service-unknown");
  assert.equal(outageOf("amazon", "").kind, "storage-not-read");
  const found = findSource("local", [], new Map());
  assert.equal("outage" in found && found.outage.kind, "storage-not-read");
});

test("the configuration's own variables count first, the machine's role only where it is asked for", () => {
  const own = {
    env: { AWS_ACCESS_KEY_ID: "READER", AWS_SECRET_ACCESS_KEY: "other" },
    endpoint: "https://vpce.example",
  };
  const spec = s3SpecOf("amazon", AMAZON, own);
  assert.deepEqual(spec.credentials, { accessKeyId: "READER", secretAccessKey: "other" });
  assert.deepEqual([spec.host, spec.isAmazon], ["vpce.example", false]);
  assert.equal(s3SpecOf("amazon", "S3_BUCKET_NAME=acme\n", { usesMachine: true }).credentials, undefined);
  assert.equal(googleKeyOf("GCS_BUCKET=acme\n", { usesMachine: true }), undefined);
  const azure = specOf("microsoft", AZURE, { endpoint: "https://acme.blob.core.usgovcloudapi.net" });
  assert.equal(azure.kind === "azure" && azure.endpoint, "https://acme.blob.core.usgovcloudapi.net");
});
