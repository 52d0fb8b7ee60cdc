import { expect, test } from 'vitest';
import { memorySource } from './memory-source.ts';

const source = memorySource(Uint8Array.of(10, 11, 12, 13), 'disk.img');

test('a read gives exactly what was asked, in bytes of its own', async () => {
  const got = await source.read(1, 2, 'header');
  expect(got).toEqual(Uint8Array.of(11, 12));
  got.fill(0);
  expect(await source.read(0, 4, 'header')).toEqual(Uint8Array.of(10, 11, 12, 13));
  expect(await source.read(4, 0, 'nothing')).toEqual(new Uint8Array(0));
});

test('a read of a Buffer gives bytes that do not change with it', async () => {
  const buffer = Buffer.from('abcd');
  const got = await memorySource(buffer, 'disk.img').read(0, 4, 'header');
  buffer.fill(0);
  expect([...got]).toEqual([97, 98, 99, 100]);
});

test('a read over the end is refused with where the bytes end', async () => {
  await expect(source.read(2, 3, 'L1 table')).rejects.toMatchObject({
    code: 'truncated',
    message: 'disk.img: L1 table needs 3 bytes at offset 2, the file ends at 4',
    file: 'disk.img',
    field: 'L1 table',
    offset: 2,
  });
  await expect(source.read(4096, 8, 'BAT')).rejects.toMatchObject({
    code: 'truncated',
    message: 'disk.img: BAT needs 8 bytes at offset 4096 (0x1000), the file ends at 4',
  });
});

test('offsets and lengths that no file has are a defect of the caller', async () => {
  for (const [offset, length] of [
    [-1, 1],
    [0, -1],
    [0.5, 1],
    [0, Number.NaN],
  ] as const) {
    await expect(source.read(offset, length, 'BAT')).rejects.toMatchObject({ code: 'internal' });
  }
});
