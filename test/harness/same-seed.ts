/**
 * Loaded before every test of `npm test`: what is chosen by chance is the same each time, so that a change fails for what it
 * changed. CHATKEEP_TEST_SEED chooses otherwise, and the long run chooses anew each time.
 */
import { configureGlobal, readConfigureGlobal } from "fast-check";

configureGlobal({ ...readConfigureGlobal(), seed: Number(process.env["CHATKEEP_TEST_SEED"] ?? "1") });
