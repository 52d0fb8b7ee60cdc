/** The images of test-images/ held to their manifest, and QCOW2 made from each held to the manifest by other readers. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { convert, open, VdconvError } from './index.ts';
import { digestOf } from './testing/digest.ts';
import { dissect, need, qemuImg } from './testing/oracles.ts';

interface Row {
  file: string;
  format: string;
  expected: 'ok' | 'refuse';
  subformat?: string;
  virtualSize?: number;
  sha256?: string;
  fileSha256: string;
}

const folder = fileURLToPath(new URL('../test-images/', import.meta.url));
const rows: Row[] = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')).images;
const good = rows.filter((row) => row.expected === 'ok');

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'vdconv-images-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test('the manifest lists every image, and the files are as they were', () => {
  const images = readdirSync(folder).filter((name) => /\.(vmdk|qcow2|img|raw|vhdx?|vdi)$/.test(name));
  expect(images.sort()).toEqual(rows.map((row) => row.file).sort());
  for (const row of rows) {
    const digest = createHash('sha256').update(readFileSync(join(folder, row.file)));
    expect(digest.digest('hex'), row.file).toBe(row.fileSha256);
  }
});

describe.each(good)('$file', (row) => {
  test('is read as the manifest says', async () => {
    const image = await open(join(folder, row.file));
    try {
      expect(image.format).toBe(row.format);
      expect(image.virtualSize).toBe(row.virtualSize);
      expect(image.info).toMatchObject({ format: row.format, virtualSize: row.virtualSize, encrypted: false });
      expect(await digestOf(image)).toBe(row.sha256);
    } finally {
      await image.close();
    }
  });

  describe.each([false, true])('as QCOW2, compressed: %s', (compress) => {
    const target = (): string => join(dir, `${row.file}-${compress}.qcow2`);

    test('reads the same', async () => {
      await convert(join(folder, row.file), target(), { compress, noSync: true });
      const image = await open(target());
      const content = { size: image.virtualSize, sha256: await digestOf(image) };
      await image.close();
      expect(content).toEqual({ size: row.virtualSize, sha256: row.sha256 });
    });

    test('is the same disk for qemu-img, and clean', async (ctx) => {
      const qemu = need(ctx, qemuImg());
      const compared = await qemu.compare(join(folder, row.file), row.format, target(), 'qcow2');
      expect(compared).toMatchObject({ identical: true });
      expect(await qemu.check(target(), 'qcow2')).toMatchObject({ exit: 0, 'check-errors': 0 });
    });

    test('is the same disk for dissect.hypervisor', async (ctx) => {
      const reader = need(ctx, dissect());
      expect(await reader.content(target(), 'qcow2')).toEqual({ size: row.virtualSize, sha256: row.sha256 });
    });
  });
});

test.each(rows.filter((row) => row.expected === 'refuse'))('$file is refused', async (row) => {
  const target = join(dir, 'refused.qcow2');
  await expect(convert(join(folder, row.file), target)).rejects.toBeInstanceOf(VdconvError);
  expect(readdirSync(dir).filter((name) => name.includes('refused'))).toEqual([]);
});
