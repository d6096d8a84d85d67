/** What Compose fills in: the forms of the Compose Specification, and what it cannot know from files. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fillIn } from "../../src/installation/compose/fill-in.ts";

const VALUES = new Map([
  ["TAG", "v4"],
  ["EMPTY", ""],
  ["A_1", "one"],
]);

const FORMS: readonly [text: string, filled: string][] = [
  ["plain/path.env", "plain/path.env"],
  ["${TAG}/x", "v4/x"],
  ["$TAG/$A_1.env", "v4/one.env"],
  ["${TAG}${A_1}", "v4one"],
  ["${EMPTY}/x", "/x"],
  ["${NONE:-web}.env", "web.env"],
  ["${NONE-web}.env", "web.env"],
  ["${EMPTY:-web}.env", "web.env"],
  ["${EMPTY-web}.env", ".env"],
  ["${NONE:-${TAG}-${A_1}}/x", "v4-one/x"],
  ["${TAG:+tagged}/x", "tagged/x"],
  ["${EMPTY:+tagged}/x", "/x"],
  ["${EMPTY+tagged}/x", "tagged/x"],
  ["${TAG:?must be there}/x", "v4/x"],
  ["costs $$5 and $${TAG}", "costs $5 and ${TAG}"],
  // Nothing here says it: who ran Compose may have had it in his own environment.
  ["${NONE}/x", "${NONE}/x"],
  ["$NONE/x", "$NONE/x"],
  ["${EMPTY:?must be there}/x", "${EMPTY:?must be there}/x"],
  // No such form: as it stands.
  ["${TAG", "${TAG"],
  ["${}/x", "${}/x"],
  ["${TAG/x}", "${TAG/x}"],
  ["ends with $", "ends with $"],
];

for (const [text, filled] of FORMS) {
  test(`'${text}' is '${filled}'`, () => {
    assert.equal(fillIn(text, VALUES), filled);
  });
}
