/** Every code that an error can have: how it comes about, and what its message says. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { type ConvertOptions, convert, type ErrorCode, VdconvError } from '../index.ts';
import { need, qemuImg } from '../testing/oracles.ts';
import { snapshot } from '../testing/snapshot.ts';
import { tempDir } from '../testing/tmp.ts';

let dir: string;
beforeEach(async () => {
  dir = await tempDir();
});
const at = (name: string) => join(dir, name);

const qemu = (...args: string[]) => execFileSync('qemu-img', args, { stdio: 'pipe' });

/** Makes what is needed and says what to convert; DIR in the message is the test's directory. */
interface Case {
  name: string;
  make: () => void;
  source?: string;
  target?: string;
  options?: ConvertOptions;
  message: string | RegExp;
}

const disk = () => writeFileSync(at('in.raw'), Buffer.alloc(64 * KiB, 'disk'));
/** A QCOW2 image of qemu-img's with some bytes changed. */
const patched =
  (changes: Record<number, number[]>, ...options: string[]) =>
  () => {
    disk();
    qemu('convert', '-f', 'raw', '-O', 'qcow2', ...options, at('in.raw'), at('in.qcow2'));
    const image = readFileSync(at('in.qcow2'));
    for (const [offset, bytes] of Object.entries(changes)) {
      image.set(bytes, Number(offset));
    }
    writeFileSync(at('in.qcow2'), image);
  };

/** `locked` and `internal` are not among them: nothing locks images yet, and no input may lead to a defect. */
const CASES: Record<Exclude<ErrorCode, 'locked' | 'internal'>, Case[]> = {
  usage: [
    {
      name: 'a source format that there is not',
      make: disk,
      options: { format: 'vhdz' },
      message: /^DIR\/in\.raw: there is no format 'vhdz'; there are .*qcow2.*, raw$/,
    },
    {
      name: 'a target format that there is not',
      make: disk,
      options: { targetFormat: 'Zip' },
      message:
        /^target format: there is no format 'zip'; there are |^target format: there is no format 'Zip'; there are /,
    },
    {
      name: 'a target name that says no format',
      make: disk,
      target: 'out.zip',
      message: /^DIR\/out\.zip: the name says no format; say it with -O, or end the name in one of .*\.qcow2/,
    },
    {
      name: 'an option that the format has not',
      make: disk,
      options: { targetOptions: { size: 5 } },
      message: /^qcow2 has no option 'size'; it takes cluster_size, /,
    },
    {
      name: 'an option of a format that has none',
      make: disk,
      target: 'out.raw',
      options: { targetOptions: { cluster_size: 4096 } },
      message: "raw has no option 'cluster_size'; it takes none",
    },
    {
      name: 'an option with control characters',
      make: disk,
      options: { targetOptions: { 'x\x1b[2J': 5 } },
      message: /^qcow2 has no option 'x\\x1b\[2J'; /,
    },
    {
      name: 'a value that the option does not take',
      make: disk,
      options: { targetOptions: { cluster_size: 3000 } },
      message: 'cluster_size is 3000: it must be a power of two from 512 to 2M',
    },
    {
      name: 'a choice that there is not',
      make: disk,
      target: 'out.vmdk',
      options: { targetOptions: { subformat: 'thin' } },
      message: /^option subformat: 'thin' is not one of monolithicSparse, streamOptimized/,
    },
    {
      name: 'compression where there is none',
      make: disk,
      target: 'out.raw',
      options: { compress: true },
      message: 'raw cannot be compressed; leave out -c, or choose qcow2',
    },
    {
      name: 'a compression level that there is not',
      make: disk,
      options: { compress: true, compressLevel: 10 },
      message: 'compression level 10: must be a whole number from 1 to 9',
    },
    {
      name: 'no threads',
      make: disk,
      options: { threads: 0.5 },
      message: '0.5 threads: must be a whole number from 1 to 64',
    },
    {
      name: 'a granularity that is no power of two',
      make: disk,
      options: { zeroGranularity: 1000 },
      message: 'zero granularity 1000: must be 0 or a power of two from 512 to 1M',
    },
    {
      name: 'the source as the target',
      make: patched({}),
      source: 'in.qcow2',
      target: 'in.qcow2',
      options: { force: true },
      message: 'DIR/in.qcow2: is the same file as the source DIR/in.qcow2',
    },
    {
      name: 'a directory to allow that is not there',
      make: () => void qemu('create', '-q', '-f', 'qcow2', '-u', '-b', 'base', '-F', 'raw', at('in.qcow2'), '1M'),
      source: 'in.qcow2',
      options: { allowReferences: ['/no/such/directory'] },
      message: '--allow-references=/no/such/directory: no such directory',
    },
  ],
  exists: [
    {
      name: 'the target',
      make: () => {
        disk();
        writeFileSync(at('out.qcow2'), 'old');
      },
      message: 'DIR/out.qcow2: the file exists; add --force to replace it',
    },
  ],
  'wrong-format': [
    {
      name: 'a raw disk said to be QCOW2',
      make: disk,
      options: { format: 'qcow2' },
      message: /^DIR\/in\.raw: .*QCOW2|^DIR\/in\.raw: .*qcow2/,
    },
    {
      name: 'a raw disk said to be VMDK',
      make: disk,
      options: { format: 'vmdk' },
      message: /^DIR\/in\.raw: .*VMDK/,
    },
    {
      name: 'an empty file said to be VMDK',
      make: () => writeFileSync(at('in.raw'), ''),
      options: { format: 'vmdk' },
      message: /^DIR\/in\.raw: .*VMDK/,
    },
  ],
  corrupt: [
    {
      name: 'a field with an illegal value: which, where, and what is legal',
      make: patched({ 20: [0, 0, 0, 8] }),
      source: 'in.qcow2',
      message: /^DIR\/in\.qcow2: .*clusterBits is 8 at offset 20.*/,
    },
    {
      name: 'the corrupt bit',
      make: patched({ 79: [2] }),
      source: 'in.qcow2',
      message: /^DIR\/in\.qcow2: the image is marked as corrupt: .*; repair a copy with qemu-img check -r all/,
    },
  ],
  truncated: [
    {
      name: 'data behind the end',
      make: () => {
        patched({})();
        truncateSync(at('in.qcow2'), 5 * 64 * KiB + 1000);
      },
      source: 'in.qcow2',
      message: /^DIR\/in\.qcow2: .*\bends at 328680\b/,
    },
  ],
  unsupported: [
    {
      name: 'an encrypted image',
      make: () => {
        const luks = 'encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10';
        qemu('create', '-q', '--object', 'secret,id=s,data=x', '-f', 'qcow2', '-o', luks, at('in.qcow2'), '1M');
      },
      source: 'in.qcow2',
      message: /^DIR\/in\.qcow2: encrypted, LUKS: not supported \(cryptMethod at offset 32\); decrypt it with qemu-img/,
    },
    {
      name: 'an unknown feature, by the name the image gives it, escaped',
      make: patched({ 72: [0x80] }),
      source: 'in.qcow2',
      message: /^DIR\/in\.qcow2: .*incompatibleFeatures is 0x80.*unknown feature bit 63/,
    },
    {
      name: 'a named pipe, without waiting for its writer',
      make: () => void execFileSync('mkfifo', [at('in.raw')]),
      message: /^DIR\/in\.raw: is a named pipe; vdconv reads only regular files and block devices; /,
    },
    {
      name: 'a device',
      make: () => symlinkSync('/dev/zero', at('in.raw')),
      message: /^DIR\/in\.raw: is a character device; vdconv reads only regular files and block devices; /,
    },
  ],
  read: [
    { name: 'a file that is not there', make: () => {}, message: 'DIR/in.raw: no such file' },
    {
      name: 'a link to nowhere',
      make: () => symlinkSync('nowhere', at('in.raw')),
      message: 'DIR/in.raw: no such file',
    },
    {
      name: 'a directory',
      make: () => mkdirSync(at('in.raw')),
      message: 'DIR/in.raw: is a directory, not a disk image',
    },
    {
      name: 'a path through a file',
      make: () => writeFileSync(at('file'), ''),
      source: 'file/in.raw',
      message: /^DIR\/file\/in\.raw: cannot open: a part of the path is not a directory \(ENOTDIR\)$/,
    },
  ],
  write: [
    {
      name: 'no such directory',
      make: disk,
      target: 'none/out.qcow2',
      message: 'DIR/none/out.qcow2: cannot create the file: its directory does not exist',
    },
    {
      name: 'a directory in its place',
      make: () => {
        disk();
        mkdirSync(at('out.qcow2'));
      },
      options: { force: true },
      message: 'DIR/out.qcow2: is a directory; vdconv writes only regular files so far',
    },
    {
      name: 'a link to nowhere in its place',
      make: () => {
        disk();
        symlinkSync('nowhere.qcow2', at('out.qcow2'));
      },
      options: { force: true },
      message: /^DIR\/out\.qcow2: is a symbolic link to a file that does not exist; /,
    },
  ],
  refused: [
    {
      name: 'a backing file',
      make: () =>
        void qemu('create', '-q', '-f', 'qcow2', '-u', '-b', '/etc/passwd', '-F', 'raw', at('in.qcow2'), '1M'),
      source: 'in.qcow2',
      message:
        "DIR/in.qcow2: refers to backing file '/etc/passwd'; references are not followed by default; " +
        'to follow it, add --allow-references=/etc',
    },
    {
      name: 'a backing file with control characters in its name',
      make: () => {
        qemu('create', '-q', '-f', 'qcow2', '-u', '-b', 'abcd', '-F', 'raw', at('in.qcow2'), '1M');
        const image = readFileSync(at('in.qcow2'));
        image.write('\x1b[2J', image.indexOf('abcd'));
        writeFileSync(at('in.qcow2'), image);
      },
      source: 'in.qcow2',
      message: "DIR/in.qcow2: refers to backing file '\\x1b[2J'; the name holds control characters",
    },
  ],
  changed: [
    {
      name: 'the source, while it is read',
      make: () => writeFileSync(at('in.raw'), Buffer.alloc(MiB, 'disk')),
      options: { onProgress: () => truncateSync(at('in.raw'), MiB + 1) },
      message:
        'DIR/in.raw: the file changed while it was read (its size went from 1048576 to 1048577 bytes); ' +
        'stop what writes to it, or convert a snapshot of it',
    },
  ],
  limit: [
    {
      name: 'a disk beyond 64 TiB',
      make: () => void qemu('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=2M', at('in.qcow2'), '65T'),
      source: 'in.qcow2',
      message: /^DIR\/in\.qcow2: .*65\.0+ TiB|^DIR\/in\.qcow2: .*65 TiB/,
    },
    {
      name: 'clusters too small for the disk',
      make: () => void qemu('create', '-q', '-f', 'qcow2', at('in.qcow2'), '1T'),
      source: 'in.qcow2',
      options: { targetOptions: { cluster_size: 512 } },
      message: /^a disk of 1(\.0+)? TiB is too large for QCOW2 with clusters of 512 .*; use -o cluster_size=\d+$/,
    },
  ],
  aborted: [{ name: 'by the caller', make: disk, options: { signal: AbortSignal.abort() }, message: 'cancelled' }],
};

describe.each(Object.entries(CASES))('%s', (code, cases) => {
  test.for(cases)('$name', async ({ make, source = 'in.raw', target = 'out.qcow2', options, message }, ctx) => {
    need(ctx, qemuImg());
    make();
    const files = await readdir(dir);
    const before = await snapshot(dir);
    const begun = performance.now();
    const error = await convert(at(source), at(target), options).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(VdconvError);
    const { code: got, message: text } = error as VdconvError;
    const said = text.replaceAll(dir, 'DIR');
    expect([got, said]).toEqual([code, typeof message === 'string' ? message : expect.stringMatching(message)]);
    // One line, for a terminal: nothing in it moves the cursor.
    expect(text).not.toMatch(/[\p{Cc}\u2028\u2029]/u);
    expect(performance.now() - begun).toBeLessThan(1000);
    expect(await readdir(dir)).toEqual(files);
    if (code !== 'changed') {
      expect(await snapshot(dir)).toEqual(before);
    }
  });
});
