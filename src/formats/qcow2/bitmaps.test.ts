/** QCOW2 §Bitmaps: listed for `info`; a directory that lies is told of, and the disk is read all the same. */
import { describe, expect, test } from 'vitest';
import { refusingGate } from '../../io/gate.ts';
import { collect } from '../../testing/map-model.ts';
import { sparseSource } from '../../testing/typed-image.ts';
import { openQcow2 } from './reader.ts';

/** 64 KiB in clusters of 512 bytes; the bitmap directory at 0x800. */
const image = (count: string, size: string, directory: string, valid = true) =>
  openQcow2(
    sparseSource(0x1000, {
      0: `514649fb 00000003 0000000000000000 00000000 00000009 0000000000010000 00000000 00000002
          0000000000000600 0000000000000200 00000001 00000000 0000000000000000`,
      72: `0000000000000000 0000000000000000 000000000000000${valid ? 1 : 0} 00000004 00000068`,
      104: `23852875 00000018 ${count} 00000000 ${size} 0000000000000800`,
      512: '0000000000000400',
      2048: directory,
    }),
    { gate: refusingGate() },
  );

// Two entries, each padded to 8 bytes: `b0`, granularity 64 KiB, auto; `other`, 512 bytes, in use, 8 bytes of extra data.
const TWO = `0000000000000c00 00000001 00000002 01 10 0002 00000000 6230 000000000000
             0000000000000e00 00000001 00000001 01 09 0005 00000008 0000000000000000 6f74686572 000000`;

test('names, granularity, and whether they record', async () => {
  const { facts } = await image('00000002', '0000000000000048', TWO);
  expect(facts.bitmaps).toEqual([
    { name: 'b0', granularity: 65536, enabled: true },
    { name: 'other', granularity: 512, enabled: false },
  ]);
  expect(facts.warnings).toEqual([]);
});

test("stale ones are nobody's", async () => {
  const { facts } = await image('00000002', '0000000000000048', TWO, false);
  expect(facts.bitmaps).toEqual([]);
  expect(facts.warnings).toEqual([]);
});

describe('a directory that lies', () => {
  test.each([
    [
      'beyond the file',
      '00000001',
      '0000000000000801',
      '',
      /bitmap directory at offset 2048 ends at 4097, the file at 4096/,
    ],
    ['an entry beyond it', '00000003', '0000000000000048', TWO, /needs 24 bytes, 0 are there/],
    [
      'a name beyond it',
      '00000001',
      '0000000000000020',
      TWO.replace('0002 00000000', '03ff 00000000'),
      /bitmap directory at offset 2048 ends at 3095/,
    ],
    [
      'extra data of 2^32-1 bytes',
      '00000001',
      '0000000000000048',
      TWO.replace('0002 00000000', '0002 ffffffff'),
      /bitmap directory/,
    ],
    ['an unknown type', '00000001', '0000000000000048', TWO.replace('01 10', '02 10'), /type is 2 at offset 2064/],
    [
      'a granularity of 2^255',
      '00000001',
      '0000000000000048',
      TWO.replace('01 10', '01 ff'),
      /granularityBits is 255 at offset 2065/,
    ],
  ])('%s', async (_, count, size, directory, says) => {
    const opened = await image(count, size, directory);
    expect(opened.facts.warnings).toHaveLength(1);
    expect(opened.facts.warnings[0]).toMatch(says);
    expect(opened.facts.bitmaps).toEqual([]);
    await expect(collect(opened.extents(0, 65536))).resolves.toHaveLength(1);
  });
});
