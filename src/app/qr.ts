/** The modules of a QR code: error correction M, so that a fold or a stain does not matter. */
import makeCode from "qrcode-generator";
import { Failure } from "../base/errors.ts";
import type { QrModules } from "../point/recovery-kit.ts";

/** @throws Failure `config/invalid` for a text that no QR code can hold (some 2,300 bytes). */
export function encodeQr(text: string): QrModules {
  // The package takes one byte for each character: so we hand it the bytes, as characters.
  const code = makeCode(0, "M");
  code.addData(Buffer.from(text, "utf8").toString("latin1"), "Byte");
  try {
    code.make();
  } catch (cause) {
    throw new Failure("config/invalid", "the password is too long for a QR code", {
      hint: "Write the kit without --with-password, and keep the password's file elsewhere.",
      cause,
    });
  }
  const numbers = Array.from({ length: code.getModuleCount() }, (_item, at) => at);
  return numbers.map((row) => numbers.map((column) => code.isDark(row, column)));
}
