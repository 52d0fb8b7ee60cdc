/** Files that gzip, xz, zstd and bzip2 wrote, whole, joined, cut and damaged. */
import { describe, expect, it } from 'vitest';
import { VdconvError } from '../base/errors.ts';
import { compressed } from '../testing/compressors.ts';
import { patternPage } from '../testing/patterns.ts';
import { random } from '../testing/random.ts';
import { decompress } from './decompress.ts';
import { type Wrapping, wrappingOf } from './wrapping.ts';

const CONTENT = Buffer.concat(
  Array.from({ length: 75 }, (_, i) =>
    i % 3 === 0 ? Buffer.alloc(4096) : patternPage(i % 3 === 1 ? 'text' : 'random', 3, i),
  ),
);

async function all(kind: Wrapping, bytes: Uint8Array, piece = 100_000): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const part of decompress(kind, cut(bytes, piece), 'disk.raw')) {
    pieces.push(part);
  }
  return Buffer.concat(pieces);
}

function* cut(bytes: Uint8Array, piece: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += piece) {
    yield bytes.subarray(at, at + piece);
  }
}

const PROGRAMS: [Wrapping, string, string[]][] = [
  ['gzip', 'gzip', ['-1', '-9']],
  ['xz', 'xz', ['-0', '-6 --check=crc32', '-9 --check=sha256', '--block-size=100000', '--x86 --lzma2', '--check=none']],
  ['zstd', 'zstd', ['-1 --no-check', '-3', '-19', '--ultra -22 --long=27', '--no-content-size']],
  ['bzip2', 'bzip2', ['-1', '-9']],
];

describe.each(PROGRAMS)('%s', (kind, program, levels) => {
  const one = compressed(program, CONTENT);
  const empty = compressed(program, Buffer.alloc(0));

  it.each(levels)('reads what %s makes, in pieces of any size', async (level) => {
    const bytes = compressed(`${program} ${level}`, CONTENT);
    expect(wrappingOf(bytes.subarray(0, 10))).toBe(kind);
    expect(CONTENT.equals(await all(kind, bytes))).toBe(true);
    expect(CONTENT.equals(await all(kind, bytes, 997))).toBe(true);
  });

  it('reads one byte at a time, and nothing at all', async () => {
    expect(
      (await all(kind, compressed(program, CONTENT.subarray(4000, 9000)), 1)).equals(CONTENT.subarray(4000, 9000)),
    ).toBe(true);
    expect(wrappingOf(empty.subarray(0, 10))).toBe(kind);
    expect(await all(kind, empty)).toHaveLength(0);
  });

  it('reads several, one after the other', async () => {
    const joined = Buffer.concat([one, empty, one, compressed(`${program} -1`, CONTENT)]);
    expect(Buffer.concat([CONTENT, CONTENT, CONTENT]).equals(await all(kind, joined))).toBe(true);
  });

  it('says where it is cut off', async () => {
    for (const length of [0, 1, 5, 13, one.length >> 1, one.length - 9, one.length - 1]) {
      await expect(all(kind, one.subarray(0, length)), `${length} bytes`).rejects.toMatchObject({
        code: 'truncated',
        offset: length,
        message: expect.stringContaining(`disk.raw: the ${kind} stream is cut off (seen at offset ${length}`),
      });
    }
    const second = Buffer.concat([one, one.subarray(0, 300)]);
    await expect(all(kind, second)).rejects.toMatchObject({ code: 'truncated', offset: one.length + 300 });
  });

  it('refuses other bytes behind it', async () => {
    for (const garbage of ['garbage', '\xff']) {
      const error = await all(kind, Buffer.concat([one, Buffer.from(garbage, 'latin1')])).catch((e: unknown) => e);
      expect(error, garbage).toBeInstanceOf(VdconvError);
      expect(['corrupt', 'truncated'], (error as VdconvError).message).toContain((error as VdconvError).code);
    }
  });

  it('never takes damage for content', async () => {
    const dice = random(7);
    const plain = Buffer.concat([CONTENT.subarray(4096, 12_288), CONTENT.subarray(4096, 30_000)]);
    const good = compressed(program, plain);
    for (let i = 0; i < 150; i += 1) {
      const bent = Buffer.from(good);
      const at = dice.below(bent.length);
      bent[at] = (bent[at] as number) ^ (1 << dice.below(8));
      const got = await all(kind, bent).catch((e: unknown) => e);
      // Some bits say nothing: a header's file time, a reserved byte.
      expect(got instanceof VdconvError ? got.code : plain.equals(got as Buffer), `bit at ${at}`).toSatisfy(
        (is) => is === true || ['corrupt', 'truncated', 'unsupported', 'limit'].includes(String(is)),
      );
    }
  });
});

it('takes zeros behind gzip and xz as padding', async () => {
  for (const kind of ['gzip', 'xz'] as const) {
    expect(CONTENT.equals(await all(kind, Buffer.concat([compressed(kind, CONTENT), Buffer.alloc(512)])))).toBe(true);
  }
});

it('refuses dictionaries and windows that need too much memory', async () => {
  await expect(all('xz', compressed('xz --lzma2=dict=96MiB', CONTENT))).rejects.toMatchObject({
    code: 'limit',
    message: expect.stringContaining('the xz stream needs a dictionary of more than 64 MiB'),
  });
  await expect(all('zstd', Buffer.from('28b52ffd00f803000841', 'hex'))).rejects.toMatchObject({
    code: 'limit',
    message: expect.stringContaining('the zstd stream needs a window of more than 128 MiB'),
  });
});

it('does not take other bytes for a compressed file', () => {
  for (const head of [
    '',
    '1f8b',
    'fd377a585a',
    '425a6839',
    '425a6830314159265359',
    '0000000000000000',
    '28b52f',
    '502a4d',
  ]) {
    expect(wrappingOf(Buffer.from(head, 'hex')), head).toBeUndefined();
  }
});
