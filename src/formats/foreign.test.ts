/** What is recognised and not read is named, and never taken for a raw disk unless the user says that it is one. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { convert } from '../ops/convert.ts';
import { info } from '../ops/info.ts';
import { open } from '../ops/open.ts';
import { digestOf } from '../testing/digest.ts';
import { need, qemuImg } from '../testing/oracles.ts';
import { tempDir } from '../testing/tmp.ts';

/** 64 KiB with some text at some offset. */
function disk(text: string, at = 0): Buffer {
  const bytes = Buffer.alloc(65536);
  bytes.write(text, at, 'latin1');
  return bytes;
}

const SAMPLES: [name: string, bytes: Buffer][] = [
  ['a QED image', disk('QED\0')],
  ['a Parallels disk', disk('WithoutFreeSpace\x02\0\0\0')],
  ['a Parallels disk', disk('WithouFreSpacExt\x02\0\0\0')],
  ['a QCOW image, version 1', disk('QFI\xfb\0\0\0\x01')],
  ['a Bochs disk', disk('Bochs Virtual HD Image')],
  ['a compressed loop image (cloop)', disk('#!/bin/sh\n#V2.0 Format\nmodprobe cloop')],
  ['a DMG of macOS', disk('koly\0\0\0\x04\0\0\x02\0', 65536 - 512)],
  ['an ASIF image of macOS', disk('shdw')],
  ['an ISO 9660 image', disk('\x01CD001\x01', 32768)],
];

describe('recognised, and not read', () => {
  test.for(SAMPLES)('%s', async ([name, bytes]) => {
    const path = join(await tempDir(), 'disk.img');
    await writeFile(path, bytes);
    for (const work of [open, info, (file: string) => convert(file, `${file}.qcow2`)]) {
      await expect(work(path)).rejects.toMatchObject({
        code: 'unsupported',
        message: expect.stringMatching(
          `^${path}: is ${name.replace(/[()]/g, '\\$&')}, which vdconv does not read; .*; -f raw takes its bytes`,
        ),
      });
    }
    const image = await open(path, { format: 'raw' });
    expect([image.format, image.virtualSize]).toEqual(['raw', 65536]);
    expect(await digestOf(image)).toMatch(/^[0-9a-f]{64}$/);
    await image.close();
  });

  test('QED and Parallels as qemu-img makes them', async (ctx) => {
    const qemu = need(ctx, qemuImg());
    const dir = await tempDir();
    for (const [format, name] of [
      ['qed', 'a QED image'],
      ['parallels', 'a Parallels disk'],
      ['qcow', 'a QCOW image, version 1'],
    ] as const) {
      await qemu.run('create', '-q', '-f', format, join(dir, format), '4M');
      await expect(open(join(dir, format))).rejects.toMatchObject({ message: expect.stringContaining(`is ${name}, `) });
    }
  });

  test('plain disks stay raw: a boot sector, zeros, text, a few bytes', async () => {
    const dir = await tempDir();
    for (const [i, bytes] of [disk('\x55\xaa', 510), Buffer.alloc(65536), disk('koly'), Buffer.from('QE')].entries()) {
      await writeFile(join(dir, `${i}`), bytes);
      expect((await info(join(dir, `${i}`))).format).toBe('raw');
    }
  });

  test('something that could be two things needs -f', async () => {
    const path = join(await tempDir(), 'both');
    const bytes = disk('QFI\xfb\0\0\0\x03');
    bytes.write('\x01CD001\x01', 32768, 'latin1');
    await writeFile(path, bytes);
    await expect(open(path)).rejects.toMatchObject({
      code: 'wrong-format',
      message: `${path}: could be qcow2 and an ISO 9660 image; say which with -f`,
    });
  });

  test('a fixed VHD may hold an ISO or an encrypted disk', async () => {
    const dir = await tempDir();
    for (const content of [disk('\x01CD001\x01', 32768), disk('LUKS\xba\xbe\0\x01')]) {
      await writeFile(join(dir, 'in.raw'), content);
      const options = { format: 'raw', targetFormat: 'vhd', targetOptions: { subformat: 'fixed' }, force: true };
      await convert(join(dir, 'in.raw'), join(dir, 'a.vhd'), options);
      expect((await info(join(dir, 'a.vhd'))).format).toBe('vhd');
    }
  });
});
