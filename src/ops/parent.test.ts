import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { MiB } from '../base/units.ts';
import { info, open } from '../index.ts';
import { expectGuest, guestBytes } from '../testing/guest.ts';
import { need, qemuImg } from '../testing/oracles.ts';
import { qemuIo } from '../testing/qemu-io.ts';
import { seededDisk } from '../testing/seeded-disk.ts';
import { tempDir } from '../testing/tmp.ts';

let dir: string;
beforeEach(async () => {
  dir = await tempDir();
});

const disk = seededDisk(8, MiB);
const allowed = { allowReferences: true };

/** A VMDK and a layer over it, made by qemu-img. */
async function layered(ctx: { skip(note?: string): never }): Promise<string> {
  const qemu = need(ctx, qemuImg());
  await disk.writeRawFile(join(dir, 'in.raw'));
  await qemu.convert('-f', 'raw', '-O', 'vmdk', join(dir, 'in.raw'), join(dir, 'base.vmdk'));
  const child = join(dir, 'child.vmdk');
  await qemu.run('create', '-q', '-f', 'vmdk', '-b', 'base.vmdk', '-F', 'vmdk', child);
  return child;
}

/** Replaces the value of a descriptor's line by one of the same length, or shorter with an empty line after it. */
async function setLine(name: string, key: string, value: string): Promise<void> {
  const text = (await readFile(join(dir, name))).toString('latin1');
  const edited = text.replace(new RegExp(`^${key}=.*\\n`, 'm'), (line) => `${key}=${value}`.padEnd(line.length, '\n'));
  await writeFile(join(dir, name), Buffer.from(edited, 'latin1'));
}

test('a VMDK layer is read over the parent that it was made over, however its CID is spelt', async (ctx) => {
  const child = await layered(ctx);
  await expectGuest(child, guestBytes(disk), allowed);
  // qemu-img writes as few digits as the number has, VMware eight in either case.
  await setLine('base.vmdk', 'CID', 'abc');
  await setLine('child.vmdk', 'parentCID', '0ABC');
  await expectGuest(child, guestBytes(disk), allowed);
});

test('a parent that was written to since is refused: the disk would be neither the old nor the new one', async (ctx) => {
  const child = await layered(ctx);
  const { parentCid } = (await info(child)).details;
  await qemuIo(join(dir, 'base.vmdk'), 'vmdk', 'write -P 1 0 64k');
  const { cid } = (await info(join(dir, 'base.vmdk'))).details;
  expect(cid).not.toBe(parentCid);
  await expect(open(child, allowed)).rejects.toMatchObject({
    name: 'VdconvError',
    code: 'corrupt',
    message:
      `${child}: parentCID is ${parentCid}, but the id of ${join(dir, 'base.vmdk')} is ${cid}; ` +
      'the parent is another image, or was written to after this layer was made',
  });
});

test('a layer of a format without such a number takes any parent', async (ctx) => {
  await layered(ctx);
  const qemu = need(ctx, qemuImg());
  const over = join(dir, 'over.qcow2');
  await qemu.run('create', '-q', '-f', 'qcow2', '-b', 'child.vmdk', '-F', 'vmdk', over);
  await expectGuest(over, guestBytes(disk), allowed);
});
