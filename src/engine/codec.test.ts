/** Streams that others wrote, and damaged ones; both ways of the contract's compressed layouts are in contract.test.ts. */
import { deflateRawSync, deflateSync } from 'node:zlib';
import { beforeAll, expect, it } from 'vitest';
import { VdconvError } from '../base/errors.ts';
import type { SourceCodec } from '../map/data-file.ts';
import type { TargetCodec } from '../map/layout.ts';
import { patternPage } from '../testing/patterns.ts';
import { type BlockCodec, loadBlockCodec } from './block-codec.ts';
import { decodeUnit, encodeBlock, encodedBound } from './codec.ts';

const UNIT = 65536;
const RAW: SourceCodec = { name: 'deflate', unit: UNIT, framing: 'none' };
const GRAIN: SourceCodec = { name: 'zlib', unit: UNIT, framing: 'grain-marker' };

let codecs: BlockCodec;
beforeAll(async () => {
  codecs = await loadBlockCodec();
});

function decode(codec: SourceCodec, input: Uint8Array, { start = 0, room = UNIT } = {}): Uint8Array {
  const out = new Uint8Array(room);
  const got = decodeUnit(codecs, codec, start, input, out, (what) => new VdconvError('corrupt', what));
  return out.subarray(0, got);
}

/** Raw deflate of 65536 × 'A' with a 4 KiB window as qemu wrote it. */
function qemuCluster(): Uint8Array {
  const stream = new Uint8Array(79);
  stream.set([0xed, 0xc1, 0x81, 0, 0, 0, 0, 0x80, 0x20, 0xb6, 0xfd, 0xa5, 0x16, 0xa9, 0x0a]);
  stream[78] = 0x6a;
  return stream;
}

/** Marker of sector 0 and 85 bytes of zlib: the same content, as Python's zlib module writes it. */
function grain(): Uint8Array {
  const bytes = new Uint8Array(97);
  bytes[8] = 85;
  bytes.set([0x78, 0x9c, 0xed, 0xc1, 0x81, 0, 0, 0, 0, 0x80, 0x20, 0xb6, 0xfd, 0xa5, 0x16, 0xa9, 0x0a], 12);
  bytes.set([0x6a, 0x1e, 0x87, 0x03, 0xd0], 92);
  return bytes;
}

const content = Buffer.alloc(UNIT, 'A');

it('reads a foreign stream with bytes behind it', () => {
  const input = Buffer.concat([qemuCluster(), Buffer.alloc(100, 0xff)]);
  expect(content.equals(decode(RAW, input))).toBe(true);
});

it('stops a deflate stream at the end of its unit, and says how short one is', () => {
  expect(content.subarray(0, 1000).equals(decode(RAW, qemuCluster(), { room: 1000 }))).toBe(true);
  expect(decode(RAW, qemuCluster(), { room: 70_000 })).toHaveLength(UNIT);
});

it('reads a grain', () => {
  expect(content.equals(decode(GRAIN, grain()))).toBe(true);
});

it.each([
  ['another place', grain(), 'the grain marker says sector 0, the grain table 128', UNIT],
  ['a longer stream', grain().fill(86, 8, 9), 'the grain marker says 86 bytes, 85 are there'],
  ['no stream', grain().fill(0, 8, 9), 'the grain marker says 0 bytes, 85 are there'],
  ['a wrong Adler-32', grain().fill(0, 96), 'the compressed data does not decode'],
  ['half a marker', grain().subarray(0, 11), 'the grain marker is cut off'],
])('refuses a grain with %s', (_what, input, message, start = 0) => {
  expect(() => decode(GRAIN, input, { start })).toThrow(message);
});

it('refuses streams that are cut, and zlib streams that decode to too much', () => {
  const text = Buffer.from('some text, '.repeat(6000));
  const [raw, zlibbed] = [deflateRawSync(text), deflateSync(text)];
  const plain: SourceCodec = { ...GRAIN, framing: 'none' };
  expect(() => decode(RAW, raw.subarray(0, raw.length - 9))).toThrow('the compressed data does not decode');
  expect(() => decode(plain, zlibbed.subarray(0, -2), { room: text.length })).toThrow(
    'the compressed data does not decode',
  );
  expect(() => decode(plain, zlibbed)).toThrow('the zlib stream decodes to more than 65536 bytes');
});

it.each([1, 6, 9])('leaves a block that does not shrink nearly as it is, at level %d', (level) => {
  const target: TargetCodec = {
    ...{ name: 'zlib', level, windowBits: 15, packing: 512, framing: 'grain-marker' },
    ...{ incompressible: 'compressed', maxShare: 0 },
  };
  const noise = Buffer.concat(Array.from({ length: 16 }, (_, i) => patternPage('random', 1, i)));
  const out = new Uint8Array(encodedBound(target, UNIT));
  const stored = encodeBlock(codecs, target, UNIT, noise, out);
  // The smallest buffer that a reader is known to have for a grain.
  expect(stored).toBeLessThanOrEqual(UNIT + 512);
  expect(noise.equals(decode(GRAIN, out.subarray(0, stored), { start: UNIT }))).toBe(true);
  expect(encodeBlock(codecs, { ...target, incompressible: 'plain' }, UNIT, noise, out)).toBe(0);
});
