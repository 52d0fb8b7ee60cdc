import { describe, expect, test } from 'vitest';
import { VdconvError } from './errors.ts';
import {
  bits32,
  bits64,
  bytes,
  type Field,
  illegalValue,
  type NumberRules,
  reserved,
  struct,
  u8,
  u16,
  u32,
  u64,
} from './struct.ts';

const origin = { file: 'a.img', format: 'demo', at: 512 };

/** The error that a structure of one field at offset 0 draws for these bytes. */
function refusal(
  field: Field<never> | Field<number> | Field<bigint> | Field<Uint8Array>,
  ...raw: number[]
): VdconvError {
  const demo = struct('Demo', 'be', raw.length, 'Spec §1', { value: field });
  try {
    demo.decode(Uint8Array.from(raw), origin);
  } catch (error) {
    expect(error).toBeInstanceOf(VdconvError);
    return error as VdconvError;
  }
  throw new Error('nothing was refused');
}

describe('a declaration is proved when it is made', () => {
  test('a gap', () => {
    expect(() => struct('Gap', 'be', 8, '', { a: u16(0), b: u32(4) })).toThrow(
      'struct Gap: b begins at 4, the field before it ends at 2',
    );
    expect(() => struct('Late', 'be', 8, '', { a: u32(4) })).toThrow('struct Late: a begins at 4');
  });

  test('an overlap', () => {
    expect(() => struct('Over', 'be', 7, '', { a: u32(0), b: u32(3) })).toThrow(
      'struct Over: b begins at 3, the field before it ends at 4',
    );
  });

  test('a size that the fields do not fill, or exceed', () => {
    expect(() => struct('Short', 'be', 8, '', { a: u32(0) })).toThrow(
      'struct Short: the fields end at 4, the structure at 8',
    );
    expect(() => struct('Long', 'be', 8, '', { a: u64(0), b: u8(8) })).toThrow(
      'struct Long: the fields end at 9, the structure at 8',
    );
  });

  test('the order in the declaration does not matter', () => {
    expect(struct('Any', 'be', 3, '', { b: u8(2), a: u16(0) }).peek(Uint8Array.of(1, 2, 3))).toEqual({ a: 258, b: 3 });
  });
});

describe('every kind of field in both byte orders', () => {
  const fields = {
    magic: bytes(0, 2, [0x4b, 0x44]),
    a: u8(2),
    b: u16(3),
    c: u32(5),
    d: u64(9),
    flags: bits64(17),
    small: bits32(25),
    pad: reserved(29, 3),
  };
  const values = {
    magic: Uint8Array.of(0x4b, 0x44),
    a: 0x81,
    b: 0x8203,
    c: 0x84050607,
    d: 0x0018_090a_0b0c_0d0e,
    flags: 0x9011_1213_1415_1617n,
    small: 0x98191a1b,
  };
  const big = Uint8Array.of(
    ...[0x4b, 0x44, 0x81, 0x82, 0x03, 0x84, 0x05, 0x06, 0x07],
    ...[0x00, 0x18, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e],
    ...[0x90, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17],
    ...[0x98, 0x19, 0x1a, 0x1b, 0x00, 0x00, 0x00],
  );
  const little = Uint8Array.of(
    ...[0x4b, 0x44, 0x81, 0x03, 0x82, 0x07, 0x06, 0x05, 0x84],
    ...[0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x18, 0x00],
    ...[0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 0x90],
    ...[0x1b, 0x1a, 0x19, 0x98, 0x00, 0x00, 0x00],
  );

  test.each([
    ['be', big],
    ['le', little],
  ] as const)('%s', (endian, raw) => {
    const all = struct('All', endian, 32, '', fields);
    expect(all.encode(values)).toEqual(raw);
    expect(all.decode(raw, origin)).toEqual({ ...values, pad: new Uint8Array(3) });
  });

  test('a structure inside other bytes, in a view that does not begin at 0', () => {
    const outer = new Uint8Array(48).fill(0xee);
    outer.set(little, 10);
    const view = outer.subarray(6);
    const all = struct('All', 'le', 32, '', fields);
    expect(all.decode(view, origin, 4)).toMatchObject(values);
    expect(all.peek(view, 4)).toMatchObject(values);
  });

  test('decoded bytes do not change with the buffer they came from', () => {
    const raw = Uint8Array.of(1, 2, 3);
    const { value } = struct('Copy', 'le', 3, '', { value: bytes(0, 3) }).decode(raw, origin);
    raw.fill(0);
    expect(value).toEqual(Uint8Array.of(1, 2, 3));
  });
});

describe('each rule refuses with its own words', () => {
  test.each<[string, NumberRules, number, string, string]>([
    ['equals', { equals: 7 }, 8, 'corrupt', 'must be 7'],
    ['oneOf', { oneOf: [2, 3] }, 4, 'corrupt', 'must be one of 2, 3'],
    ['min', { min: 9 }, 8, 'corrupt', 'must be at least 9'],
    ['max', { max: 21 }, 22, 'corrupt', 'must be at most 21'],
    ['powerOfTwo', { powerOfTwo: true }, 12, 'corrupt', 'must be a power of two'],
    ['multipleOf', { multipleOf: 8 }, 12, 'corrupt', 'must be a multiple of 8'],
    ['limit', { limit: 100 }, 101, 'limit', 'vdconv takes at most 100'],
    ['code', { oneOf: [2, 3], code: 'unsupported' }, 4, 'unsupported', 'must be one of 2, 3'],
    ['says', { max: 2, says: 'the sector size of the device' }, 3, 'corrupt', 'the sector size of the device'],
    ['max comes before limit', { max: 50, limit: 10 }, 51, 'corrupt', 'must be at most 50'],
  ])('%s', (_, rules, value, code, says) => {
    const error = refusal(u8(0, rules), value);
    expect(error.message).toBe(`a.img: Demo: value is ${value} at offset 512 (${says}; Spec §1)`);
    expect(error).toMatchObject({ code, file: 'a.img', format: 'demo', field: 'value', offset: 512 });
  });

  test('the bounds themselves are legal', () => {
    const rules = { min: 8, max: 16, limit: 16, multipleOf: 8, powerOfTwo: true, oneOf: [8, 16] };
    const demo = struct('Demo', 'be', 2, '', { a: u8(0, rules), b: u8(1, rules) });
    expect(demo.decode(Uint8Array.of(8, 16), origin)).toEqual({ a: 8, b: 16 });
  });

  test('the offset is that of the field, and large numbers are shown in hexadecimal too', () => {
    const demo = struct('Demo', 'be', 8, 'Spec §1', { a: u32(0), b: u32(4, { max: 1024 }) });
    expect(() => demo.decode(Uint8Array.of(0, 0, 0, 0, 0, 1, 0, 0), { ...origin, at: 4096 })).toThrow(
      'a.img: Demo: b is 65536 (0x10000) at offset 4100 (0x1004) (must be at most 1024 (0x400); Spec §1)',
    );
  });

  test('the first illegal field by offset is the one that is named', () => {
    const demo = struct('Demo', 'be', 2, '', { late: u8(1, { equals: 1 }), early: u8(0, { equals: 1 }) });
    expect(() => demo.decode(Uint8Array.of(9, 9), origin)).toThrow('Demo: early is 9');
    expect(demo.peek(Uint8Array.of(9, 9))).toEqual({ early: 9, late: 9 });
  });

  test('bytes that are missing', () => {
    const demo = struct('Demo', 'be', 8, '', { a: u64(0) });
    const short = () => demo.decode(new Uint8Array(20), origin, 15);
    expect(short).toThrow('a.img: Demo at 512 needs 8 bytes, 5 are there');
    expect(short).toThrow(expect.objectContaining({ code: 'truncated', offset: 512 }));
    expect(() => demo.decode(new Uint8Array(2), origin, 9)).toThrow('needs 8 bytes, 0 are there');
  });

  test('magic bytes', () => {
    expect(refusal(bytes(0, 3, [0x51, 0x46, 0x49]), 0x51, 0x46, 0x00).message).toBe(
      'a.img: Demo: value is 51 46 00 at offset 512 (must be 51 46 49; Spec §1)',
    );
  });

  test('reserved bytes may hold anything', () => {
    const demo = struct('Demo', 'be', 2, '', { pad: reserved(0, 2) });
    expect(demo.decode(Uint8Array.of(7, 7), origin).pad).toEqual(Uint8Array.of(7, 7));
    expect(demo.encode({})).toEqual(Uint8Array.of(0, 0));
  });
});

describe('64-bit numbers', () => {
  test('2^53 - 1 is exact', () => {
    const demo = struct('Demo', 'be', 8, '', { value: u64(0) });
    const raw = Uint8Array.of(0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff);
    expect(demo.decode(raw, origin).value).toBe(9007199254740991);
    expect(demo.encode({ value: 9007199254740991 })).toEqual(raw);
  });

  test('2^53 and beyond are refused, whatever the rules say', () => {
    const error = refusal(u64(0, { says: 'a multiple of the cluster size' }), 0, 0x20, 0, 0, 0, 0, 0, 0);
    expect(error.message).toBe(
      'a.img: Demo: value is about 9.007e+15 at offset 512 (offsets and sizes beyond 2^53 - 1 are not supported; Spec §1)',
    );
    expect(error.code).toBe('corrupt');
    expect(refusal(u64(0), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff).message).toContain('is about 1.845e+19');
  });
});

describe('flag bits', () => {
  test('an unknown bit is named, by number or by the name it has', () => {
    const rules = { known: 0b101n, names: { 1: 'corrupt bit', 0: 'dirty bit' } };
    const error = refusal(bits64(0, rules), 0x80, 0, 0, 0, 0, 0, 0, 0b111);
    expect(error.message).toBe(
      'a.img: Demo: value is 0x8000000000000007 at offset 512 (corrupt bit, bit 63 not supported; Spec §1)',
    );
    expect(error.code).toBe('unsupported');
  });

  test('32 of them', () => {
    const error = refusal(bits32(0, { known: 0xfn, code: 'corrupt' }), 0x80, 0, 0, 0x1f);
    expect(error.message).toBe('a.img: Demo: value is 0x8000001f at offset 512 (bit 4, bit 31 not supported; Spec §1)');
    expect(error.code).toBe('corrupt');
  });

  test('without a list of known bits every bit is', () => {
    const demo = struct('Demo', 'le', 12, '', { wide: bits64(0), narrow: bits32(8) });
    const raw = new Uint8Array(12).fill(0xff);
    expect(demo.decode(raw, origin)).toEqual({ wide: 0xffff_ffff_ffff_ffffn, narrow: 0xffff_ffff });
  });
});

describe('encode refuses what it could not write', () => {
  // biome-ignore lint/suspicious/noExplicitAny: values that the types forbid
  function encode(field: Field<any>, value: unknown): () => Uint8Array {
    return () => struct('Demo', 'be', field.size, '', { value: field }).encode({ value });
  }

  test.each<[string, Field<unknown>, unknown, string]>([
    ['a broken rule', u32(0, { max: 5 }) as Field<unknown>, 6, '6'],
    ['a byte of 256', u8(0) as Field<unknown>, 256, '256'],
    ['16 bits of 2^16', u16(0) as Field<unknown>, 65536, '65536 (0x10000)'],
    ['32 bits of 2^32', u32(0) as Field<unknown>, 4294967296, '4294967296 (0x100000000)'],
    ['64 bits of -1', u64(0) as Field<unknown>, -1, '-1'],
    ['a fraction', u32(0) as Field<unknown>, 1.5, '1.5'],
    ['64 flags of 2^64', bits64(0) as Field<unknown>, 1n << 64n, '0x10000000000000000'],
    ['32 flags of 2^32', bits32(0) as Field<unknown>, 2 ** 32, '0x100000000'],
    ['bytes of another length', bytes(0, 2) as Field<unknown>, Uint8Array.of(1), '01'],
  ])('%s', (_, field, value, shown) => {
    expect(encode(field, value)).toThrow(`Demo: value cannot be ${shown}`);
    expect(encode(field, value)).toThrow(expect.objectContaining({ code: 'internal' }));
  });

  test.each<[string, Field<unknown>]>([
    ['number', u32(0) as Field<unknown>],
    ['flags', bits64(0) as Field<unknown>],
    ['small flags', bits32(0) as Field<unknown>],
    ['bytes', bytes(0, 2) as Field<unknown>],
  ])('a %s left out', (_, field) => {
    expect(encode(field, undefined)).toThrow('Demo: value cannot be left out');
  });
});

test('illegalValue says table, field, value, place and rule', () => {
  const error = illegalValue('corrupt', 'L1 table', 'entry 3', '0x201', origin, 4120, 'reserved bits are set; §L1');
  expect(error.message).toBe('a.img: L1 table: entry 3 is 0x201 at offset 4120 (0x1018) (reserved bits are set; §L1)');
  expect(error).toMatchObject({ code: 'corrupt', format: 'demo', field: 'entry 3', offset: 4120 });
});
