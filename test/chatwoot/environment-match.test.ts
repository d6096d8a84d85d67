import assert from "node:assert/strict";
import { cloneWalls } from "../../src/chatwoot/clone-environment.ts";
import { test } from "node:test";
import * as fc from "fast-check";
import {
  matchEnvironments,
  type MatchOptions,
  OPENING_NAMES,
  valuesToWrite,
} from "../../src/chatwoot/environment-match.ts";

const env = (values: Record<string, string>) => new Map(Object.entries(values));

const SAVED = env({
  SECRET_KEY_BASE: "saved-secret",
  ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY: "saved-primary",
  FRONTEND_URL: "https://chat.acme.example",
  HELPCENTER_URL: "",
  POSTGRES_HOST: "db.acme.example",
  POSTGRES_PASSWORD: "saved-pg",
  REDIS_URL: "redis://:saved@redis:6379",
  ACTIVE_STORAGE_SERVICE: "amazon",
  S3_BUCKET_NAME: "acme",
  AWS_ACCESS_KEY_ID: "saved-aws",
  SMTP_ADDRESS: "smtp.acme.example",
  SMTP_PASSWORD: "saved-smtp",
  MAILER_INBOUND_EMAIL_DOMAIN: "reply.acme.example",
  FB_APP_SECRET: "saved-fb",
  PATH: "/usr/local/bundle/bin:/usr/bin",
  RAILS_MAX_THREADS: "20",
});
const PRESENT = env({
  SECRET_KEY_BASE: "present-secret",
  FRONTEND_URL: "http://203.0.113.7:3000",
  POSTGRES_HOST: "localhost",
  POSTGRES_USERNAME: "chatwoot",
  REDIS_URL: "redis://localhost:6379",
  ACTIVE_STORAGE_SERVICE: "local",
  S3_BUCKET_NAME: "",
  SMTP_ADDRESS: "",
  SMTP_PASSWORD: "present-smtp",
  RAILS_MAX_THREADS: "5",
  OWN_SETTING: "x",
});

function actions(options: MatchOptions, saved = SAVED, present = PRESENT): Record<string, string> {
  return Object.fromEntries(
    matchEnvironments(saved, present, options).map((line) => [line.name, `${line.class} ${line.action}`]),
  );
}

test("on the same machine what must match and every setting come back, and this place's servers stay its own", () => {
  assert.deepEqual(actions({ place: "here" }), {
    ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY: "must-match add",
    ACTIVE_STORAGE_SERVICE: "adapted keep",
    AWS_ACCESS_KEY_ID: "adapted add",
    FB_APP_SECRET: "free add",
    FRONTEND_URL: "must-match set",
    MAILER_INBOUND_EMAIL_DOMAIN: "must-match add",
    OWN_SETTING: "free keep",
    PATH: "adapted leave",
    POSTGRES_HOST: "adapted keep",
    POSTGRES_PASSWORD: "adapted leave",
    POSTGRES_USERNAME: "adapted keep",
    RAILS_MAX_THREADS: "adapted keep",
    REDIS_URL: "adapted keep",
    S3_BUCKET_NAME: "adapted add",
    SECRET_KEY_BASE: "must-match set",
    SMTP_ADDRESS: "free add",
    SMTP_PASSWORD: "free set",
  });
});

test("on another machine its address stays its own, too, and nothing of another machine's size or servers is taken", () => {
  const here = actions({ place: "here" });
  const elsewhere = actions({ place: "elsewhere" });
  const differing = Object.keys(here).filter((name) => here[name] !== elsewhere[name]);
  assert.deepEqual(differing, ["FRONTEND_URL"]);
  assert.equal(elsewhere["FRONTEND_URL"], "adapted keep");
  const bare = actions({ place: "elsewhere" }, SAVED, env({}));
  assert.equal(bare["FRONTEND_URL"], "adapted add");
  assert.deepEqual(
    Object.keys(bare).filter((name) => bare[name] === "adapted leave"),
    ["ACTIVE_STORAGE_SERVICE", "PATH", "POSTGRES_HOST", "POSTGRES_PASSWORD", "RAILS_MAX_THREADS", "REDIS_URL"],
  );
});

test("where the environment is lost, the saved one comes back whole, but for what an image or a shell makes", () => {
  const lost = matchEnvironments(SAVED, env({}), { place: "here" });
  assert.deepEqual(
    lost.filter(({ action }) => action !== "add").map(({ name }) => name),
    ["PATH"],
  );
});

test("a clone keeps its place's keys, and gets an address of its own and nothing by which it reaches anybody", () => {
  const options = { place: "clone", frontendUrl: "https://staging.acme.example" } as const;
  const lines = matchEnvironments(SAVED, PRESENT, options);
  const values = valuesToWrite(lines, SAVED, options);
  const walls = cloneWalls();
  assert.equal(walls.get("SMTP_ADDRESS"), "127.0.0.1");
  assert.deepEqual(Object.fromEntries(values), {
    ...Object.fromEntries([...walls].filter(([name, value]) => PRESENT.get(name) !== value)),
    FRONTEND_URL: "https://staging.acme.example",
  });
});

test("new files go to the service that is asked for", () => {
  const options = { place: "here", storage: "s3_compatible" } as const;
  const lines = matchEnvironments(SAVED, PRESENT, options);
  assert.equal(valuesToWrite(lines, SAVED, options).get("ACTIVE_STORAGE_SERVICE"), "s3_compatible");
});

test("settings that Chatwoot reads from its database are named as such", () => {
  const lines = matchEnvironments(SAVED, PRESENT, { place: "here" });
  assert.deepEqual(
    lines.filter(({ isInDatabase }) => isInDatabase).map(({ name }) => name),
    ["FB_APP_SECRET"],
  );
});

const names = fc.constantFrom(...SAVED.keys(), ...PRESENT.keys(), "DATABASE_URL", "HELPCENTER_URL", "GCS_BUCKET");
const environments = fc.dictionary(names, fc.constantFrom("", "value-1", "value-2"));
const places = fc.constantFrom("here", "elsewhere", "clone" as const);

test("what opens the data is the point's, or the place's own for a clone, a value here is never emptied, and no line tells a value", () => {
  fc.assert(
    fc.property(environments, environments, places, (savedValues, presentValues, place) => {
      const [saved, present] = [env(savedValues), env(presentValues)];
      const options = { place } as MatchOptions;
      const lines = matchEnvironments(saved, present, options);
      const after = new Map([...present, ...valuesToWrite(lines, saved, options)]);
      for (const name of OPENING_NAMES) {
        if (place === "clone") assert.equal(after.get(name), present.get(name), name);
        else if ((saved.get(name) ?? "") !== "") assert.equal(after.get(name), saved.get(name), name);
      }
      for (const [name, value] of present) if (value !== "") assert.notEqual(after.get(name), "", name);
      assert.doesNotMatch(JSON.stringify(lines), /value-[12]/);
      const hasDatabase = ["DATABASE_URL", "POSTGRES_HOST", "POSTGRES_PASSWORD"].some((name) => present.get(name));
      if (hasDatabase) assert.equal(after.get("DATABASE_URL"), present.get("DATABASE_URL"));
      assert.deepEqual(
        matchEnvironments(saved, after, options).filter(({ action }) => action === "set" || action === "add"),
        [],
        "a second time there is nothing to do",
      );
    }),
  );
});
