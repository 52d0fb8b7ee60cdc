/** Streams that lie about their grains: refused when the grain is read, by either engine, in little time and memory. */
import { deflateSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { type ErrorCode, VdconvError } from '../../base/errors.ts';
import { MiB, SECTOR } from '../../base/units.ts';
import { refusingGate } from '../../io/gate.ts';
import { memorySource } from '../../io/memory-source.ts';
import { ENGINES, needEngine } from '../../testing/engines.ts';
import { streamOfA } from '../../testing/vmdk-stream.ts';
import { vmdk } from './index.ts';

const MARKER = 2 * SECTOR;
const GRAIN = MARKER + 12;
const FOOTER = 11 * SECTOR;

/** The stream with bytes replaced. */
function patched(at: number, ...values: number[]): Uint8Array {
  const bytes = streamOfA();
  bytes.set(values, at);
  return bytes;
}

/** The stream with another grain, its marker saying the true length. */
function withGrain(stream: Uint8Array): Uint8Array {
  const extra = Math.max(0, Math.ceil((12 + stream.length) / SECTOR) - 1) * SECTOR;
  const old = streamOfA();
  const bytes = new Uint8Array(old.length + extra);
  bytes.set(old.subarray(0, 3 * SECTOR));
  bytes.set(old.subarray(3 * SECTOR), 3 * SECTOR + extra);
  const view = new DataView(bytes.buffer);
  bytes.fill(0, GRAIN, 3 * SECTOR + extra);
  view.setUint32(MARKER + 8, stream.length, true);
  bytes.set(stream, GRAIN);
  const moved = extra / SECTOR;
  view.setUint32(9 * SECTOR + extra, 4 + moved, true);
  view.setBigUint64(FOOTER + extra + 56, BigInt(9 + moved), true);
  return bytes;
}

const A = Buffer.alloc(65536, 0x41);

const CASES: readonly [name: string, bytes: Uint8Array, code: ErrorCode, says: RegExp][] = [
  ['marker size 2^32 - 1', patched(MARKER + 8, 255, 255, 255, 255), 'corrupt', /4294967295/],
  ['marker size 0', patched(MARKER + 8, 0, 0, 0, 0), 'corrupt', /marker|stream/],
  ['marker of another sector', patched(MARKER, 128), 'corrupt', /sector 128/],
  [
    'garbage in the stream',
    patched(GRAIN, ...Array.from({ length: 85 }, (_, i) => (i * 89) & 255)),
    'corrupt',
    /does not decode \(stored at offset 1024/,
  ],
  ['a stream that is cut', patched(MARKER + 8, 40), 'corrupt', /does not decode \(stored at offset 1024/],
  ['a wrong Adler-32', patched(GRAIN + 84, 0xd1), 'corrupt', /does not decode \(stored at offset 1024/],
  ['raw deflate', withGrain(deflateSync(A).subarray(2, -4)), 'corrupt', /does not decode \(stored at offset 1024/],
  ['a grain that is short', withGrain(deflateSync(A.subarray(512))), 'corrupt', /65024/],
  ['64 MiB in a grain of 64 KiB', withGrain(deflateSync(Buffer.alloc(64 * MiB))), 'corrupt', /more than 65536 bytes/],
];

describe.each(ENGINES)('the %s engine', (name) => {
  test.for(CASES)('%s', async ([, bytes, code, says], ctx) => {
    const engine = needEngine(ctx, name);
    const image = await vmdk.open(memorySource(bytes, 'bad.vmdk'), { gate: refusingGate() });
    const read = engine.read(image.dataFiles, image.extents(0, 65536), 0, 65536);
    const error = await read.then(
      () => undefined,
      (cause: unknown) => cause,
    );
    expect(error).toBeInstanceOf(VdconvError);
    expect(error).toMatchObject({ code, file: 'bad.vmdk' });
    expect((error as VdconvError).message).toMatch(says);
  });

  test('the images that the others are made from are read', async (ctx) => {
    const engine = needEngine(ctx, name);
    for (const bytes of [streamOfA(), withGrain(deflateSync(A, { level: 0 }))]) {
      const image = await vmdk.open(memorySource(bytes, 'good.vmdk'), { gate: refusingGate() });
      const guest = await engine.read(image.dataFiles, image.extents(0, 65536), 0, 65536);
      expect(Buffer.compare(guest, A)).toBe(0);
    }
  });

  test('a marker over the end of the file', async (ctx) => {
    const engine = needEngine(ctx, name);
    const bytes = patched(4 * SECTOR, 12);
    // The last sector becomes a marker that says more than there is.
    new DataView(bytes.buffer).setUint32(12 * SECTOR + 8, 600, true);
    const image = await vmdk.open(memorySource(bytes, 'bad.vmdk'), { gate: refusingGate() });
    await expect(engine.read(image.dataFiles, image.extents(0, 65536), 0, 65536)).rejects.toMatchObject({
      code: expect.stringMatching(/^(corrupt|truncated)$/),
    });
  });
});

test.each([
  ['no end of stream', streamOfA().subarray(0, 12 * SECTOR), 'truncated', 'footer'],
  ['no footer', streamOfA().subarray(0, 10 * SECTOR), 'truncated', 'footer'],
  ['a footer that is none', patched(FOOTER, 0), 'truncated', 'footer'],
  ['another grain size in the footer', patched(FOOTER + 20, 64), 'corrupt', 'grainSize'],
  ['other flags in the footer', patched(FOOTER + 8, 3), 'corrupt', 'flags'],
  ['a directory past the end', patched(FOOTER + 56, 13), 'truncated', 'gdOffset'],
  ['a table past the end', patched(9 * SECTOR, 10), 'truncated', 'grain directory'],
])('refused when it is opened: %s', async (_, bytes, code, field) => {
  const refused = vmdk.open(memorySource(bytes, 'bad.vmdk'), { gate: refusingGate() });
  await expect(refused).rejects.toMatchObject({ code, field, file: 'bad.vmdk', format: 'vmdk' });
});
