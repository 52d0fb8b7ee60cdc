/** The committed package as Node loads it, against Node's own zlib, which shares no code with it. */
import { readFileSync } from 'node:fs';
import { constants, deflateRawSync, deflateSync, inflateRawSync, inflateSync } from 'node:zlib';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { BlockCodec, DeflateStream, InflateStream, initSync, Status } from './pkg/vdconv_codecs.js';

const KIB = 1024;
const MIB = 1024 * KIB;

let codec: BlockCodec;
beforeAll(() => {
  initSync({ module: readFileSync(new URL('./pkg/vdconv_codecs_bg.wasm', import.meta.url)) });
  codec = new BlockCodec();
});

/** A small generator with a seed: xorshift32. */
function random(seed: number): () => number {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** Fresh bytes mixed with copies of what came up to 40,000 bytes before: matches near, far and too far. */
function text(length: number, seed: number): Uint8Array {
  const next = random(seed);
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; ) {
    const run = Math.min(length - at, 4 + (next() % 60));
    const distance = at > 64 && next() % 3 !== 0 ? 1 + (next() % Math.min(at, 40_000)) : 0;
    for (const end = at + run; at < end; at++) {
      bytes[at] = distance > 0 ? (bytes[at - distance] as number) : next() >>> 9;
    }
  }
  return bytes;
}

function noise(length: number, seed: number): Uint8Array {
  const next = random(seed);
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at++) bytes[at] = next() >>> 9;
  return bytes;
}

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

function deflate(raw: boolean, windowBits: number, level: number, plain: Uint8Array): Uint8Array {
  const room = new Uint8Array(plain.length + (plain.length >>> 3) + 64);
  const length = codec.deflate(raw, windowBits, level, plain, room);
  expect(length).toBeGreaterThan(0);
  return room.slice(0, length);
}

describe('both directions against node:zlib', () => {
  const plains = [
    new Uint8Array(0),
    Uint8Array.of(7),
    new Uint8Array(64 * KIB),
    text(64 * KIB, 1),
    noise(64 * KIB, 2),
    text(300_001, 3),
  ];

  it('what it writes Node reads, at every window and level', () => {
    for (const windowBits of [9, 10, 11, 12, 13, 14, 15]) {
      for (let level = 0; level <= 9; level++) {
        for (const plain of plains) {
          const where = `windowBits ${windowBits}, level ${level}, ${plain.length} bytes`;
          expect(same(inflateRawSync(deflate(true, windowBits, level, plain), { windowBits }), plain), where).toBe(
            true,
          );
          expect(same(inflateSync(deflate(false, windowBits, level, plain), { windowBits }), plain), where).toBe(true);
        }
      }
    }
  });

  it('what Node writes it reads, at every window, level and strategy', () => {
    for (const windowBits of [9, 12, 15]) {
      for (let level = 0; level <= 9; level++) {
        for (const strategy of [constants.Z_DEFAULT_STRATEGY, constants.Z_FIXED, constants.Z_HUFFMAN_ONLY]) {
          for (const plain of plains) {
            const output = new Uint8Array(plain.length);
            for (const raw of [true, false]) {
              const packed = (raw ? deflateRawSync : deflateSync)(plain, { windowBits, level, strategy });
              expect(codec.inflate(raw, 15, packed, output)).toBe(Status.End);
              expect([codec.consumed, codec.produced]).toEqual([packed.length, plain.length]);
              expect(same(output, plain)).toBe(true);
            }
          }
        }
      }
    }
  });

  it('blocks to 16 MiB; longer ones are refused', () => {
    for (const size of [2 * MIB, 4 * MIB, 16 * MIB]) {
      const plain = text(size, size);
      const packed = deflateRawSync(plain, { level: 1 });
      const output = new Uint8Array(size);
      expect(codec.inflate(true, 15, packed, output)).toBe(Status.End);
      expect(same(output, plain)).toBe(true);
      expect(same(inflateRawSync(deflate(true, 12, 1, plain.subarray(0, size - 9))), plain.subarray(0, -9))).toBe(true);
    }
    const long = new Uint8Array(16 * MIB + 1);
    expect(codec.inflate(true, 15, long, new Uint8Array(1))).toBe(Status.BadBuffer);
    expect(codec.inflate(true, 15, new Uint8Array(1), long)).toBe(Status.BadBuffer);
    expect(codec.deflate(true, 15, 1, long, new Uint8Array(1))).toBe(Status.BadBuffer);
    const dense = noise(16 * MIB, 1);
    expect(same(inflateSync(deflate(false, 15, 1, dense)), dense)).toBe(true);
  });

  it('random data, random arguments', () => {
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.integer({ min: 9, max: 15 }),
        fc.integer({ min: 0, max: 9 }),
        fc.oneof(
          fc.uint8Array({ maxLength: 3000 }),
          fc.tuple(fc.nat(90_000), fc.nat()).map(([length, seed]) => text(length, seed)),
        ),
        (raw, windowBits, level, plain) => {
          const packed = deflate(raw, windowBits, level, plain);
          expect(same((raw ? inflateRawSync : inflateSync)(packed, { windowBits }), plain)).toBe(true);
          const output = new Uint8Array(plain.length);
          expect(codec.inflate(raw, windowBits, packed, output)).toBe(Status.End);
          expect(same(output, plain)).toBe(true);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('gives the same bytes whatever was done before', () => {
    const plain = text(64 * KIB, 11);
    const first = deflate(true, 12, 6, plain);
    codec.deflate(true, 12, 6, noise(64 * KIB, 4), new Uint8Array(100));
    codec.deflate(false, 15, 9, plain, new Uint8Array(64 * KIB));
    expect(same(deflate(true, 12, 6, plain), first)).toBe(true);
    const other = new BlockCodec();
    const room = new Uint8Array(64 * KIB);
    expect(same(room.subarray(0, other.deflate(true, 12, 6, plain, room)), first)).toBe(true);
    other.free();
  });
});

describe('windowBits 12', () => {
  /** Node gives its output 64 bytes at a time, so nothing but the 4 KiB window can answer a distance. */
  const strict = { windowBits: 12, chunkSize: 64 };
  const period = noise(5000, 5);
  const plain = Uint8Array.from({ length: 64 * KIB }, (_, i) => period[i % 5000] as number);

  it('has no distance over 4096, at every level', () => {
    for (const bytes of [plain, text(200_000, 6), new Uint8Array(64 * KIB)]) {
      for (let level = 0; level <= 9; level++) {
        const packed = deflate(true, 12, level, bytes);
        expect(same(inflateRawSync(packed, strict), bytes), `level ${level}`).toBe(true);
        expect(same(inflateRawSync(packed, { windowBits: 12, chunkSize: 4096 }), bytes), `level ${level}`).toBe(true);
      }
    }
  });

  it('and this test would see one', () => {
    const far = deflate(true, 15, 6, plain);
    expect(far.length).toBeLessThan(plain.length / 8);
    expect(() => inflateRawSync(far, strict)).toThrow('invalid distance too far back');
  });
});

describe('a stream and its cluster', () => {
  const size = 64 * KIB;
  const output = new Uint8Array(size);
  /** qcow2: 64 KiB of 'A' and of zeros as qemu-img stores them (raw, windowBits 12). */
  const vector = (head: string, length: number): Uint8Array => {
    const bytes = new Uint8Array(length);
    bytes.set(Buffer.from(head, 'hex'));
    bytes[length - 1] = 0x6a;
    return bytes;
  };
  const vectors: [Uint8Array, number][] = [
    [vector('edc181000000008020b6fda516a90a00', 79), 0x41],
    [vector('edc101010000008090feafee080a00', 78), 0],
  ];

  it('reads the clusters of qemu-img', () => {
    for (const [packed, byte] of vectors) {
      for (const windowBits of [12, 15]) {
        output.fill(0x55);
        expect(codec.inflate(true, windowBits, packed, output)).toBe(Status.End);
        expect([codec.consumed, codec.produced]).toEqual([packed.length, size]);
        expect(output.every((value) => value === byte)).toBe(true);
      }
    }
  });

  it('tells a stream that ends before the cluster from one that goes on', () => {
    for (const raw of [true, false]) {
      const plain = text(size + 1, 8);
      const long = (raw ? deflateRawSync : deflateSync)(plain);
      expect(codec.inflate(raw, 15, long, output)).toBe(Status.OutputFull);
      expect(codec.produced).toBe(size);
      expect(same(output, plain.subarray(0, size))).toBe(true);

      const short = (raw ? deflateRawSync : deflateSync)(plain.subarray(0, size - 1));
      expect(codec.inflate(raw, 15, short, output)).toBe(Status.End);
      expect([codec.consumed, codec.produced]).toEqual([short.length, size - 1]);
    }
  });

  it('a truncated stream is no end, wherever it is cut', () => {
    const plain = text(2000, 9);
    const output = new Uint8Array(2001);
    for (const raw of [true, false]) {
      const packed = (raw ? deflateRawSync : deflateSync)(plain);
      for (let cut = 0; cut < packed.length; cut++) {
        output.fill(0x55);
        expect(codec.inflate(raw, 15, packed.subarray(0, cut), output)).toBe(Status.InputEnd);
        expect(codec.consumed).toBe(cut);
        expect(same(output.subarray(0, codec.produced), plain.subarray(0, codec.produced))).toBe(true);
        expect(output.subarray(codec.produced).every((value) => value === 0x55)).toBe(true);
      }
    }
  });

  it('bytes after the stream are not its', () => {
    const plain = text(size, 10);
    for (const raw of [true, false]) {
      for (const level of [0, 1, 6, 9]) {
        const packed = (raw ? deflateRawSync : deflateSync)(plain, { level });
        for (const after of [new Uint8Array(1), new Uint8Array(512), noise(512, 3), packed]) {
          expect(codec.inflate(raw, 15, Buffer.concat([packed, after]), output)).toBe(Status.End);
          expect([codec.consumed, codec.produced]).toEqual([packed.length, size]);
          expect(same(output, plain)).toBe(true);
        }
      }
    }
  });

  it('compression that does not fit gives 0 and writes nothing', () => {
    const plain = noise(size, 12);
    output.fill(0x55);
    expect(codec.deflate(true, 12, 6, plain, output)).toBe(0);
    expect(codec.deflate(true, 12, 6, plain, output.subarray(0, 0))).toBe(0);
    expect(output.every((value) => value === 0x55)).toBe(true);
    const small = text(size, 13);
    for (const level of [0, 1, 6, 9]) {
      const length = deflate(true, 12, level, small).length;
      const exact = new Uint8Array(length);
      expect(codec.deflate(true, 12, level, small, exact.subarray(1))).toBe(0);
      expect(codec.deflate(true, 12, level, small, exact)).toBe(length);
      expect(same(exact, deflate(true, 12, level, small))).toBe(true);
    }
  });
});

describe('hostile input and arguments', () => {
  it('no trap, and never more than the output', () => {
    const output = new Uint8Array(4096);
    const packed = [deflateRawSync(text(4096, 14)), deflateSync(text(4096, 15))];
    const next = random(16);
    for (let round = 0; round < 20_000; round++) {
      const input = round % 2 === 0 ? noise(next() % 600, next()) : Uint8Array.from(packed[next() % 2] as Uint8Array);
      if (round % 2 === 1) for (let k = next() % 4; k >= 0; k--) input[next() % input.length] = next() >>> 9;
      const guarded = output.subarray(0, next() % 4096);
      output.fill(0x55);
      const status = codec.inflate(next() % 2 === 0, 9 + (next() % 7), input, guarded);
      const within = codec.consumed <= input.length && codec.produced <= guarded.length;
      const good = [1, 2, 3, -1].includes(status) && within && output[guarded.length] === 0x55;
      if (!good) expect.fail(`round ${round}: ${status}, ${codec.consumed}, ${codec.produced}`);
    }
  });

  it('names damage', () => {
    const output = new Uint8Array(100);
    const packed = Uint8Array.from(deflateSync(text(100, 17)));
    packed[packed.length - 1] = (packed.at(-1) as number) ^ 1;
    expect(codec.inflate(false, 15, packed, output)).toBe(Status.BadData);
    expect(codec.produced).toBe(100);
    expect(codec.inflate(true, 15, Uint8Array.of(7), output)).toBe(Status.BadData);
    expect(codec.inflate(false, 15, deflateRawSync(output), output)).toBe(Status.BadData);
    const dictionary = Buffer.from('words known before');
    expect(codec.inflate(false, 15, deflateSync('words', { dictionary }), output)).toBe(Status.BadData);
    expect(codec.inflate(false, 12, deflateSync(output), output)).toBe(Status.BadData);
  });

  it('refuses arguments out of range', () => {
    const bytes = new Uint8Array(10);
    for (const windowBits of [-15, 0, 8, 16, 12.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 32 + 12]) {
      expect(codec.inflate(true, windowBits, bytes, bytes)).toBe(Status.BadArgument);
      expect(codec.deflate(true, windowBits, 6, bytes, bytes)).toBe(Status.BadArgument);
      expect(new InflateStream(true, windowBits).push(bytes, bytes)).toBe(Status.BadArgument);
      expect(new DeflateStream(true, windowBits, 6).push(bytes, bytes, true)).toBe(Status.BadArgument);
    }
    for (const level of [-1, 10, 0.5, Number.NaN]) {
      expect(codec.deflate(true, 12, level, bytes, bytes)).toBe(Status.BadArgument);
      expect(new DeflateStream(true, 12, level).push(bytes, bytes, true)).toBe(Status.BadArgument);
    }
  });

  it('survives arrays that are detached', () => {
    const gone = new Uint8Array(10);
    structuredClone(gone.buffer, { transfer: [gone.buffer] });
    const bytes = new Uint8Array(10);
    expect(codec.inflate(true, 15, gone, bytes)).toBe(Status.InputEnd);
    expect(codec.inflate(true, 15, deflateRawSync(bytes), gone)).toBe(Status.OutputFull);
    // Views of the memory itself: it grows while they are in use, which detaches them.
    const { memory } = initSync({ module: readFileSync(new URL('./pkg/vdconv_codecs_bg.wasm', import.meta.url)) });
    const view = new Uint8Array(memory.buffer, 0, 1000);
    const large = new Uint8Array(16 * MIB);
    const codecs: BlockCodec[] = [];
    let status: Status;
    do {
      const fresh = new BlockCodec();
      codecs.push(fresh);
      status = fresh.inflate(true, 15, view, large);
    } while (view.length > 0);
    expect(status).toBe(Status.BadBuffer);
    for (const used of codecs) {
      expect(used.inflate(true, 15, deflateRawSync(bytes), bytes)).toBe(Status.End);
      used.free();
    }
  });
});

describe('streams', () => {
  const plain = text(700_003, 18);

  /** Pushes `input` in pieces of `piece` bytes into room for `room` bytes; everything that came out. */
  function drain(
    input: Uint8Array,
    piece: number,
    room: number,
    stream: { consumed: number; produced: number },
    push: (bytes: Uint8Array, output: Uint8Array, last: boolean) => Status,
  ): { status: Status; consumed: number; bytes: Uint8Array } {
    const parts: Uint8Array[] = [];
    const output = new Uint8Array(room);
    for (let at = 0; ; ) {
      const end = Math.min(input.length, at + piece);
      const status = push(input.subarray(at, end), output, end === input.length);
      at += stream.consumed;
      parts.push(output.slice(0, stream.produced));
      const stuck = status === Status.InputEnd && at === input.length;
      if (status === Status.End || status < 0 || stuck) return { status, consumed: at, bytes: Buffer.concat(parts) };
    }
  }

  it('decode and encode in pieces of any size', () => {
    for (const raw of [true, false]) {
      const packed = (raw ? deflateRawSync : deflateSync)(plain);
      const inflate = new InflateStream(raw, 15);
      const encode = new DeflateStream(raw, 12, 6);
      for (const [piece, room] of [
        [1000, 777],
        [10_000, 70_000],
        [MIB, 200_000],
        [65_536, MIB],
      ] as const) {
        const decoded = drain(packed, piece, room, inflate, (bytes, output) => inflate.push(bytes, output));
        expect([decoded.status, decoded.consumed]).toEqual([Status.End, packed.length]);
        expect(same(decoded.bytes, plain)).toBe(true);
        expect(inflate.push(packed, new Uint8Array(9))).toBe(Status.End);
        expect([inflate.consumed, inflate.produced]).toEqual([0, 0]);
        inflate.reset();

        const encoded = drain(plain, piece, room, encode, (bytes, output, last) => encode.push(bytes, output, last));
        expect([encoded.status, encoded.consumed]).toEqual([Status.End, plain.length]);
        expect(same((raw ? inflateRawSync : inflateSync)(encoded.bytes, { windowBits: 12 }), plain)).toBe(true);
        expect(encode.push(plain, new Uint8Array(9), false)).toBe(Status.BadArgument);
        encode.reset();
      }
    }
  });

  it('tell truncation, trailing bytes and damage; damage stays until reset', () => {
    const packed = deflateSync(plain);
    const inflate = new InflateStream(false, 15);
    const push = (bytes: Uint8Array, output: Uint8Array): Status => inflate.push(bytes, output);
    expect(drain(packed.subarray(0, -1), 5000, 5000, inflate, push).status).toBe(Status.InputEnd);
    inflate.reset();
    const after = drain(Buffer.concat([packed, noise(99, 1)]), 5000, 5000, inflate, push);
    expect([after.status, after.consumed]).toEqual([Status.End, packed.length]);
    inflate.reset();
    const bent = Uint8Array.from(packed);
    bent[bent.length - 1] = (bent.at(-1) as number) ^ 1;
    expect(drain(bent, 5000, 5000, inflate, push).status).toBe(Status.BadData);
    expect(push(packed, new Uint8Array(10))).toBe(Status.BadData);
    inflate.reset();
    expect(drain(packed, MIB, MIB, inflate, push).status).toBe(Status.End);
  });

  it('a window of 9 bits decodes across pieces', () => {
    const packed = deflateRawSync(plain, { windowBits: 9 });
    const inflate = new InflateStream(true, 9);
    const decoded = drain(packed, 100, 300, inflate, (bytes, output) => inflate.push(bytes, output));
    expect(same(decoded.bytes, plain)).toBe(true);
  });
});

describe('the package', () => {
  const read = (name: string): string => readFileSync(new URL(name, import.meta.url), 'utf8');

  it('has the version of its crate', () => {
    expect(read('./Cargo.toml')).toContain(`\nversion = "${JSON.parse(read('./pkg/package.json')).version}"\n`);
  });

  it('names no folder of the machine that built it', () => {
    const wasm = readFileSync(new URL('./pkg/vdconv_codecs_bg.wasm', import.meta.url), 'latin1');
    expect(wasm).not.toMatch(/\/(home|root|Users|work|tmp)\//);
  });
});
