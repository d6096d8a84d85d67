/** Commands about who can open a repository. */
import type { CommandRow } from "../command.ts";

const ACTIONS = ["list", "add", "remove", "passwd"] as const;

export const KEY_ROWS: readonly CommandRow[] = [
  {
    name: "key",
    group: "set up",
    args: [
      { name: "ACTION", kind: ACTIONS },
      { name: "KEY", isOptional: true, kind: "text" },
    ],
    options: [
      { flag: "--new-password-file", value: "FILE", kind: "file", help: "where the new password stands" },
      { flag: "--new-password-command", value: "COMMAND", help: "what prints the new password" },
      {
        flag: "--generate",
        value: "FILE",
        kind: "file",
        help: "make a password and write it there, for its owner only",
      },
      { flag: "--user", value: "NAME", help: "whose key it is (default: this user)" },
      { flag: "--host", value: "NAME", help: "which machine's key it is (default: this one)" },
    ],
    purpose: "the passwords that open a repository: list, add, remove",
    description: [
      "Each person and each machine can have a key of their own. 'key add' makes one, 'key remove KEY' takes one away, 'key passwd' puts a new one in the place of the one in use, and writes it where the configuration reads it. Without an option the new password is asked for twice.",
      "A recovery kit beside the configuration that fits no more is written anew; otherwise 'chatkeep kit --with-password --out kit' makes one to print.",
      "The key in use is never removed, so that one is always left. Whoever once had a password may have kept the repository's inner keys: see docs/keys.md for what to do when a machine is stolen.",
    ],
    examples: [
      ["who can open it", "chatkeep key list"],
      ["for a colleague, who types the password", "chatkeep key add --user maria --host laptop"],
      ["for another machine", "chatkeep key add --host web2 --generate web2.password"],
      ["it is gone", "chatkeep key remove 4f3a91c2"],
    ],
    exits: {
      3: "some key files cannot be read, or a recovery kit could not be written anew",
      10: "",
      11: "",
      12: "",
      13: "",
      20: "",
    },
    kept: "every password that opened the repository still opens it, and a new one may do so too",
    load: async () => (await import("../verbs/key.ts")).key,
  },
  {
    name: "kit",
    group: "set up",
    args: [],
    options: [
      { flag: "--out", value: "DIR", kind: "folder", help: "where to write it (default: beside the configuration)" },
      { flag: "--with-password", help: "with the password and its QR code; else a line to write it on" },
    ],
    purpose: "write the recovery kit anew: a page to print, and as text",
    description: [
      "Every configured repository, its fingerprint, and the commands that bring everything back with Chatkeep or with stock restic. Print a new one after a password or a repository has changed. The files are readable by their owner only, and none that exists is written over.",
    ],
    examples: [["", "chatkeep kit --with-password --out kit"]],
    exits: { 3: "a repository could not be opened; the rest of the kit was written" },
    kept: "no file was written over",
    load: async () => (await import("../verbs/kit.ts")).kit,
  },
];
