import { describe, expect, it } from 'vitest';
import { convertOptions, FLAGS } from './convert.ts';
import { parseFlags } from './flags.ts';
import { operands } from './values.ts';

async function options(...argv: string[]) {
  const args = await parseFlags(argv, 'convert', FLAGS);
  const [source = ''] = operands(args, 'convert', ['IN', 'OUT']);
  const given = Object.entries(convertOptions(args, source)).filter(
    ([key, value]) =>
      value !== undefined && value !== false && !(key === 'targetOptions' && Object.keys(value).length === 0),
  );
  return Object.fromEntries(given);
}

describe('the options of convert', () => {
  it.each<[string, object]>([
    ['a b', {}],
    ['-f raw -O qcow2 a b', { format: 'raw', targetFormat: 'qcow2' }],
    ['a -fraw b -Oqcow2', { format: 'raw', targetFormat: 'qcow2' }],
    ['-cOqcow2 a b', { compress: true, targetFormat: 'qcow2' }],
    [
      '-O vmdk -o subformat=streamOptimized -o x=1 a b',
      {
        targetFormat: 'vmdk',
        targetOptions: { subformat: 'streamOptimized', x: '1' },
      },
    ],
    ['-oa=1,b=2 a b', { targetOptions: { a: '1', b: '2' } }],
    ['--compress-level 9 a b', { compress: true, compressLevel: 9 }],
    ['-r 10M a b', { rate: 10485760 }],
    ['--compress-level=9 a b', { compress: true, compressLevel: 9 }],
    ['-S 0 a b', { zeroGranularity: 0 }],
    ['-S64k a b', { zeroGranularity: 65536 }],
    ['-m 4 a b', { threads: 4 }],
    ['--force --no-sync a b', { force: true, noSync: true }],
    ['--allow-references a b', { allowReferences: true }],
    ['--allow-references=/x a b', { allowReferences: ['/x'] }],
    ['--allow-references=/x --allow-references=/y=z a b', { allowReferences: ['/x', '/y=z'] }],
    ['--allow-references=/x --allow-references vm/a b', { allowReferences: ['/x', 'vm'] }],
    ['-p -q -W -C -t none -T none a b', {}],
    ['-pqWCU -tnone a b', { forceShare: true }],
    ['--force-share --allow-device a b', { forceShare: true, allowDevice: true }],
    ['-- -a -b', {}],
  ])('%s', async (line, expected) => {
    expect(await options(...line.split(' '))).toEqual(expected);
  });

  it.each([
    ['a', 'OUT is missing; see vdconv convert --help'],
    ['', 'IN is missing; see vdconv convert --help'],
    ['a b c', "one argument too many: 'c'; see vdconv convert --help"],
    ['-x a b', "unknown option '-x'; see vdconv convert --help"],
    ['--sise=3 a b', "unknown option '--sise'; see vdconv convert --help"],
    ['--no-force a b', "unknown option '--no-force'; see vdconv convert --help"],
    ['--force=no a b', 'option --force takes no value; see vdconv convert --help'],
    ['a b -O', 'option -O needs a value: -O FMT; see vdconv convert --help'],
    ['a b --compress-level', 'option --compress-level needs a value: --compress-level N; see vdconv convert --help'],
    ['-f raw -f qcow2 a b', 'option -f is given twice; see vdconv convert --help'],
    ['-m four a b', "option -m takes a whole number, not 'four'; see vdconv convert --help"],
    ['-m -1 a b', "option -m takes a whole number, not '-1'; see vdconv convert --help"],
    ['-S 4q a b', "-S: '4q' is not a size; write 65536, 64k, 1M, 2G or 1T (1024-based)"],
  ])('%j fails', async (line, message) => {
    const attempt = options(...line.split(' ').filter((word) => word !== ''));
    await expect(attempt).rejects.toMatchObject({ code: 'usage', message });
  });

  it('escapes what it repeats', async () => {
    await expect(options('a', 'b', '\u001b[2J')).rejects.toThrow("one argument too many: '\\x1b[2J'");
  });

  it('keeps names that look like numbers', async () => {
    const args = await parseFlags(['007', '1e3'], 'convert', FLAGS);
    expect(args.operands).toEqual(['007', '1e3']);
  });
});
