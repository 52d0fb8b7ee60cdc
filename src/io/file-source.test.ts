import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  linkSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { identityOfPath, sameFile } from './file-identity.ts';
import { assertUnchanged, identityOf, openFileSource } from './file-source.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'vdconv-source-'));
});
afterEach(() => {
  rmSync(dir, { recursive: true });
});

/** 100 000 bytes whose value tells their place. */
function sample(name = 'disk.img'): string {
  const path = join(dir, name);
  writeFileSync(
    path,
    Uint8Array.from({ length: 100_000 }, (_, i) => i % 251),
  );
  return path;
}

describe('openFileSource', () => {
  it('reads exactly the range that was asked for', async () => {
    const source = await openFileSource(sample());
    expect(source.size).toBe(100_000);
    expect([...(await source.read(250, 3, 'test'))]).toEqual([250, 0, 1]);
    expect(await source.read(100_000, 0, 'test')).toHaveLength(0);
    await source.close();
  });

  it('tells what a sparse file takes on disk', async () => {
    const path = sample();
    truncateSync(path, 64 * 1024 * 1024);
    const source = await openFileSource(path);
    expect(source.size).toBe(64 * 1024 * 1024);
    expect(source.allocatedSize).toBeGreaterThanOrEqual(100_000);
    expect(source.allocatedSize).toBeLessThan(1024 * 1024);
    await source.close();
  });

  it('names table, range and end where the file is too short, before it allocates a buffer', async () => {
    const path = sample();
    const source = await openFileSource(path);
    await expect(source.read(99_990, 2 ** 52, 'L1 table')).rejects.toMatchObject({
      code: 'truncated',
      field: 'L1 table',
      offset: 99_990,
      message:
        `${path}: L1 table needs 4503599627370496 bytes at offset 99990 (0x18696), ` +
        'the file ends at 100000 (0x186a0)',
    });
    await source.close();
  });

  it('asks the given function for holes, and takes no answer as all data', async () => {
    const asked: unknown[] = [];
    const dataRuns = (...call: unknown[]) => {
      asked.push(call);
      return undefined;
    };
    const source = await openFileSource(sample(), { system: { dataRuns } });
    expect(source.dataRuns?.(10, 20, 4)).toEqual(Float64Array.of(10, 20));
    expect(asked).toEqual([[source.fd, 10, 20, 4]]);
    await source.close();
    const plain = await openFileSource(sample());
    expect(plain.dataRuns).toBeUndefined();
    await plain.close();
  });

  it('fails with `read` when the system cannot read', async () => {
    const path = sample();
    const source = await openFileSource(path);
    await source.close();
    await expect(source.read(512, 16, 'header')).rejects.toMatchObject({
      code: 'read',
      message: `${path}: cannot read 16 bytes at offset 512: EBADF`,
    });
  });

  it('fails for a missing file', async () => {
    const path = join(dir, 'none.qcow2');
    await expect(openFileSource(path)).rejects.toMatchObject({ code: 'read', message: `${path}: no such file` });
  });

  it('names what a path leads to when that is no file', async () => {
    const message = async (path: string) =>
      openFileSource(path).then(String, (error) => `${error.code} ${error.message}`);
    expect(await message(dir)).toBe(`read ${dir}: is a directory, not a disk image`);
    expect(await message('/dev/null')).toBe(
      'unsupported /dev/null: is a character device; vdconv reads only regular files and block devices; copy the device to a file first',
    );
    const fifo = join(dir, 'fifo');
    expect(spawnSync('mkfifo', [fifo]).status).toBe(0);
    expect(await message(fifo)).toBe(
      `unsupported ${fifo}: is a named pipe; vdconv reads only regular files and block devices; write its data to a file first`,
    );
    const socket = join(dir, 'socket');
    const server = createServer();
    await new Promise<void>((done) => server.listen(socket, done));
    expect(await message(socket)).toBe(
      `unsupported ${socket}: is a socket; vdconv reads only regular files and block devices; write its data to a file first`,
    );
    await new Promise((done) => server.close(done));
  });

  it('does not follow a link at the end of the path when told so', async () => {
    const link = join(dir, 'link');
    symlinkSync(sample(), link);
    await (await openFileSource(link)).close();
    await expect(openFileSource(link, { noFollow: true })).rejects.toMatchObject({
      code: 'read',
      message: `${link}: cannot open: too many symbolic links (ELOOP)`,
    });
  });
});

describe('assertUnchanged', () => {
  it('is content with a file that nobody touched', async () => {
    const source = await openFileSource(sample());
    await source.read(0, 4096, 'test');
    await expect(assertUnchanged(source)).resolves.toBeUndefined();
    await source.close();
  });

  const cases: [string, (path: string) => void, string][] = [
    ['grew', (path) => appendFileSync(path, 'x'), 'its size went from 100000 to 100001 bytes'],
    ['shrank', (path) => truncateSync(path, 5), 'its size went from 100000 to 5 bytes'],
    ['was written', (path) => utimesSync(path, 1, 2), 'its modification time is another'],
    ['got another link', (path) => linkSync(path, `${path}.2`), 'its status changed (permissions, links or content)'],
  ];
  it.each(cases)('fails when the file %s', async (_, change, why) => {
    const path = sample();
    const source = await openFileSource(path);
    change(path);
    await expect(assertUnchanged(source)).rejects.toMatchObject({
      code: 'changed',
      message: `${path}: the file changed while it was read (${why}); stop what writes to it, or convert a snapshot of it`,
    });
    await source.close();
  });

  it('is what a read says that meets the end early', async () => {
    const path = sample();
    const source = await openFileSource(path);
    truncateSync(path, 50_000);
    await expect(source.read(40_000, 20_000, 'grain table')).rejects.toMatchObject({ code: 'changed' });
    await source.close();
  });
});

it('tells files apart by inode, whatever their names', async () => {
  const path = sample();
  const source = await openFileSource(path);
  linkSync(path, join(dir, 'hard'));
  symlinkSync(path, join(dir, 'soft'));
  const self = identityOf(source);
  const same = async (name: string) => {
    const other = await identityOfPath(join(dir, name));
    return self !== undefined && other !== undefined && sameFile(self, other);
  };
  expect(await same('hard')).toBe(true);
  expect(await same('soft')).toBe(true);
  sample('other.img');
  expect(await same('other.img')).toBe(false);
  expect(await identityOfPath(join(dir, 'none'))).toBeUndefined();
  await source.close();
});
