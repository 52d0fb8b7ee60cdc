import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openFileSource } from './file-source.ts';
import { directoryGate, refusingGate } from './gate.ts';
import type { ByteSource, Reference, ReferenceGate } from './types.ts';

let dir: string;
let from: ByteSource;
beforeEach(async () => {
  dir = realpathSync(mkdtempSync(join(tmpdir(), 'vdconv-gate-')));
  mkdirSync(join(dir, 'vm'));
  mkdirSync(join(dir, 'vm-secret'));
  writeFileSync(join(dir, 'vm', 'child.qcow2'), 'child');
  writeFileSync(join(dir, 'vm', 'base.img'), 'base');
  writeFileSync(join(dir, 'vm-secret', 'key'), 'secret');
  from = await openFileSource(join(dir, 'vm', 'child.qcow2'));
});
afterEach(async () => {
  await from.close();
  rmSync(dir, { recursive: true });
});

async function attempt(gate: ReferenceGate, name: string, kind: Reference['kind'] = 'backing', by = from) {
  try {
    const source = await gate.open({ kind, name }, by);
    const content = new TextDecoder().decode(await source.read(0, source.size, 'test'));
    await source.close();
    return content;
  } catch (error) {
    return `${(error as { code: string }).code} ${(error as Error).message.replaceAll(dir, 'DIR')}`;
  }
}

describe('refusingGate', () => {
  it('says the name, what it leads to and the flag', async () => {
    expect(await attempt(refusingGate(), 'base.img')).toBe(
      "refused DIR/vm/child.qcow2: refers to backing file 'base.img' (DIR/vm/base.img); " +
        'references are not followed by default; to follow it, add --allow-references=DIR/vm',
    );
    expect(await attempt(refusingGate(), '/etc/shadow', 'data-file')).toBe(
      "refused DIR/vm/child.qcow2: refers to data file '/etc/shadow'; " +
        'references are not followed by default; to follow it, add --allow-references=/etc',
    );
  });

  it('quotes a directory that a shell would split', async () => {
    expect(await attempt(refusingGate(), "/my $HOME's/base.img", 'parent')).toContain(
      "add --allow-references='/my $HOME'\\''s'",
    );
  });

  it('keeps the message on one line whatever the name holds', async () => {
    expect(await attempt(refusingGate(), 'a\u202eb\u0085c')).toBe(
      "refused DIR/vm/child.qcow2: refers to backing file 'a\\u{202e}b\\x85c' (DIR/vm/a\\u{202e}b\\x85c); " +
        'references are not followed by default; to follow it, add --allow-references=DIR/vm',
    );
  });
});

describe('the sibling extents of a VMDK descriptor', () => {
  let descriptor: ByteSource;
  beforeEach(async () => {
    writeFileSync(join(dir, 'vm', 'disk-000001.vmdk'), '# Disk DescriptorFile');
    descriptor = await openFileSource(join(dir, 'vm', 'disk-000001.vmdk'));
  });
  afterEach(() => descriptor.close());

  it.each([
    'disk-000001-flat.vmdk',
    'disk-000001-delta.vmdk',
    'disk-000001-sesparse.vmdk',
    'disk-000001-s001.vmdk',
    'disk-000001-f1234.vmdk',
  ])('%s needs no flag', async (name) => {
    writeFileSync(join(dir, 'vm', name), 'grains');
    expect(await attempt(refusingGate(), name, 'extent', descriptor)).toBe('grains');
    expect(await attempt(directoryGate([join(dir, 'vm-secret')]), name, 'extent', descriptor)).toBe('grains');
  });

  it.each([
    'disk-flat.vmdk',
    'disk-000001-flat.img',
    'disk-000001-s1.vmdk',
    'disk-000001-s001.vmdk/../x.vmdk',
    '../vm/disk-000001-flat.vmdk',
    'sub/disk-000001-flat.vmdk',
  ])('%s needs one', async (name) => {
    expect(await attempt(refusingGate(), name, 'extent', descriptor)).toMatch(/^refused .*references are not followed/);
  });

  it('are extents and nothing else', async () => {
    writeFileSync(join(dir, 'vm', 'disk-000001-flat.vmdk'), 'grains');
    expect(await attempt(refusingGate(), 'disk-000001-flat.vmdk', 'parent', descriptor)).toMatch(/^refused /);
  });

  it('are regular files, not links or pipes', async () => {
    symlinkSync('../vm-secret/key', join(dir, 'vm', 'disk-000001-flat.vmdk'));
    expect(await attempt(refusingGate(), 'disk-000001-flat.vmdk', 'extent', descriptor)).toBe(
      "refused DIR/vm/disk-000001.vmdk: refers to extent 'disk-000001-flat.vmdk' (DIR/vm-secret/key); " +
        'a symbolic link is not followed by default; to follow it, add --allow-references=DIR/vm-secret',
    );
    spawnSync('mkfifo', [join(dir, 'vm', 'disk-000001-delta.vmdk')]);
    expect(await attempt(refusingGate(), 'disk-000001-delta.vmdk', 'extent', descriptor)).toBe(
      "refused DIR/vm/disk-000001.vmdk: refers to extent 'disk-000001-delta.vmdk' (DIR/vm/disk-000001-delta.vmdk); " +
        'it is a named pipe, only regular files are followed',
    );
  });

  it('say so when they are missing', async () => {
    expect(await attempt(refusingGate(), 'disk-000001-flat.vmdk', 'extent', descriptor)).toBe(
      "read DIR/vm/disk-000001.vmdk: extent 'disk-000001-flat.vmdk' (DIR/vm/disk-000001-flat.vmdk) of the image " +
        'does not exist',
    );
  });
});

describe('directoryGate', () => {
  it('follows relative and absolute names beneath the directory', async () => {
    const gate = directoryGate([join(dir, 'vm')]);
    expect(await attempt(gate, 'base.img')).toBe('base');
    expect(await attempt(gate, join(dir, 'vm', 'base.img'), 'parent')).toBe('base');
    expect(await attempt(gate, '../vm/./base.img')).toBe('base');
  });

  it('takes relative names from the directory of the image that holds them', async () => {
    const other = await openFileSource(join(dir, 'vm-secret', 'key'));
    expect(await attempt(directoryGate([dir]), '../vm/base.img', 'backing', other)).toBe('base');
    await other.close();
  });

  it.each([
    ['../vm-secret/key', "'../vm-secret/key' (DIR/vm-secret/key)"],
    ['/etc/passwd', "'/etc/passwd'"],
  ])('refuses %s, and says how to allow it', async (name, shown) => {
    const directory = name.startsWith('/') ? '/etc' : 'DIR/vm-secret';
    expect(await attempt(directoryGate([join(dir, 'vm')]), name)).toBe(
      `refused DIR/vm/child.qcow2: refers to backing file ${shown}; it is outside the directories that were allowed; ` +
        `to follow it, add --allow-references=${directory}`,
    );
  });

  it('looks at the real path, for files and for directories', async () => {
    symlinkSync('../vm-secret/key', join(dir, 'vm', 'link'));
    symlinkSync('../vm-secret', join(dir, 'vm', 'sub'));
    const gate = directoryGate([join(dir, 'vm')]);
    for (const name of ['link', 'sub/key']) {
      expect(await attempt(gate, name)).toBe(
        `refused DIR/vm/child.qcow2: refers to backing file '${name}' (DIR/vm-secret/key); it is outside the ` +
          'directories that were allowed; to follow it, add --allow-references=DIR/vm-secret',
      );
    }
    expect(await attempt(directoryGate([join(dir, 'vm'), join(dir, 'vm', 'sub')]), 'sub/key')).toBe('secret');
  });

  it.each([
    ['json:{"driver":"file"}', 'a json: name is never followed'],
    ['nbd://host/disk', 'a name with a protocol is never followed'],
    ['file:base.img', 'a name with a protocol is never followed'],
    ['C:\\vm\\base.vhd', 'a name with a protocol is never followed'],
    ['', 'the name is empty'],
    ['base\0.img', 'the name holds control characters'],
    ['base\n.img', 'the name holds control characters'],
  ])('never follows %j', async (name, why) => {
    const message = await attempt(directoryGate(['/']), name);
    expect(message).toMatch(/^refused /);
    expect(message.endsWith(`; ${why}`)).toBe(true);
    expect(message).not.toContain('--allow');
  });

  it('takes a colon after a slash for a part of the name', async () => {
    writeFileSync(join(dir, 'vm', 'a:b'), 'colon');
    expect(await attempt(directoryGate([dir]), './a:b')).toBe('colon');
  });

  it('refuses what is no regular file', async () => {
    spawnSync('mkfifo', [join(dir, 'vm', 'fifo')]);
    const gate = directoryGate([dir, '/dev']);
    expect(await attempt(gate, 'fifo')).toBe(
      "refused DIR/vm/child.qcow2: refers to backing file 'fifo' (DIR/vm/fifo); " +
        'it is a named pipe, only regular files are followed',
    );
    expect(await attempt(gate, '/dev/zero')).toMatch(/it is a character device, only regular files are followed$/);
    expect(await attempt(gate, '../vm')).toMatch(/it is a directory, only regular files are followed$/);
  });

  it('fails with `read` for an allowed file that is missing', async () => {
    expect(await attempt(directoryGate([dir]), 'none.img')).toBe(
      "read DIR/vm/child.qcow2: backing file 'none.img' (DIR/vm/none.img) of the image does not exist",
    );
  });

  it('fails with `usage` for a directory that is none', async () => {
    expect(await attempt(directoryGate([join(dir, 'no')]), 'base.img')).toBe(
      'usage --allow-references=DIR/no: no such directory',
    );
    expect(await attempt(directoryGate([join(dir, 'vm', 'base.img')]), 'base.img')).toBe(
      'usage --allow-references=DIR/vm/base.img: not a directory',
    );
  });
});

it('tells what names lead to without looking', () => {
  const gate = refusingGate();
  const resolve = (name: string) => gate.resolve({ kind: 'backing', name }, from);
  expect(resolve('../none/../base.img')).toBe(join(dir, 'base.img'));
  expect(resolve('/abs/base.img')).toBe('/abs/base.img');
  expect(resolve('https://host/base.img')).toBeUndefined();
  expect(resolve('json:{}')).toBeUndefined();
});
