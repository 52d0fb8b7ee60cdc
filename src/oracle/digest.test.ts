/** The digest against nbdcopy's, which counts as blkhash does. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { MiB } from '../base/units.ts';
import { digest } from '../index.ts';
import { need } from '../testing/oracles.ts';
import { seededDisk } from '../testing/seeded-disk.ts';
import { tempDir } from '../testing/tmp.ts';
import { oracleFolder } from '../testing/vbox.ts';

test.for(['64k', '4k', '1M'])('nbdcopy --blkhash=sha256/%s says the same', async (size, ctx) => {
  const run = need(ctx, oracleFolder());
  const dir = await tempDir();
  const path = join(dir, 'disk.raw');
  await seededDisk(3, 5 * MiB + 512).writeRawFile(path);
  const said = await run(dir, 'nbdcopy', `--blkhash=sha256/${size}`, 'disk.raw', 'null:');
  const algorithm = `blkhash-sha256/${size}`;
  expect(said.trim()).toContain((await digest(path, { format: 'raw', algorithm })).digest);
});
