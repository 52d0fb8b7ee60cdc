import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { MiB } from '../base/units.ts';
import { convert, digest } from '../index.ts';
import { seededDisk } from '../testing/seeded-disk.ts';
import { tempDir } from '../testing/tmp.ts';
import { smallestUnit, WRITERS } from '../testing/writers.ts';

let dir: string;
let source: string;
beforeEach(async () => {
  dir = await tempDir();
  source = join(dir, 'disk.raw');
  await seededDisk(5, 3 * MiB + 512).writeRawFile(source);
});

const raw = { format: 'raw' };

test.for(WRITERS)('is the same in $name, made on the way and after it', async (writer) => {
  const { format, compress } = writer;
  const target = join(dir, 'out');
  const algorithm = 'blkhash-sha256/4k';
  const options = { ...raw, targetFormat: format.name, compress, targetOptions: smallestUnit(writer), noSync: true };
  const made = await convert(source, target, { ...options, digest: algorithm });
  const after = await digest(target, { format: format.name, algorithm });
  expect(made.digest).toEqual({ algorithm, digest: after.digest });
  // A format's unit may have made the disk larger.
  if (made.target.virtualSize === 3 * MiB + 512) {
    expect(after.digest).toBe((await digest(source, { ...raw, algorithm })).digest);
  }
});

test('sha256 is that of the bytes, and says what it is of', async () => {
  const expected = createHash('sha256').update(readFileSync(source)).digest('hex');
  const size = 3 * MiB + 512;
  expect(await digest(source, { ...raw, algorithm: 'sha256' })).toMatchObject({
    ...{ filename: source, format: 'raw', virtualSize: size, algorithm: 'sha256', digest: expected },
  });
  const standard = await digest(source, raw);
  expect(standard.algorithm).toBe('blkhash-sha256/64k');
  expect(standard.digest).toBe((await digest(source, { ...raw, algorithm: 'blkhash-sha256' })).digest);
});

test('to a stream it is of what was written', async () => {
  const chunks: Uint8Array[] = [];
  const stream = new WritableStream<Uint8Array>({ write: (chunk) => void chunks.push(chunk.slice()) });
  const made = await convert(source, stream, { ...raw, targetFormat: 'raw', digest: 'sha256' });
  expect(made.digest?.digest).toBe(createHash('sha256').update(Buffer.concat(chunks)).digest('hex'));
});

test.for(['md5', 'blkhash-sha256/1000', 'blkhash-sha256/32M', 'blkhash-sha1/64k', ''])(
  'an algorithm that is none is refused: %s',
  async (algorithm) => {
    const error = { code: 'usage', message: expect.stringContaining(`digest algorithm`) };
    await expect(digest(source, { algorithm })).rejects.toMatchObject(error);
    await expect(convert(source, join(dir, 'o.raw'), { digest: algorithm })).rejects.toMatchObject(error);
  },
);

test('what is written in parts or over a base has none', async () => {
  const options = { ...raw, digest: 'sha256', targetFormat: 'vmdk', targetOptions: { subformat: 'monolithicFlat' } };
  await expect(convert(source, join(dir, 'o.vmdk'), options)).rejects.toMatchObject({
    code: 'usage',
    message: 'no digest is made while an image of several files is written; use vdconv digest after it',
  });
  await convert(source, join(dir, 'base.vmdk'), raw);
  const layer = { ...raw, digest: 'sha256', base: join(dir, 'base.vmdk'), baseFormat: 'vmdk' };
  await expect(convert(source, join(dir, 'o.vmdk'), layer)).rejects.toMatchObject({
    message: 'no digest is made while a layer is written; use vdconv digest after it',
  });
});

test('the command prints what sha256sum prints', () => {
  const command = new URL('../../bin/vdconv.js', import.meta.url).pathname;
  const args = ['digest', '-f', 'raw', '--algorithm', 'sha256', 'disk.raw'];
  const stdout = execFileSync(process.execPath, [command, ...args], { cwd: dir, encoding: 'utf8' });
  expect(stdout).toBe(`${createHash('sha256').update(readFileSync(source)).digest('hex')}  disk.raw\n`);
});
