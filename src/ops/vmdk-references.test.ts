/** Descriptors that name what they should not: nothing outside the image is opened, and the message says what to do. */
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { info, type OpenOptions, open, VdconvError } from '../index.ts';
import { tempDir } from '../testing/tmp.ts';

let dir: string;

beforeEach(async () => {
  dir = join(await tempDir(), 'vm');
  await mkdir(dir);
  await writeFile(join(dir, 'other.bin'), new Uint8Array(4096));
  await writeFile(join(dir, '../outside.bin'), new Uint8Array(4096));
  await writeFile(join(dir, 'disk-flat.vmdk'), new Uint8Array(4096));
});

async function opened(lines: string, options: OpenOptions = {}, header = ''): Promise<VdconvError | undefined> {
  const path = join(dir, 'disk.vmdk');
  const text = `# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=${header === '' ? 'ffffffff' : '00000002'}\n${header}`;
  await writeFile(path, `${text}createType="custom"\n${lines}\n`);
  try {
    await (await open(path, options)).close();
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(VdconvError);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that there are none is the point
    expect((error as VdconvError).message).not.toMatch(/[\u0000-\u001f\u007f]/);
    return error as VdconvError;
  }
}

test('the sibling needs no flag', async () => {
  expect(await opened('RW 8 FLAT "disk-flat.vmdk" 0')).toBe(undefined);
  expect(await opened('RW 8 VMFS "disk-flat.vmdk"')).toBe(undefined);
});

const REFUSED: readonly [string, string, RegExp][] = [
  ['an absolute path', 'RW 8 FLAT "/etc/hostname" 0', /--allow-references|\/etc\/hostname/],
  ['a path upwards', 'RW 8 FLAT "../outside.bin" 0', /outside\.bin/],
  ['a sibling of another name', 'RW 8 FLAT "other.bin" 0', /other\.bin/],
  ['the same as VMFS', 'RW 8 VMFS "../outside.bin"', /outside\.bin/],
  ["a path of Windows'", 'RW 8 FLAT "C:\\..\\x.vmdk" 0', /protocol/],
  ['a device', 'RW 8 FLAT "/dev/zero" 0', /\/dev\/zero/],
  ["a device of Windows'", 'RW 8 FLAT "\\\\.\\PhysicalDrive0" 0', /PhysicalDrive0/],
  ['json:', 'RW 8 FLAT "json:{}" 0', /json/],
  ['a protocol', 'RW 8 FLAT "nbd:localhost:1" 0', /protocol/],
  ['control characters', 'RW 8 FLAT "disk\u0007-flat.vmdk" 0', /control/],
];

test.each(REFUSED)('refused: %s', async (_, lines, says) => {
  const error = await opened(lines);
  expect(error).toMatchObject({ code: 'refused', message: expect.stringMatching(says) });
});

test.each(REFUSED.filter(([name]) => !/^(a sibling)/.test(name)))(
  'refused also where references of the directory are allowed: %s',
  async (_, lines) => {
    const error = await opened(lines, { allowReferences: true });
    expect(['refused', 'read']).toContain(error?.code);
  },
);

test('a sibling that is a link is followed by a flag only', async () => {
  await symlink('other.bin', join(dir, 'disk-s001.vmdk'));
  expect(await opened('RW 8 FLAT "disk-s001.vmdk" 0')).toMatchObject({ code: 'refused' });
  expect(await opened('RW 8 FLAT "disk-s001.vmdk" 0', { allowReferences: true })).toBe(undefined);
});

test.each(['FLAT', 'SPARSE', 'VMFSSPARSE', 'SESPARSE'])('the descriptor as its own extent: %s', async (type) => {
  expect(await opened(`RW 1 ${type} "disk.vmdk" 0`, { allowReferences: true })).toMatchObject({ code: 'corrupt' });
});

test('the descriptor as its own extent by another name', async () => {
  await symlink('disk.vmdk', join(dir, 'disk-flat2.vmdk'));
  const error = await opened('RW 1 SPARSE "disk-flat2.vmdk"', { allowReferences: true });
  // It is too short for a sparse file's header.
  expect(error).toMatchObject({ code: 'truncated' });
});

describe('parents', () => {
  const hint = (name: string) => `parentFileNameHint="${name}"\n`;
  const zeros = 'RW 8 ZERO';

  test.each([
    ['relative', 'base.vmdk', /base\.vmdk/],
    ['absolute', '/etc/hostname', /hostname/],
    ['json:', 'json:{"driver":"raw"}', /json/],
    ['a protocol', 'nbd://host/x', /protocol/],
  ])('refused: %s', async (_, name, says) => {
    expect(await opened(zeros, {}, hint(name))).toMatchObject({
      code: 'refused',
      message: expect.stringMatching(says),
    });
    const shown = await info(join(dir, 'disk.vmdk'));
    expect(shown.references).toMatchObject([{ kind: 'parent', name }]);
  });

  test('itself', async () => {
    const error = await opened(zeros, { allowReferences: true }, hint('disk.vmdk'));
    expect(error).toMatchObject({ code: 'corrupt' });
  });

  test('an id without a name', async () => {
    expect(await opened(zeros, { allowReferences: true }, '\n')).toMatchObject({
      code: 'corrupt',
      field: 'parentFileNameHint',
    });
  });
});
