import { appendFileSync } from 'node:fs';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { beforeEach, describe, expect, test } from 'vitest';
import { MiB } from '../base/units.ts';
import { type ConvertOptions, convert, convertStream, type Progress } from '../index.ts';
import { expectBytes } from '../testing/guest.ts';
import { ModelDisk } from '../testing/model-disk.ts';
import { tempDir } from '../testing/tmp.ts';
import { WRITERS } from '../testing/writers.ts';

const SIZE = 13 * MiB;

let dir: string;
let source: string;
beforeEach(async () => {
  dir = await tempDir();
  source = join(dir, 'in.raw');
  const most = { start: MiB, length: 10 * MiB, pattern: 'random' } as const;
  await new ModelDisk(SIZE, [most], 31).writeRawFile(source);
});

/** A target that notes what reaches it. `write` is called with each chunk before it is taken. */
function recorder(write: (chunk: Uint8Array) => void | Promise<void> = () => {}) {
  const seen = { bytes: new Uint8Array(), ended: '', reason: undefined as unknown };
  const target = new WritableStream<Uint8Array>({
    async write(chunk) {
      await write(chunk);
      seen.bytes = Buffer.concat([seen.bytes, chunk]);
    },
    close() {
      seen.ended = 'closed';
    },
    abort(reason) {
      seen.ended = 'aborted';
      seen.reason = reason;
    },
  });
  return { seen, target };
}

test.for(WRITERS)('a stream gets the bytes that a file of $name has', async ({ format, compress }) => {
  const options: ConvertOptions = { format: 'raw', targetFormat: format.name, compress, noSync: true };
  const file = await convert(source, join(dir, 'out'), options);
  const progress: Progress[] = [];
  const { seen, target } = recorder();
  const { notes, ...result } = await convert(source, target, { ...options, onProgress: (p) => progress.push(p) });
  expectBytes(seen.bytes, await readFile(join(dir, 'out')), format.name);
  expect(seen.ended).toBe('closed');
  // Compressed qcow2 alone says that it took a temporary file.
  expect(notes.filter((note) => note.includes('temporary file'))).toHaveLength(
    format.name === 'qcow2' && compress ? 1 : 0,
  );
  expect({ ...result, notes: [], seconds: 0 }).toEqual({
    ...file,
    notes: [],
    seconds: 0,
    target: { ...file.target, filename: '-', allocatedSize: null },
  });
  const done = progress.map((p) => p.done);
  expect(done).toEqual(done.toSorted((a, b) => a - b));
  expect(progress.at(-1)).toEqual({ done: file.target.virtualSize, total: file.target.virtualSize });
});

test('a Node stream takes it by Writable.toWeb', async () => {
  const parts: Buffer[] = [];
  const node = new Writable({
    write(chunk, _encoding, done) {
      parts.push(chunk);
      setTimeout(done, 1);
    },
  });
  await convert(source, Writable.toWeb(node), { targetFormat: 'raw' });
  expectBytes(Buffer.concat(parts), await readFile(source), 'raw');
});

test.for([
  ['raw', false],
  ['qcow2', false],
  ['qcow2', true],
  ['vmdk', true],
] as const)(
  '%s, compressed %s: while the target takes nothing, little is read ahead',
  async ([targetFormat, compress]) => {
    const size = 24 * MiB;
    await new ModelDisk(size, [{ start: 0, length: size, pattern: 'random' }], 7).writeRawFile(source);
    let resume = () => {};
    const stalled = new Promise<void>((resolve) => {
      resume = resolve;
    });
    const { seen, target } = recorder((chunk) => {
      expect(chunk.length).toBeLessThanOrEqual(MiB);
      return stalled;
    });
    let done = 0;
    const onProgress = (p: Progress) => {
      done = p.done;
    };
    const options = { format: 'raw', targetFormat, compress, threads: 2, onProgress };
    const work = convert(source, target, options);
    // Until nothing moves any more.
    for (let last = -1; last < done || done === 0; ) {
      last = done;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    // The first of two passes, or the making of a temporary file, is half of the way.
    const spooled = targetFormat === 'qcow2' && compress;
    const waysBefore = done > size / 2 - MiB ? size / 2 : 0;
    const most = spooled ? size / 2 + 4 * MiB : waysBefore + 8 * MiB;
    expect(done).toBeLessThanOrEqual(most);
    resume();
    const { target: made } = await work;
    expect(seen.bytes.length).toBe(made.fileSize);
  },
);

describe('convertStream', () => {
  test('gives the bytes of a file, and begins when they are asked for', async () => {
    const options: ConvertOptions = { format: 'raw', targetFormat: 'qcow2', noSync: true };
    await convert(source, join(dir, 'out'), options);
    let moved = 0;
    const onProgress = () => {
      moved += 1;
    };
    const stream = convertStream(source, { ...options, onProgress });
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(moved).toBe(0);
    const parts: Uint8Array[] = [];
    for await (const part of stream) {
      parts.push(part);
    }
    expectBytes(Buffer.concat(parts), await readFile(join(dir, 'out')), 'qcow2');
    expect(moved).toBeGreaterThan(0);
  });

  test('ends with the error of convert, and gives up when it is cancelled', async () => {
    const missing = convertStream(join(dir, 'none'), { targetFormat: 'raw' }).getReader();
    await expect(missing.read()).rejects.toMatchObject({ name: 'VdconvError', code: 'read' });
    let last = 0;
    const onProgress = (p: Progress) => {
      last = p.done;
    };
    const stream = convertStream(source, { format: 'raw', targetFormat: 'raw', rate: 4 * MiB, onProgress });
    const reader = stream.getReader();
    await reader.read();
    await reader.cancel();
    await new Promise((resolve) => setTimeout(resolve, 300));
    const then = last;
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect([last, last < SIZE]).toEqual([then, true]);
  });
});

describe('on failure the target is aborted, with the error that convert throws', () => {
  async function fails(options: ConvertOptions, from = source, write?: (chunk: Uint8Array) => void | Promise<void>) {
    const { seen, target } = recorder(write);
    const error = await convert(from, target, options).then(
      () => expect.fail('it did not fail'),
      (reason) => reason,
    );
    expect(error).toMatchObject({ name: 'VdconvError' });
    return { error, seen };
  }

  test('for a source that is not there, and a format that nobody said', async () => {
    const missing = await fails({ targetFormat: 'raw' }, join(dir, 'none'));
    expect(missing.error.code).toBe('read');
    expect(missing.seen).toMatchObject({ ended: 'aborted', reason: missing.error });
    const { error, seen } = await fails({});
    expect(error).toMatchObject({ code: 'usage', message: expect.stringContaining('the name says no format') });
    expect(seen.ended).toBe('aborted');
  });

  test.for(['raw', 'qcow2'])('%s: for a source that changes', async (targetFormat) => {
    const options = { format: 'raw', targetFormat, onProgress: () => appendFileSync(source, 'x') };
    const { error, seen } = await fails(options);
    expect(error.code).toBe('changed');
    expect(seen.ended).toBe('aborted');
  });

  test.for(['raw', 'qcow2'])('%s: at once for a signal, even where the target hangs', async (targetFormat) => {
    const controller = new AbortController();
    const { error } = await fails({ format: 'raw', targetFormat, signal: controller.signal }, source, () => {
      setTimeout(() => controller.abort(), 20);
      return new Promise(() => {});
    });
    expect(error.code).toBe('aborted');
  });

  test.for(['raw', 'qcow2'])('%s: a target that fails is error `write`', async (targetFormat) => {
    const { error } = await fails({ format: 'raw', targetFormat }, source, () => {
      throw new Error('connection lost');
    });
    expect(error).toMatchObject({
      code: 'write',
      message: '-: the target stream failed: connection lost',
      cause: { message: 'connection lost' },
    });
  });
});

test('what is no stream, or is locked, is refused as it is', async () => {
  const { seen, target } = recorder();
  target.getWriter();
  await expect(convert(source, target, { targetFormat: 'raw' })).rejects.toMatchObject({ code: 'usage' });
  expect(seen.ended).toBe('');
  const node = new Writable() as unknown as WritableStream;
  await expect(convert(source, node, { targetFormat: 'raw' })).rejects.toMatchObject({
    code: 'usage',
    message: expect.stringContaining('Writable.toWeb'),
  });
});

test('the temporary file is in the spool directory, has no name, and only where one is needed', async () => {
  const spool = join(dir, 'spool');
  const options: ConvertOptions = { format: 'raw', spool };
  // A directory that is not there tells who wants it.
  for (const { format } of WRITERS) {
    await convert(source, recorder().target, { ...options, targetFormat: format.name });
  }
  await convert(source, recorder().target, { ...options, targetFormat: 'vmdk', compress: true });
  const compressed = { ...options, targetFormat: 'qcow2', compress: true };
  await expect(convert(source, recorder().target, compressed)).rejects.toMatchObject({
    code: 'write',
    message: expect.stringContaining(spool),
  });
  await mkdir(spool);
  const names: Promise<string[]>[] = [];
  const { target } = recorder(() => void names.push(readdir(spool)));
  await convert(source, target, compressed);
  expect(names.length).toBeGreaterThan(0);
  expect((await Promise.all(names)).flat()).toEqual([]);
});
