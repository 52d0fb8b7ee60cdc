/** What lies beneath the allowed directory is exchanged between the look at a name and the opening of the file. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, realpathSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { ENGINES, needEngine } from '../testing/engines.ts';
import { tempDir } from '../testing/tmp.ts';
import { openFileSource } from './file-source.ts';
import { directoryGate } from './gate.ts';
import type { SystemCalls } from './system.ts';

let dir: string;
beforeEach(async () => {
  dir = realpathSync(await tempDir());
  for (const name of ['vm', 'vm/sub', 'secret']) {
    mkdirSync(join(dir, name));
  }
  writeFileSync(join(dir, 'vm/child.qcow2'), 'child');
  writeFileSync(join(dir, 'vm/sub/base'), 'base');
  writeFileSync(join(dir, 'secret/base'), 'secret');
});

/** What the gate gives for `sub/base` when `swap` happens at the last moment before the file is opened. */
async function attempt(system: SystemCalls, swap: () => void): Promise<string> {
  const from = await openFileSource(join(dir, 'vm/child.qcow2'));
  const openBeneath = (root: string, path: string) => {
    swap();
    return system.openBeneath?.(root, path);
  };
  try {
    const gate = directoryGate([join(dir, 'vm')], { system: { ...system, openBeneath } });
    const source = await gate.open({ kind: 'backing', name: 'sub/base' }, from);
    const text = new TextDecoder().decode(await source.read(0, source.size, 'test'));
    await source.close();
    return text;
  } catch (error) {
    return `${(error as { code: string }).code} ${(error as Error).message.replaceAll(dir, 'DIR')}`;
  } finally {
    await from.close();
  }
}

const CHANGED =
  "refused DIR/vm/child.qcow2: refers to backing file 'sub/base' (DIR/vm/sub/base); the path changed while it was opened";

describe.each(ENGINES)('%s', (name) => {
  it('opens what nobody touched', async (ctx) => {
    expect(await attempt(needEngine(ctx, name), () => {})).toBe('base');
  });

  it('is not led out by a directory that becomes a link', async (ctx) => {
    const swap = () => {
      renameSync(join(dir, 'vm/sub'), join(dir, 'vm/old'));
      symlinkSync('../secret', join(dir, 'vm/sub'));
    };
    expect(await attempt(needEngine(ctx, name), swap)).toBe(CHANGED);
  });

  it('is not led out by a file that becomes a link', async (ctx) => {
    const swap = () => {
      rmSync(join(dir, 'vm/sub/base'));
      symlinkSync('../../secret/base', join(dir, 'vm/sub/base'));
    };
    expect(await attempt(needEngine(ctx, name), swap)).toBe(CHANGED);
  });

  it('does not wait for a file that becomes a pipe', async (ctx) => {
    const swap = () => {
      rmSync(join(dir, 'vm/sub/base'));
      execFileSync('mkfifo', [join(dir, 'vm/sub/base')]);
    };
    expect(await attempt(needEngine(ctx, name), swap)).toBe(
      'unsupported DIR/vm/sub/base: is a named pipe; vdconv reads only regular files and block devices; ' +
        'write its data to a file first',
    );
  });

  it('says that a file went away', async (ctx) => {
    const said = await attempt(needEngine(ctx, name), () => rmSync(join(dir, 'vm/sub/base')));
    expect(said).toMatch(/^read .*(does not exist|no such file)$/);
  });

  it('never reads the file of another name through a link that stays beneath, once it is resolved', async (ctx) => {
    const swap = () => {
      rmSync(join(dir, 'vm/sub/base'));
      symlinkSync('../child.qcow2', join(dir, 'vm/sub/base'));
    };
    expect(await attempt(needEngine(ctx, name), swap)).toBe(CHANGED);
  });
});
