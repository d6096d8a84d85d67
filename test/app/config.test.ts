import assert from "node:assert/strict";
import { test } from "node:test";
import { parseConfig } from "../../src/app/config.ts";
import { trimPassword } from "../../src/app/secrets.ts";
import { isFailure } from "../../src/base/errors.ts";

const GOOD = `installation:
  id: 6f1c2b7e-0d4f-4c58-9a55-0b8f5b0f7a11
  name: acme
  root: \${HOME_OF_CHATWOOT}/chatwoot
repositories:
  - name: primary
    location: /var/backups/chatkeep
    password-file: /etc/chatkeep/primary.password
`;

test("a good configuration is read, with the environment's values in it", () => {
  const config = parseConfig(GOOD, "c.yaml", { HOME_OF_CHATWOOT: "/home/chatwoot" });
  assert.equal(config.installation.root, "/home/chatwoot/chatwoot");
  assert.equal(config.repositories[0]?.location, "/var/backups/chatkeep");
});

const BAD: [what: string, text: string, message: RegExp][] = [
  [
    "an unknown key",
    GOOD.replace("name: acme", "name: acme\n  colour: red"),
    /^c\.yaml:4:3: unknown key 'colour' in 'installation'$/,
  ],
  ["an unknown key at the top", `${GOOD}surprise: 1\n`, /^c\.yaml:9:1: unknown key 'surprise'$/],
  ["a setting that does nothing", `${GOOD}state: /var/lib/chatkeep\n`, /^c\.yaml:9:1: unknown key 'state'$/],
  [
    "a channel of no kind",
    `${GOOD}notify: [{ kind: pigeon, url: x }]\n`,
    /^c\.yaml:9:18: notify\.0\.kind: kind is one of email, /,
  ],
  [
    "a key of another channel",
    `${GOOD}notify: [{ kind: slack, server: x }]\n`,
    /^c\.yaml:9:25: unknown key 'server' in 'notify\.0'$/,
  ],
  [
    "an outcome of no run",
    `${GOOD}notify: [{ kind: slack, on: sometimes }]\n`,
    /^c\.yaml:9:29: notify\.0\.on: write failure, /,
  ],
  [
    "a zone that nobody knows",
    `${GOOD}schedule: { timezone: Europe/Atlantis }\n`,
    /^c\.yaml:9:23: schedule\.timezone: 'Europe\/Atlantis' is no time zone$/,
  ],
  [
    "a drill now and then",
    `${GOOD}schedule: { drill: yearly }\n`,
    /^c\.yaml:9:20: schedule\.drill: write daily, weekly, /,
  ],
  ["an objective without a unit", `${GOOD}objectives: { rpo: 26 }\n`, /^c\.yaml:9:20: objectives\.rpo: must be text/],
  [
    "an objective of no length",
    `${GOOD}objectives: { rpo: 0h }\n`,
    /^c\.yaml:9:20: objectives\.rpo: write it as 30m, 26h or 8d$/,
  ],
  [
    "metrics that nobody reads",
    `${GOOD}metrics-file: /srv/chatkeep.txt\n`,
    /^c\.yaml:9:15: metrics-file: its name must end with \.prom/,
  ],
  ["a hook that is a list", `${GOOD}hooks: { before: [a] }\n`, /^c\.yaml:9:18: hooks\.before: write a command, or /],
  ["a key of no version", `${GOOD}drills: { image: x }\n`, /^c\.yaml:9:1: unknown key 'drills'$/],
  [
    "a place for drills that is only an option",
    `${GOOD}drill: { servers: [in-place] }\n`,
    /^c\.yaml:9:20: drill\.servers\.0: /,
  ],
  ["a wrong type", GOOD.replace("name: primary", "name: [1]"), /^c\.yaml:6:11: repositories\.0\.name: must be text/],
  ["an empty file", "# nothing\n", /^c\.yaml:1:1: the file is empty$/],
  ["a list in its place", "- a\n", /^c\.yaml:1:1: the file: must be a group of names and values$/],
  [
    "a place that is not named",
    GOOD.replace(/location: .*/, "location:"),
    /repositories\.0\.location: missing, or empty$/,
  ],
  ["a name that cannot be one", GOOD.replace("name: acme", "name: 'a b'"), /^c\.yaml:3:9: installation\.name: /],
  ["no repositories", GOOD.slice(0, GOOD.indexOf("repositories")), /^c\.yaml:1:1: repositories: missing, or empty$/],
  [
    "an empty list of repositories",
    `${GOOD.slice(0, GOOD.indexOf("repositories"))}repositories: []\n`,
    /^c\.yaml:5:15: repositories: name at least one/,
  ],
  [
    "a variable that is not set",
    GOOD.replace("HOME_OF_CHATWOOT", "NOWHERE"),
    /^c\.yaml:4:9: the environment variable NOWHERE is not set$/,
  ],
  ["a key twice", GOOD.replace("name: acme", "name: acme\n  name: b"), /^c\.yaml:4:3: /],
  ["a rate of nothing", `${GOOD}    limit-upload: 0\n`, /^c\.yaml:9:19: repositories\.0\.limit-upload: /],
  [
    "a folder that is to be immutable",
    `${GOOD}    immutable: 30d\n`,
    /^c\.yaml:9:16: repositories\.0\.immutable: only an s3: or azure: repository can be immutable$/,
  ],
  [
    "a lock on Azure that can be lifted",
    `${GOOD.replace("location: /var", "location: azure:box:/var")}    immutable: { for: 30d, mode: governance }\n`,
    /^c\.yaml:9:34: repositories\.0\.immutable\.mode: an azure: repository knows only 'compliance': who/,
  ],
  [
    "a retention without a unit",
    `${GOOD.replace("location: /var", "location: s3:host/var")}    immutable: 30\n`,
    /^c\.yaml:9:16: repositories\.0\.immutable: write it as 30d, or as \{ for: 30d, mode: compliance \}$/,
  ],
  ["too many connections", `${GOOD}    connections: 257\n`, /^c\.yaml:9:18: repositories\.0\.connections: /],
  ["bad YAML", "installation: {id: x\n name", /^c\.yaml:2:/],
  [
    "a repository twice",
    `${GOOD}  - { name: primary, location: /elsewhere }\n`,
    /^c\.yaml:\d+:\d+: repositories: two repositories have one name$/,
  ],
  [
    "a variable that cannot be one",
    `${GOOD}  - { name: other, location: /elsewhere, env: { "not a name": x } }\n`,
    /^c\.yaml:\d+:\d+: repositories\.1\.env/,
  ],
  ["an empty file", "", /^c\.yaml:1:1: /],
  ["a list", "- 1\n", /^c\.yaml:1:1: /],
];

for (const [what, text, message] of BAD) {
  test(`${what} is refused with line and column`, () => {
    assert.throws(
      () => parseConfig(text, "c.yaml", { HOME_OF_CHATWOOT: "/home" }),
      (error) => {
        assert.ok(isFailure(error, "config/invalid"));
        assert.match(error.message, message);
        return true;
      },
    );
  });
}

for (const [given, kept] of [
  ["secret\n", "secret"],
  ["  two words \r\n", "two words"],
  ["\uFEFFsecret", "secret"],
  ["\uFEFF secret\n\n", "secret"],
] as const) {
  test(`the password ${JSON.stringify(given)} is trimmed as restic trims it`, () => {
    assert.equal(trimPassword(given), kept);
  });
}
