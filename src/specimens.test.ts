/**
 * A larger collection of third-party images held to its manifest: `make test-specimens` fetches them and says where they
 * are (VDCONV_SPECIMENS: the images; VDCONV_SPECIMENS_MANIFEST: the manifest, tab-separated: path, format, subformat,
 * virtual size, SHA-256 of the guest's bytes, tools that agreed, what to expect, notes).
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { SECTOR } from './base/units.ts';
import { open, VdconvError } from './index.ts';
import { digestOf } from './testing/digest.ts';
import { esxDescriptor } from './testing/esx-extents.ts';
import { tempDir } from './testing/tmp.ts';

/** Formats whose rows are held to; rows of others wait for their format. */
const COVERED = ['raw', 'qcow2', 'vmdk', 'vhd', 'vhdx'];

interface Row {
  path: string;
  format: string;
  size: number;
  sha256: string;
  expected: string;
  notes: string;
}

const dir = process.env.VDCONV_SPECIMENS ?? '';
const manifest = process.env.VDCONV_SPECIMENS_MANIFEST ?? join(dir, 'manifest.tsv');
const rows: Row[] = readFileSync(manifest, 'utf8')
  .split('\n')
  .slice(1)
  .filter((line) => line !== '')
  .map((line) => {
    const [path = '', format = '', , size = '', sha256 = '', , expected = '', notes = ''] = line.split('\t');
    return { path, format, size: Number(size), sha256, expected, notes };
  })
  .filter((row) => COVERED.includes(row.format));

test('the manifest has rows of every format that is read', () => {
  expect([...new Set(rows.map((row) => row.format))].sort()).toEqual([...COVERED].sort());
});

describe.each(rows)('$path', (row) => {
  const file = join(dir, row.path);
  const references = /\b(backing|data-file)=/.test(row.notes);

  test('is there', (ctx) => {
    // With CI set a specimen that could not be fetched is a failure, not a skip.
    ctx.skip(!process.env.CI && !existsSync(file), 'it could not be fetched');
    expect(existsSync(file), `${file} was not fetched`).toBe(true);
  });

  if (row.expected.startsWith('refuse')) {
    test(`is refused (${row.notes})`, (ctx) => refused(ctx, file, {}));
    if (row.expected === 'refuse alone' && row.sha256 !== '') {
      test('has the content of the manifest below a descriptor', (ctx) => underDescriptor(ctx, file, row));
    }
    return;
  }
  if (references) {
    test('is refused without allowReferences', async (ctx) => {
      expect((await refused(ctx, file, {})).code).toBe('refused');
    });
  }
  test('has the size and the content of the manifest', { timeout: 300_000 }, async (ctx) => {
    ctx.skip(!existsSync(file), 'it could not be fetched');
    // What is in a raw disk may look like something else (an ISO, a LUKS volume): then -f raw must be said.
    const format = row.format === 'raw' ? 'raw' : undefined;
    const image = await open(file, { allowReferences: references, format });
    try {
      expect(image.format).toBe(row.format);
      // The manifest's tools count raw disks in sectors: where the file ends inside one, theirs has zeros behind it.
      const odd = row.format === 'raw' && image.virtualSize === statSync(file).size ? image.virtualSize % SECTOR : 0;
      const padding = odd === 0 ? 0 : SECTOR - odd;
      // A row may leave out the size, or the content of a disk of 127 GiB.
      if (row.size > 0) {
        expect(image.virtualSize + padding).toBe(row.size);
      }
      if (row.sha256 !== '') {
        expect(await digestOf(image, { padding })).toBe(row.sha256);
      }
      expect(row.size + row.sha256.length).toBeGreaterThan(0);
    } finally {
      await image.close();
    }
  });
});

/** Opens and reads, which must fail with a VdconvError. */
async function refused(
  ctx: { skip(condition: boolean, note?: string): void },
  file: string,
  options: { allowReferences?: boolean },
): Promise<VdconvError> {
  ctx.skip(!existsSync(file), 'it could not be fetched');
  try {
    const image = await open(file, options);
    await digestOf(image).finally(() => image.close());
  } catch (error) {
    expect(error).toBeInstanceOf(VdconvError);
    return error as VdconvError;
  }
  throw new Error(`${file} was read, and should have been refused`);
}

/** An ESXi extent, named by a descriptor as ESXi's would. */
async function underDescriptor(
  ctx: { skip(condition: boolean, note?: string): void },
  file: string,
  { sha256, size }: Row,
): Promise<void> {
  ctx.skip(!existsSync(file), 'it could not be fetched');
  const folder = await tempDir();
  await copyFile(file, join(folder, 'disk-sesparse.vmdk'));
  const line = { sectors: size / SECTOR, name: 'disk-sesparse.vmdk', cid: '00000001' };
  await writeFile(join(folder, 'disk.vmdk'), esxDescriptor('seSparse', line));
  const image = await open(join(folder, 'disk.vmdk'));
  expect(await digestOf(image).finally(() => image.close())).toBe(sha256);
}
