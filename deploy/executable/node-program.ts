/**
 * Makes of Node's own program one that asks less of a machine, without changing what it does.
 *
 * Since version 25 Node's builds for Linux need `libatomic.so.1`, for one function, and a bare Debian or Ubuntu does not
 * have that library. The function is a single instruction of the processor: it is put into the program itself, in the
 * unused end of its last page of code, and the library is asked for no more. What no machine loads (symbols and notes
 * for debuggers, a fifth of the file) is left out.
 */
import { Buffer } from "node:buffer";

const LIBRARY = "libatomic.so.1";
const FUNCTION = "__atomic_compare_exchange";
const PAGE = 4096;

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const EXECUTABLE = 1;
const [DT_NULL, DT_NEEDED, DT_PLTRELSZ, DT_STRTAB, DT_SYMTAB, DT_JMPREL] = [0, 1, 2, 5, 6, 23];
const [DT_VERSYM, DT_VERNEED, DT_VERNEEDNUM, DT_FLAGS_1] = [0x6ffffff0, 0x6ffffffe, 0x6fffffff, 0x6ffffffb];
const BIND_NOW = 1;
const R_X86_64_JUMP_SLOT = 7;

/**
 * `bool __atomic_compare_exchange(size, object, expected, desired, …)` for eight bytes, the only size that Node asks for
 * (that is checked). The instruction is a full barrier, so the memory orders that follow say nothing new.
 */
const COMPARE_EXCHANGE = Buffer.from(
  [
    "48 83 ff 08", // cmp  $8, %rdi
    "75 14", // jne  trap
    "48 8b 02", // mov  (%rdx), %rax
    "48 8b 09", // mov  (%rcx), %rcx
    "f0 48 0f b1 0e", // lock cmpxchg %rcx, (%rsi)
    "74 03", // je   done
    "48 89 02", // mov  %rax, (%rdx)
    "0f 94 c0", // done: sete %al
    "c3", // ret
    "0f 0b", // trap: ud2
  ]
    .join("")
    .replaceAll(" ", ""),
  "hex",
);

function refuse(what: string): Error {
  return new Error(`this build of Node is not as expected: ${what}`);
}

/** A part of the file that is loaded. */
interface Segment {
  /** Where in the file it is described. */
  at: number;
  type: number;
  flags: number;
  offset: number;
  address: number;
  size: number;
}

/** A line of the dynamic section. */
interface Entry {
  at: number;
  tag: number;
  value: number;
}

/** Addresses and tables of an ELF file of 64 bits. */
class Elf {
  readonly bytes: Buffer;
  /** Loaded to the addresses that it names, and not wherever there is room. */
  readonly isFixed: boolean;
  readonly segments: readonly Segment[];
  readonly dynamic: readonly Entry[];

  constructor(bytes: Buffer) {
    this.bytes = bytes;
    const isX64 = bytes.readUInt32BE(0) === 0x7f454c46 && bytes[4] === 2 && bytes.readUInt16LE(18) === 62;
    if (!isX64) throw refuse("it is not a program for x86-64 Linux");
    this.isFixed = bytes.readUInt16LE(16) === 2;
    const first = this.number(32);
    const [size, count] = [bytes.readUInt16LE(54), bytes.readUInt16LE(56)];
    this.segments = Array.from({ length: count }, (_, index) => {
      const at = first + index * size;
      const [type, flags] = [bytes.readUInt32LE(at), bytes.readUInt32LE(at + 4)];
      return {
        at,
        type,
        flags,
        offset: this.number(at + 8),
        address: this.number(at + 16),
        size: this.number(at + 32),
      };
    });
    this.dynamic = this.#readDynamic();
  }

  number(at: number): number {
    return Number(this.bytes.readBigUInt64LE(at));
  }

  write(at: number, value: number): void {
    this.bytes.writeBigUInt64LE(BigInt(value), at);
  }

  /** Where in the file what is loaded to this address lies. */
  offsetOf(address: number): number {
    const holds = this.segments.find((s) => s.type === PT_LOAD && address >= s.address && address < s.address + s.size);
    if (holds === undefined) throw refuse(`nothing of the file is loaded to ${address.toString(16)}`);
    return address - holds.address + holds.offset;
  }

  #readDynamic(): Entry[] {
    const segment = this.segments.find(({ type }) => type === PT_DYNAMIC);
    if (segment === undefined) throw refuse("it has no dynamic section");
    const entries: Entry[] = [];
    for (let at = segment.offset; this.number(at) !== DT_NULL; at += 16) {
      entries.push({ at, tag: this.number(at), value: this.number(at + 8) });
    }
    return entries;
  }

  entry(tag: number): Entry {
    const found = this.dynamic.find((entry) => entry.tag === tag);
    if (found === undefined) throw refuse(`its dynamic section has no entry ${tag.toString(16)}`);
    return found;
  }

  /** A name in the table of dynamic strings. */
  string(index: number): string {
    const start = this.offsetOf(this.entry(DT_STRTAB).value) + index;
    return this.bytes.toString("latin1", start, this.bytes.indexOf(0, start));
  }
}

/** Where the one call of the function through the table of addresses is bound. */
function bindingOf(elf: Elf): { at: number; symbol: number; slot: number } {
  const { bytes } = elf;
  const symbols = elf.offsetOf(elf.entry(DT_SYMTAB).value);
  const start = elf.offsetOf(elf.entry(DT_JMPREL).value);
  for (let at = start; at < start + elf.entry(DT_PLTRELSZ).value; at += 24) {
    const symbol = bytes.readUInt32LE(at + 12);
    if (elf.string(bytes.readUInt32LE(symbols + symbol * 24)) !== FUNCTION) continue;
    if (bytes.readUInt32LE(at + 8) !== R_X86_64_JUMP_SLOT) throw refuse(`${FUNCTION} is bound in an unknown way`);
    return { at, symbol, slot: elf.number(at) };
  }
  throw refuse(`${FUNCTION} is not called`);
}

/** Every call of the function asks for eight bytes. */
function checkCalls(elf: Elf, slot: number): void {
  const { bytes } = elf;
  const code = codeOf(elf);
  const end = code.offset + code.size;
  const target = (at: number, length: number) =>
    at - code.offset + code.address + length + bytes.readInt32LE(at + length - 4);
  let stub;
  for (
    let at = bytes.indexOf("ff25", code.offset, "hex");
    at >= 0 && at < end;
    at = bytes.indexOf("ff25", at + 1, "hex")
  ) {
    if (target(at, 6) === slot) stub = at - code.offset + code.address;
  }
  if (stub === undefined) throw refuse(`nothing jumps to ${FUNCTION}`);
  let calls = 0;
  for (let at = code.offset; at < end - 5; at += 1) {
    if ((bytes[at] !== 0xe8 && bytes[at] !== 0xe9) || target(at, 5) !== stub) continue;
    calls += 1;
    // mov $8, %edi
    if (!bytes.subarray(at - 40, at).includes("bf08000000", 0, "hex"))
      throw refuse(`${FUNCTION} is called for another size`);
  }
  if (calls === 0) throw refuse(`nothing calls ${FUNCTION}`);
}

function codeOf(elf: Elf): Segment {
  const code = elf.segments.find(({ type, flags }) => type === PT_LOAD && (flags & EXECUTABLE) !== 0);
  if (code === undefined) throw refuse("it has no code");
  return code;
}

/** Puts the function behind the code and gives its address. */
function addFunction(elf: Elf): number {
  const code = codeOf(elf);
  const start = Math.ceil((code.offset + code.size) / 16) * 16;
  const end = start + COMPARE_EXCHANGE.length;
  const page = Math.ceil((code.offset + code.size) / PAGE) * PAGE;
  if (end > page || elf.bytes.subarray(code.offset + code.size, end).some((byte) => byte !== 0)) {
    throw refuse("its last page of code is full");
  }
  COMPARE_EXCHANGE.copy(elf.bytes, start);
  elf.write(code.at + 32, end - code.offset);
  elf.write(code.at + 40, end - code.offset);
  return start - code.offset + code.address;
}

/** Takes the library from what is needed, and its versions of functions with it. */
function forgetLibrary(elf: Elf, symbol: number): void {
  const { bytes } = elf;
  const [first, count] = [elf.entry(DT_VERNEED), elf.entry(DT_VERNEEDNUM)];
  let previous;
  for (let at = elf.offsetOf(first.value); ; at += bytes.readUInt32LE(at + 12)) {
    const next = bytes.readUInt32LE(at + 12);
    if (elf.string(bytes.readUInt32LE(at + 4)) === LIBRARY) {
      if (bytes.readUInt16LE(at + 2) !== 1) throw refuse(`it needs more than one version of ${LIBRARY}`);
      if (previous === undefined) elf.write(first.at + 8, first.value + next);
      else bytes.writeUInt32LE(next === 0 ? 0 : at + next - previous, previous + 12);
      elf.write(count.at + 8, count.value - 1);
      break;
    }
    if (next === 0) throw refuse(`it names no version of ${LIBRARY}`);
    previous = at;
  }
  // Of no version, as a function that nobody binds.
  bytes.writeUInt16LE(1, elf.offsetOf(elf.entry(DT_VERSYM).value) + symbol * 2);
  const needed = elf.dynamic.findIndex((entry) => isLibrary(elf, entry));
  const from = elf.dynamic[needed]?.at ?? 0;
  const last = elf.dynamic.at(-1)?.at ?? 0;
  bytes.copy(bytes, from, from + 16, last + 32);
}

function isLibrary(elf: Elf, { tag, value }: Entry): boolean {
  return tag === DT_NEEDED && elf.string(value) === LIBRARY;
}

/**
 * Node's program, needing neither libatomic nor the room of what is never loaded.
 * @param bytes Node's program; not changed.
 * @throws Error when it is made otherwise than this knows: then nothing is guessed.
 */
export function slimNode(bytes: Buffer): Buffer {
  const elf = new Elf(Buffer.from(bytes));
  if (elf.dynamic.some((entry) => isLibrary(elf, entry))) {
    // Addresses are as in the file, and all are bound before the program starts: so a slot that says where to go is enough.
    if (!elf.isFixed) throw refuse("its addresses are not fixed");
    if ((elf.entry(DT_FLAGS_1).value & BIND_NOW) === 0) throw refuse("its functions are bound late");
    const binding = bindingOf(elf);
    checkCalls(elf, binding.slot);
    const slot = elf.offsetOf(binding.slot);
    elf.write(slot, addFunction(elf));
    elf.write(binding.at + 8, 0);
    forgetLibrary(elf, binding.symbol);
  }
  const end = Math.max(...elf.segments.filter(({ type }) => type === PT_LOAD).map((s) => s.offset + s.size));
  // No table of sections: no loader reads it.
  elf.write(40, 0);
  elf.bytes.fill(0, 58, 64);
  return elf.bytes.subarray(0, end);
}
