/** VHDX's check: sound images, and each kind of damage found and located. The hand-made ones owe nothing to our writer. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { MiB } from '../../base/units.ts';
import { check } from '../../ops/check.ts';
import { shown } from '../../testing/check.ts';
import { need, qemuImg } from '../../testing/oracles.ts';
import { qemuIo } from '../../testing/qemu-io.ts';
import { tempDir } from '../../testing/tmp.ts';
import { type HandMade, handMade, logEntry, logRing, noise, PLACE, seal } from '../../testing/vhdx-image.ts';

const FULL = 6;
const PARTIAL = 7;

async function checked(disk: HandMade, change: (bytes: Buffer) => void = () => {}) {
  const path = join(await tempDir(), 'a.vhdx');
  const bytes = handMade(disk);
  change(bytes);
  await writeFile(path, bytes);
  return check(path);
}

/** Blocks 0 and 2 of a disk of 4 MiB, at 4 and 5 MiB of the file. */
const DISK: HandMade = {
  size: 4 * MiB,
  bat: { 0: [FULL, 4], 2: [FULL, 5] },
  data: { 4: noise(1, MiB), 5: noise(2, MiB) },
};

test('sound images, and their numbers', async (ctx) => {
  expect(await checked(DISK)).toMatchObject({
    ...{ format: 'vhdx', corruptions: 0, leaks: 0, findings: [] },
    ...{ totalClusters: 4, allocatedClusters: 2, fragmentedClusters: 0, unreferencedBytes: 0, imageEndOffset: 6 * MiB },
  });
  const qemu = need(ctx, qemuImg());
  const path = join(await tempDir(), 'q.vhdx');
  await qemu.run('create', '-q', '-f', 'vhdx', path, '100M');
  await qemuIo(path, 'vhdx', 'write 50M 10M', 'write 0 64k');
  expect(await check(path)).toMatchObject({ findings: [], allocatedClusters: 3, fragmentedClusters: 1 });
});

describe('damage', () => {
  const at = (index: number) => PLACE.bat + index * 8;
  test.for<[name: string, disk: HandMade, change: (bytes: Buffer) => void, found: string[]]>([
    [
      'two blocks in one place',
      { ...DISK, bat: { 0: [FULL, 4], 2: [FULL, 4] } },
      () => {},
      [
        `corruption BAT entry 2, block 2 @${at(2)}: at ${4 * MiB} lies over the header section, the log, a region or another block`,
      ],
    ],
    [
      'a block over the BAT',
      { ...DISK, bat: { 0: [FULL, 3] } },
      () => {},
      [
        `corruption BAT entry 0, block 0 @${at(0)}: at ${3 * MiB} lies over the header section, the log, a region or another block`,
      ],
    ],
    [
      'a block behind the end of the file',
      { ...DISK, bat: { 0: [FULL, 900] } },
      () => {},
      [`corruption BAT entry 0, block 0 @${at(0)}: lies at ${900 * MiB} to ${901 * MiB}, the file ends at ${6 * MiB}`],
    ],
    [
      'states that there are not, or not without a parent',
      { ...DISK, bat: { 0: [4, 0], 1: [PARTIAL, 4] } },
      () => {},
      [
        `corruption BAT entry 0, block 0 @${at(0)}: state 4 is none`,
        `corruption BAT entry 1, block 1 @${at(1)}: PAYLOAD_BLOCK_PARTIALLY_PRESENT is for disks that have a parent`,
      ],
    ],
    [
      'a damaged header, a damaged region table',
      DISK,
      (bytes) => {
        bytes.writeUInt8(bytes.readUInt8(65536 + 20) ^ 1, 65536 + 20);
        bytes.writeUInt8(1, 262144 + 60000);
      },
      [
        'corruption header section @undefined: header 1 is damaged: header 2 is used',
        'corruption region table 2 @262144: is damaged: signature or checksum is wrong',
      ],
    ],
    [
      'region tables that differ',
      DISK,
      (bytes) => {
        bytes.writeUInt8(1, 262144 + 60000);
        seal(bytes);
      },
      ['corruption region table 2 @262144: is not the same as region table 1'],
    ],
    [
      'a child that lacks a sector bitmap',
      {
        ...DISK,
        bat: { 0: [PARTIAL, 4] },
        locator: { parent_linkage: '{00000000-0000-0000-0000-000000000000}', relative_path: 'base.vhdx' },
      },
      () => {},
      [
        `corruption BAT entry 4096, sector bitmap of chunk 0 @${at(4096)}: state 0, where a block of the chunk needs it`,
      ],
    ],
  ])('%s', async ([, disk, change, found]) => {
    const result = await checked(disk, change);
    expect(shown(result)).toEqual(found);
    expect(result.corruptions).toBe(found.length);
  });

  test('a log is a note, and what it holds is checked', async () => {
    const guid = 'ab'.repeat(16);
    const sector = Buffer.alloc(4096);
    // The log moves block 2 to where block 0 is.
    sector.writeBigUInt64LE((4n << 20n) | BigInt(FULL), 0);
    sector.writeBigUInt64LE((4n << 20n) | BigInt(FULL), 16);
    const entry = logEntry({
      sequence: 1,
      tail: 0,
      guid,
      changes: [{ at: PLACE.bat, to: sector }],
      flushed: 6 * MiB,
      last: 6 * MiB,
    });
    const result = await checked({ ...DISK, logGuid: guid, log: logRing({ 0: entry }) });
    expect(shown(result)).toEqual([
      `note log @${MiB}: not empty (entries: 1): the image was not closed cleanly, and is checked as it is after the replay`,
      `corruption BAT entry 2, block 2 @${at(2)}: at ${4 * MiB} lies over the header section, the log, a region or another block`,
    ]);
  });
});
