/** What the guest of an image must see, and that it does: through the library and through qemu-img. */
import { execFile } from 'node:child_process';
import { statSync } from 'node:fs';
import { open as openFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import { FORMATS } from '../formats/registry.ts';
import { check } from '../ops/check.ts';
import { open } from '../ops/open.ts';
import type { OpenOptions } from '../ops/types.ts';
import type { ModelDisk } from './model-disk.ts';
import type { QemuImg } from './oracles.ts';

/** The model's bytes, with zeros up to `size`. For disks of a few MiB. */
export function guestBytes(disk: ModelDisk, size = disk.size): Uint8Array {
  const bytes = new Uint8Array(size);
  bytes.set(disk.bytes(0, disk.size));
  return bytes;
}

/** Fails with the first byte that differs: a diff of megabytes helps nobody. */
export function expectBytes(got: Uint8Array, want: Uint8Array, what: string): void {
  if (Buffer.compare(got, want) !== 0) {
    const at = want.findIndex((byte, i) => got[i] !== byte);
    const where = at < 0 ? '' : `; byte ${at} is ${got[at]}, not ${want[at]}`;
    expect.fail(`${what}: ${got.length} bytes, ${want.length} are right${where}`);
  }
}

/** Parts of a disk as fractions of its size: what a random read reads. */
export type Cuts = readonly (readonly [number, number])[];

/** The image reads as `want`: size, whole content, and each of `cuts`. */
export async function expectGuest(
  path: string,
  want: Uint8Array,
  options: OpenOptions = {},
  cuts: Cuts = [],
): Promise<void> {
  const image = await open(path, options);
  try {
    expect(image.virtualSize, `${path}: virtual size`).toBe(want.length);
    expectBytes(await image.read(0, want.length), want, path);
    for (const [from, to] of cuts) {
      const start = Math.floor(Math.min(from, to) * want.length);
      const end = Math.ceil(Math.max(from, to) * want.length);
      expectBytes(await image.read(start, end - start), want.subarray(start, end), `${path} [${start}, ${end})`);
    }
  } finally {
    await image.close();
  }
}

/** The model as a raw file of `size` bytes, for comparison; returns the path. */
export async function writeReference(path: string, disk: ModelDisk, size = disk.size): Promise<string> {
  await disk.writeRawFile(path);
  const file = await openFile(path, 'r+');
  await file.truncate(size);
  await file.close();
  return path;
}

/** The format's name for qemu-img: ours, or one of its other names. */
export async function qemuName(format: string): Promise<string> {
  qemuFormats ??= promisify(execFile)('qemu-img', ['--help']).then(
    ({ stdout }) => /^Supported (?:image )?formats:\s*((?:.+\n)*)/m.exec(stdout)?.[1]?.split(/\s+/) ?? [],
  );
  const known = await qemuFormats;
  const found = FORMATS.find(({ name }) => name === format);
  const name = [format, ...(found?.aliases ?? [])].find((n) => known.includes(n));
  if (name === undefined) {
    throw new Error(`qemu-img does not know ${format}: it needs another oracle`);
  }
  return name;
}
let qemuFormats: Promise<string[]> | undefined;

/** Our own check finds nothing in the image: no damage, no leak and nothing worth a note. */
export async function expectSound(path: string, format: string): Promise<void> {
  // What has no check (raw) cannot fail it.
  if (FORMATS.find(({ name }) => name === format)?.check !== undefined) {
    const { findings, checkErrors, incomplete } = await check(path, { format });
    expect([findings, checkErrors, incomplete], `${path}: by vdconv check`).toEqual([[], 0, false]);
  }
}

/** qemu-img finds the image clean (no leak either), of the raw reference's size, and with its content. */
export async function expectQemuAgrees(qemu: QemuImg, path: string, format: string, reference: string): Promise<void> {
  const name = await qemuName(format);
  const size = statSync(reference).size;
  expect(await qemu.size(path, name), `${path}: virtual size by qemu-img`).toBe(size);
  if (size > 0) {
    const { identical, message } = await qemu.compare(path, name, reference, 'raw');
    expect(identical, `${path}: ${message}`).toBe(true);
  }
  try {
    const found = await qemu.check(path, name);
    expect([found.exit, found['check-errors'], found.corruptions, found.leaks], path).toEqual([
      0,
      0,
      undefined,
      undefined,
    ]);
  } catch (error) {
    // What has no check (raw) cannot fail it.
    if (!/does not support checks/.test(String(error))) {
      throw error;
    }
  }
}
