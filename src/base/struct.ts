/**
 * Struct tables: each on-disk structure is declared once, with literal offsets, endianness and the legal values of every
 * field. The declaration is proved when the module loads (no gap, no overlap, exact size), decodes and encodes, and is
 * the only place that refuses an illegal value: the error names structure, field, value and file offset.
 *
 *     const header = struct('QCOW2 header', 'be', 16, 'QCOW2 §Header', {
 *       magic: u32(0, { equals: 0x514649fb }),
 *       version: u32(4, { oneOf: [2, 3], code: 'unsupported' }),
 *       size: u64(8, { multipleOf: 512 }),
 *     });
 */
import { type ErrorCode, showNumber, VdconvError } from './errors.ts';
import { isPowerOfTwo } from './units.ts';

/** Legal values of a number field. Every rule that is given must hold. */
export interface NumberRules {
  equals?: number;
  oneOf?: readonly number[];
  min?: number;
  /** Beyond the format's own bound: `corrupt`. */
  max?: number;
  /** Beyond what vdconv accepts though the format allows it: `limit`. */
  limit?: number;
  multipleOf?: number;
  powerOfTwo?: boolean;
  /** The code of the error, when it is not `corrupt`. */
  code?: ErrorCode;
  /** What the format allows, for the message, where the rules alone do not say it well. */
  says?: string;
}

/** Legal values of a field of flag bits. */
export interface BitRules {
  /** Bits that may be set. */
  known?: bigint;
  /** Names of bits, for messages: index = bit number. */
  names?: Readonly<Record<number, string>>;
  code?: ErrorCode;
}

export interface Field<T> {
  readonly offset: number;
  readonly size: number;
  get(view: DataView, at: number, little: boolean): T;
  set(view: DataView, at: number, little: boolean, value: T): void;
  /** Undefined where `value` is legal; otherwise what the format allows, and the error's code. */
  illegal(value: T): { says: string; code: ErrorCode } | undefined;
  show(value: T): string;
  /** Taken where `encode` is given no value; fields without one are required. */
  readonly fill?: T;
}

/** Where the bytes came from, for errors. */
export interface Origin {
  file: string;
  format: string;
  /** Byte offset of the structure in the file. */
  at: number;
}

type Values<F> = { [K in keyof F]: F[K] extends Field<infer T> ? T : never };
type Filled<F> = { [K in keyof F]: F[K] extends { fill: unknown } ? K : never }[keyof F];
/** What `encode` takes: fields with a fill value may be left out. */
export type Input<F> = Omit<Values<F>, Filled<F>> & Partial<Pick<Values<F>, Filled<F>>>;

export interface Struct<F> {
  readonly name: string;
  readonly size: number;
  readonly fields: F;
  /** Reads every field at `at` of `bytes`, and refuses the first illegal one in order of offset. */
  decode(bytes: Uint8Array, origin: Origin, at?: number): Values<F>;
  /**
   * The same without the rules, for `probe` and for fields whose legality depends on another one.
   * The caller has seen to it that all of the structure is in `bytes`.
   */
  peek(bytes: Uint8Array, at?: number): Values<F>;
  encode(values: Input<F>): Uint8Array;
}

export type StructValues<S> = S extends Struct<infer F> ? Values<F> : never;

export function struct<
  // biome-ignore lint/suspicious/noExplicitAny: a struct holds fields of every value type
  F extends Record<string, Field<any>>,
>(name: string, endian: 'le' | 'be', size: number, spec: string, fields: F): Struct<F> {
  const entries = Object.entries(fields) as unknown as [string, Field<unknown>][];
  entries.sort((a, b) => a[1].offset - b[1].offset);
  proveNoGap(name, size, entries);
  const little = endian === 'le';
  const peek = (bytes: Uint8Array, at = 0): Values<F> => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const out: Record<string, unknown> = {};
    for (const [key, field] of entries) {
      out[key] = field.get(view, at + field.offset, little);
    }
    return out as Values<F>;
  };
  return {
    name,
    size,
    fields,
    peek,
    decode(bytes, origin, at = 0) {
      if (bytes.length < at + size) {
        throw new VdconvError(
          'truncated',
          `${name} at ${showNumber(origin.at)} needs ${size} bytes, ${Math.max(0, bytes.length - at)} are there`,
          {
            ...origin,
            offset: origin.at,
          },
        );
      }
      const values = peek(bytes, at);
      for (const [key, field] of entries) {
        const value = (values as Record<string, unknown>)[key];
        const fault = field.illegal(value);
        if (fault !== undefined) {
          throw illegalValue(
            fault.code,
            name,
            key,
            field.show(value),
            origin,
            origin.at + field.offset,
            `${fault.says}; ${spec}`,
          );
        }
      }
      return values;
    },
    encode(values) {
      const bytes = new Uint8Array(size);
      const view = new DataView(bytes.buffer);
      for (const [key, field] of entries) {
        const value = (values as Record<string, unknown>)[key] ?? field.fill;
        if (value === undefined || field.illegal(value) !== undefined) {
          throw new VdconvError(
            'internal',
            `${name}: ${key} cannot be ${value === undefined ? 'left out' : field.show(value)}`,
          );
        }
        field.set(view, field.offset, little, value);
      }
      return bytes;
    },
  };
}

/**
 * The error for a value that the format forbids; formats use it for rules between fields and for table entries.
 * @param says what the format allows, with the section that says so.
 */
export function illegalValue(
  code: ErrorCode,
  table: string,
  field: string,
  value: string,
  origin: { file: string; format: string },
  offset: number,
  says: string,
): VdconvError {
  return new VdconvError(code, `${table}: ${field} is ${value} at offset ${showNumber(offset)} (${says})`, {
    file: origin.file,
    format: origin.format,
    field,
    offset,
  });
}

function proveNoGap(name: string, size: number, entries: [string, Field<unknown>][]): void {
  let end = 0;
  for (const [key, field] of entries) {
    if (field.offset !== end) {
      throw new Error(`struct ${name}: ${key} begins at ${field.offset}, the field before it ends at ${end}`);
    }
    end += field.size;
  }
  if (end !== size) {
    throw new Error(`struct ${name}: the fields end at ${end}, the structure at ${size}`);
  }
}

function checkNumber(value: number, size: number, rules: NumberRules): { says: string; code: ErrorCode } | undefined {
  const code = rules.code ?? 'corrupt';
  const fault = (says: string, as: ErrorCode = code) => ({ says: rules.says ?? says, code: as });
  // Not through `fault`: what the format allows is beside the point here. The width matters to `encode` alone.
  if (!Number.isSafeInteger(value)) {
    return { says: 'offsets and sizes beyond 2^53 - 1 are not supported', code };
  }
  if (value < 0 || value >= 2 ** (8 * size)) {
    return { says: `must fit in ${size} ${size === 1 ? 'byte' : 'bytes'}`, code };
  }
  if (rules.equals !== undefined && value !== rules.equals) {
    return fault(`must be ${showNumber(rules.equals)}`);
  }
  if (rules.oneOf !== undefined && !rules.oneOf.includes(value)) {
    return fault(`must be one of ${rules.oneOf.join(', ')}`);
  }
  if (rules.min !== undefined && value < rules.min) {
    return fault(`must be at least ${showNumber(rules.min)}`);
  }
  if (rules.max !== undefined && value > rules.max) {
    return fault(`must be at most ${showNumber(rules.max)}`);
  }
  if (rules.powerOfTwo === true && !isPowerOfTwo(value)) {
    return fault('must be a power of two');
  }
  if (rules.multipleOf !== undefined && value % rules.multipleOf !== 0) {
    return fault(`must be a multiple of ${rules.multipleOf}`);
  }
  if (rules.limit !== undefined && value > rules.limit) {
    return fault(`vdconv takes at most ${showNumber(rules.limit)}`, 'limit');
  }
  return undefined;
}

type NumberField = Field<number>;

function numberField(
  offset: number,
  size: number,
  rules: NumberRules,
  get: (view: DataView, at: number, little: boolean) => number,
  set: (view: DataView, at: number, little: boolean, value: number) => void,
): NumberField {
  // A u64 past 2^53 was rounded when it became a number: its digits would look exact and not be.
  const show = (value: number) =>
    value <= Number.MAX_SAFE_INTEGER ? showNumber(value) : `about ${value.toExponential(3)}`;
  return { offset, size, get, set, illegal: (value) => checkNumber(value, size, rules), show };
}

export function u8(offset: number, rules: NumberRules = {}): NumberField {
  return numberField(
    offset,
    1,
    rules,
    (v, at) => v.getUint8(at),
    (v, at, _l, x) => v.setUint8(at, x),
  );
}

export function u16(offset: number, rules: NumberRules = {}): NumberField {
  return numberField(
    offset,
    2,
    rules,
    (v, at, l) => v.getUint16(at, l),
    (v, at, l, x) => v.setUint16(at, x, l),
  );
}

export function u32(offset: number, rules: NumberRules = {}): NumberField {
  return numberField(
    offset,
    4,
    rules,
    (v, at, l) => v.getUint32(at, l),
    (v, at, l, x) => v.setUint32(at, x, l),
  );
}

/** An unsigned 64-bit offset, size or count as a number; values past 2^53 - 1 are illegal in every field of this kind. */
export function u64(offset: number, rules: NumberRules = {}): NumberField {
  return numberField(
    offset,
    8,
    rules,
    (v, at, l) => Number(v.getBigUint64(at, l)),
    (v, at, l, x) => v.setBigUint64(at, BigInt(x), l),
  );
}

/** The check of both kinds of flag bits: every bit that is set must be a known one, or any of `all` where none are said. */
function checkBits(value: bigint, all: bigint, rules: BitRules): { says: string; code: ErrorCode } | undefined {
  const unknown = value & ~(rules.known ?? all);
  if (unknown === 0n) {
    return undefined;
  }
  const names: string[] = [];
  for (let bit = 0; bit < 64; bit += 1) {
    if ((unknown >> BigInt(bit)) & 1n) {
      names.push(rules.names?.[bit] ?? `bit ${bit}`);
    }
  }
  return { says: `${names.join(', ')} not supported`, code: rules.code ?? 'unsupported' };
}

/** 64 flag bits, as a bigint: the only place besides `u64` that reads one. */
export function bits64(offset: number, rules: BitRules = {}): Field<bigint> {
  return {
    offset,
    size: 8,
    get: (v, at, l) => v.getBigUint64(at, l),
    set: (v, at, l, x) => v.setBigUint64(at, x, l),
    illegal: (value) => checkBits(value, 0xffff_ffff_ffff_ffffn, rules),
    show: (value) => `0x${value.toString(16)}`,
  };
}

/** 32 flag bits, as a number from 0 to 2^32 - 1. */
export function bits32(offset: number, rules: BitRules = {}): Field<number> {
  return {
    offset,
    size: 4,
    get: (v, at, l) => v.getUint32(at, l),
    set: (v, at, l, x) => v.setUint32(at, x, l),
    illegal: (value) => checkBits(BigInt(value), 0xffff_ffffn, rules),
    show: (value) => `0x${value.toString(16)}`,
  };
}

/** Bytes as they are; a literal that they must equal may be given (magic numbers, newline tests). */
export function bytes(offset: number, size: number, equals?: readonly number[]): Field<Uint8Array> {
  return {
    offset,
    size,
    get: (v, at) => new Uint8Array(v.buffer.slice(v.byteOffset + at, v.byteOffset + at + size)),
    set: (v, at, _l, x) => new Uint8Array(v.buffer, v.byteOffset + at, size).set(x),
    illegal: (value) =>
      value.length === size && (equals === undefined || equals.every((b, i) => value[i] === b))
        ? undefined
        : { says: `must be ${hex(equals ?? [])}`, code: 'corrupt' },
    show: (value) => hex([...value]),
  };
}

/** Bytes that mean nothing: ignored when read, zero when written. */
export function reserved(offset: number, size: number): Field<Uint8Array> & { fill: Uint8Array } {
  return { ...bytes(offset, size), fill: new Uint8Array(size) };
}

function hex(values: readonly number[]): string {
  return values.map((b) => b.toString(16).padStart(2, '0')).join(' ');
}
