/**
 * The same input and options give the same bytes: more than a second apart, for another user, in another time zone and
 * locale, on another file system, on any number of threads. Ids and dates would give themselves away.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { FORMATS } from '../formats/registry.ts';
import { seededDisk } from '../testing/seeded-disk.ts';

const command = fileURLToPath(new URL('../../bin/vdconv.js', import.meta.url));
const NOBODY = 65534;

/** Every format in each of its subformats, plain and compressed. */
const WRITERS = FORMATS.filter(({ plan }) => plan !== undefined).flatMap(({ name, options, compresses }) => {
  const subformats = options.find(({ key }) => key === 'subformat')?.choices ?? [undefined];
  const plain = subformats.map((subformat) => ({
    name: subformat === undefined ? name : `${name} ${subformat}`,
    flags: ['-O', name, ...(subformat === undefined ? [] : ['-o', `subformat=${subformat}`])],
  }));
  return compresses ? [...plain, { name: `${name} -c`, flags: ['-O', name, '-c'] }] : plain;
});

let [top, source, here, elsewhere] = ['', '', '', ''];

function write(
  dir: string,
  flags: readonly string[],
  env: NodeJS.ProcessEnv,
  user: { uid?: number; gid?: number } = {},
) {
  const { status, stderr } = spawnSync(
    process.execPath,
    [command, 'convert', '-q', '--no-sync', '--force', '-f', 'raw', ...flags, source, join(dir, 'disk')],
    { env: { ...process.env, ...env }, encoding: 'utf8', ...user },
  );
  expect([status, stderr]).toEqual([0, '']);
}

/** All files of an output by name, and takes them away. */
async function take(dir: string): Promise<Record<string, Buffer>> {
  const files: Record<string, Buffer> = {};
  for (const name of (await readdir(dir)).sort()) {
    files[name] = await readFile(join(dir, name));
    await rm(join(dir, name));
  }
  return files;
}

const first: Record<string, Buffer>[] = [];
beforeAll(async () => {
  top = await mkdtemp(join(tmpdir(), 'vdconv-test-'));
  source = join(top, 'disk.raw');
  await seededDisk(5, 5 * MiB + 64 * KiB).writeRawFile(source);
  here = join(top, 'here');
  await mkdir(here);
  elsewhere = await mkdtemp('/dev/shm/vdconv-test-').catch(() => mkdtemp(join(top, 'elsewhere-')));
  for (const path of [top, source]) {
    await chmod(path, 0o755);
  }
  await chmod(elsewhere, 0o777);
  for (const { flags } of WRITERS) {
    write(here, flags, {});
    first.push(await take(here));
  }
  await sleep(1100);
}, 60_000);
afterAll(async () => {
  await rm(elsewhere, { recursive: true, force: true });
  await rm(top, { recursive: true, force: true });
});

/** Root may become somebody else, who must be able to read this checkout. */
function otherUser(): { uid?: number; gid?: number } {
  try {
    accessSync(command, constants.R_OK);
  } catch {
    return {};
  }
  const seen =
    process.getuid?.() === 0 && spawnSync(process.execPath, [command, '--version'], { uid: NOBODY, gid: NOBODY });
  return seen && seen.status === 0 ? { uid: NOBODY, gid: NOBODY } : {};
}

test.for(WRITERS.map((writer, i) => ({ ...writer, i })))('$name', async ({ flags, i }) => {
  const user = otherUser();
  for (const threads of ['1', '7']) {
    write(elsewhere, [...flags, '-m', threads], { TZ: 'Asia/Tokyo', LANG: 'tr_TR.UTF-8', LC_ALL: 'tr_TR.UTF-8' }, user);
    const second = await take(elsewhere);
    expect(Object.keys(second)).toEqual(Object.keys(first[i] ?? {}));
    for (const [name, bytes] of Object.entries(second)) {
      expect(Buffer.compare(bytes, first[i]?.[name] as Buffer), name).toBe(0);
    }
  }
});

test('SOURCE_DATE_EPOCH and --random-ids are what changes them', async () => {
  const vhd = WRITERS.find(({ name }) => name === 'vhd dynamic') as (typeof WRITERS)[number];
  write(here, vhd.flags, { SOURCE_DATE_EPOCH: '1700000000' });
  const dated = (await take(here)).disk as Buffer;
  // Footer §Time Stamp: seconds since 2000-01-01 at byte 24.
  expect(dated.readUInt32BE(24)).toBe(1_700_000_000 - 946_684_800);
  write(here, [...vhd.flags, '--random-ids'], {});
  const once = (await take(here)).disk as Buffer;
  write(here, [...vhd.flags, '--random-ids'], {});
  const again = (await take(here)).disk as Buffer;
  expect(once.subarray(68, 84).equals(again.subarray(68, 84))).toBe(false);
});
