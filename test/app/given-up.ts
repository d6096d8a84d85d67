/** A finding of something that happened, as a watch has it. */
export const GIVEN_UP = {
  kind: "slot-given-up",
  level: "alarm",
  event: "1",
  message: "it kept too much",
  hint: "Look.",
} as const;
