/** That what is made by hand is right: nothing here is our own reader. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { MiB } from '../base/units.ts';
import { need, qemuImg } from '../testing/oracles.ts';
import { tempDir } from '../testing/tmp.ts';
import { castagnoli, handMade, noise } from './vhdx-image.ts';

test('what is made by hand has the checksums of real files', () => {
  expect(castagnoli(Buffer.from('123456789')).toString(16)).toBe('e3069283');
  const file = handMade({ size: MiB });
  expect(file.subarray(65536, 65536 + 80).toString('hex')).toBe(
    `686561640d86b56f0100000000000000${'0f'.repeat(16)}${'0d'.repeat(16)}${'00'.repeat(16)}0000010000001000${'0000100000000000'}`,
  );
  expect(file.subarray(196608, 196608 + 8).toString('hex')).toBe('72656769ae8c6bc6');
});

test('QEMU reads what is made by hand', async (ctx) => {
  const qemu = need(ctx, qemuImg());
  const dir = await tempDir();
  const [first, second] = [noise(1, MiB), noise(2, MiB)];
  const file = join(dir, 'made.vhdx');
  await writeFile(file, handMade({ size: 3 * MiB, bat: { 0: [6, 5], 2: [6, 4] }, data: { 5: first, 4: second } }));
  await writeFile(join(dir, 'raw'), Buffer.concat([first, Buffer.alloc(MiB), second]));
  expect((await qemu.compare(file, 'vhdx', join(dir, 'raw'), 'raw')).message).toMatch(/identical/);
});
