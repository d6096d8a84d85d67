import assert from "node:assert/strict";
import { test } from "node:test";
import { assert as forAll, pre, property, string } from "fast-check";
import { passwordsIn, secretsInCommand } from "../../src/base/redact.ts";
import { Redactor, secretsOfEnvironment } from "../../src/cli/redact.ts";

function redactorOf(...secrets: string[]): Redactor {
  const redactor = new Redactor();
  redactor.hide(secrets);
  return redactor;
}

test("a secret is hidden as it is, percent-encoded and as it stands in a JSON string", () => {
  const secret = 'p@ss "w/ord"\\\n';
  const redactor = redactorOf(secret);
  for (const form of [secret, encodeURIComponent(secret), JSON.stringify(secret), `a ${secret.trim()} b`]) {
    const shown = redactor.redact(`before ${form} after`);
    assert.match(shown, /^before .*•••.* after$/s);
    assert.doesNotMatch(shown, /ord/);
  }
});

test("no text that a printed line is made of lets any secret through", () => {
  forAll(
    property(string({ minLength: 6, maxLength: 40 }), string(), string(), (secret, before, after) => {
      pre(
        secret.trim() !== "" &&
          !"•••".includes(secret) &&
          !before.includes("•") &&
          !after.includes("•") &&
          !secret.includes("•"),
      );
      assert.ok(
        !redactorOf(secret)
          .redact(before + secret + after)
          .includes(secret),
      );
    }),
  );
});

test("values shorter than six characters are left alone", () => {
  assert.equal(redactorOf("", "a", "12345").redact("12345 a"), "12345 a");
});

test("a secret that begins with another leaves no tail", () => {
  assert.equal(redactorOf("canary", "canary-and-longer").redact("canary-and-longer canary"), "••• •••");
});

test("a secret full of regular-expression characters is taken literally", () => {
  assert.equal(redactorOf("a.*+?^${}()|[]\\/-z").redact("a.*+?^${}()|[]\\/-z axxxxz"), "••• axxxxz");
});

test("JSON keeps its shape, its numbers and its own vocabulary", () => {
  const value = {
    type: "summary",
    verb: "backup",
    code: "config/invalid",
    bytes: 123456,
    message: "backup of 123456",
    list: ["backup"],
  };
  assert.deepEqual(redactorOf("backup", "summary", "config", "123456").redactDeep(value), {
    ...value,
    message: "••• of •••",
    list: ["•••"],
  });
});

test("passwords are found in addresses and connection strings on a command line", () => {
  const argv = [
    "restore",
    "postgres://chatwoot:s3cr%40et@db/x?a=b",
    "host=db password='quo ted' user=x",
    "rest:https://u:pass:word@host/",
  ];
  assert.deepEqual(passwordsIn(argv), ["s3cr%40et", "s3cr@et", "quo ted", "pass:word", "pass:word"]);
});

test("what looks like a secret in a command is found, in words as in a line for the shell", () => {
  const table: [string[], string[]][] = [
    [["cwctl", "--upgrade"], []],
    [["env", "REGISTRY_TOKEN=hidden1", "docker", "compose", "pull"], ["hidden1"]],
    [["curl", "-u", "admin:hidden-two", "https://host/"], ["hidden-two"]],
    [
      ["curl", "-H", "Authorization: Bearer hidden3", "-H", "X-Api-Key: hidden4"],
      ["hidden3", "hidden4"],
    ],
    [
      ["login", "--password", "hidden-5", "--token=hidden-6", "--password-file", "/etc/six"],
      ["hidden-5", "hidden-6"],
    ],
    [
      ["sshpass", "-p", "hidden-7", "ssh", "-p", "2222", "host"],
      ["hidden-7", "2222"],
    ],
    [
      ["sh", "-c", `exec env PGPASSWORD='hidden 8' psql "postgres://u:hidden9@h/d" | tee --api-key "hidden 10"`],
      ["hidden", "hidden 8", "hidden9", "hidden 10"],
    ],
    // A word with spaces may be one value, or a line for the shell: it is taken for both.
    [["TOKEN=hidden 11 more"], ["hidden", "hidden 11 more"]],
    [["docker", "run", "-p", "8080:80", "-e", "SECRET_KEY_BASE=hidden11", "image"], ["hidden11"]],
    [["--password-file", "x", "--secret-name", "y", "--no-token", "z", "key", "add"], ["z"]],
  ];
  for (const [words, secrets] of table) {
    assert.deepEqual(secretsInCommand(words).toSorted(), secrets.toSorted(), words.join(" "));
  }
});

test("the environment's own passwords are hidden from the start", () => {
  const found = secretsOfEnvironment({
    CHATKEEP_PASSWORD: "one-one",
    RESTIC_REST_PASSWORD: "of-the-server",
    PGPASSWORD: "two-two",
    DATABASE_URL: "postgres://u:three3@h/d",
    HOME: "/root",
  });
  assert.deepEqual(
    found.filter((value) => value !== ""),
    ["one-one", "of-the-server", "two-two", "three3", "three3"],
  );
});
