/**
 * The command as a user meets it: bin/vdconv.js in a process of its own, on the files of test-images/ and on hostile
 * copies of them. Messages are read literally.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { need, qemuImg } from '../testing/oracles.ts';
import { tempDir } from '../testing/tmp.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const command = join(root, 'bin', 'vdconv.js');
const images = join(root, 'test-images');

/** Builds dist/ when a source is newer than it, so that what is tested is what is in src/. */
beforeAll(() => {
  const newest = (dir: string): number =>
    Math.max(
      0,
      ...readdirSync(join(root, dir), { recursive: true }).map((path) => timeOf(join(root, dir, String(path)))),
    );
  if (newest('src') > timeOf(join(root, 'dist', 'cli', 'main.js'))) {
    spawnSync(process.execPath, [
      join(root, 'node_modules/typescript/bin/tsc'),
      '-p',
      join(root, 'tsconfig.build.json'),
    ]);
  }
});

function timeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

let dir: string;
beforeEach(async () => {
  dir = await tempDir();
});

interface Run {
  status: number | null;
  stdout: string;
  stderr: string;
}

function vdconv(...args: string[]): Run {
  const run = spawnSync(process.execPath, [command, ...args], { cwd: dir, encoding: 'utf8' });
  return { status: run.status, stdout: run.stdout, stderr: run.stderr };
}

/** A failure: nothing on stdout, one line on stderr. */
function failure(...args: string[]): string {
  const { status, stdout, stderr } = vdconv(...args);
  expect(stdout).toBe('');
  expect(stderr).toMatch(/^vdconv: [^\n]+\n$/);
  return `${status} ${stderr.slice('vdconv: '.length, -1)}`;
}

/** Copies an image of test-images/ into the directory of the test. */
function take(name: string, as = name): string {
  copyFileSync(join(images, name), join(dir, as));
  return as;
}

function patch(name: string, at: number, ...bytes: number[]): void {
  const path = join(dir, name);
  const content = readFileSync(path);
  content.set(bytes, at);
  writeFileSync(path, content);
}

/** 64 MiB that are slow to compress: long enough to be interrupted. */
function slowDisk(name: string): string {
  let state = 1;
  const words = new Uint32Array((64 << 20) / 4);
  for (let i = 0; i < words.length; i += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0; // u32
    words[i] = state & 0x3f3f3f3f;
  }
  writeFileSync(join(dir, name), new Uint8Array(words.buffer));
  return name;
}

/** A QCOW2 image whose header names a backing file. */
function overlay(name: string, backing: string): string {
  take('qcow2-rs-test.qcow2', name);
  const format = [0xe2, 0x79, 0x2a, 0xca, 0, 0, 0, 3, 0x72, 0x61, 0x77, 0, 0, 0, 0, 0];
  patch(name, 104, ...format, 0, 0, 0, 0, 0, 0, 0, 0);
  patch(name, 128, ...Buffer.from(backing));
  patch(name, 8, 0, 0, 0, 0, 0, 0, 0, 128, 0, 0, 0, backing.length);
  return name;
}

describe('what it says about itself', () => {
  it('has help for the command and its parts', () => {
    for (const [args, first] of [
      [['--help'], 'vdconv converts virtual machine disk images between formats.'],
      [['-h'], 'vdconv converts virtual machine disk images between formats.'],
      [['help'], 'vdconv converts virtual machine disk images between formats.'],
      [['convert', '--help'], 'vdconv convert makes a new disk image with the content of another one.'],
      [['info', '-h'], 'vdconv info says what a disk image is: format, sizes, what it refers to.'],
      [['map', '-h'], "vdconv map says where each byte of an image's virtual disk lies."],
      [['compare', '-h'], 'vdconv compare says whether two images hold the same virtual disk.'],
      [['check', '--help'], 'vdconv check says whether an image keeps the rules of its format: structure,'],
    ] as const) {
      const { status, stdout, stderr } = vdconv(...args);
      expect([status, stderr]).toEqual([0, '']);
      const lines = stdout.split('\n');
      expect(lines[0]).toBe(first);
      expect(lines.filter((line) => line.length > 80)).toEqual([]);
      for (const format of ['raw', 'qcow2', 'vmdk']) {
        expect(stdout).toMatch(new RegExp(`^  ${format} `, 'm'));
      }
      expect(stdout.split('Examples:')[1]?.match(/^ {2}vdconv /gm)).toHaveLength(3);
    }
  });

  it('has its version, and with --verbose the engine and why', () => {
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    expect(vdconv('--version')).toEqual({ status: 0, stdout: `vdconv ${version}\n`, stderr: '' });
    const { stdout } = vdconv('--version', '--verbose');
    expect(stdout).toMatch(/^vdconv \S+\nengine: (native|portable) \([^\n]+\)\nnode: v\d+\.\d+\.\d+ on \w+ \w+\n$/);
  });

  it('lists the options of a format', () => {
    expect(vdconv('convert', '-O', 'qcow2', '-o', 'help').stdout).toMatch(
      /^Options of qcow2:\n(.*\n)* {2}cluster_size=SIZE +\S/,
    );
    expect(failure('convert', '-O', 'qcow9', '-o', 'help')).toBe(
      "2 no format is called 'qcow9'; see vdconv convert --help",
    );
  });
});

describe('convert', () => {
  it('takes formats from content and name', async (ctx) => {
    take('demo-disk.vmdk');
    const { status, stdout, stderr } = vdconv('demo-disk.vmdk', 'out.qcow2');
    expect([status, stdout]).toEqual([0, '']);
    expect(stderr).toMatch(
      /^vdconv: note: not carried over, qcow2 has no place for it: adapter type, .*\ndemo-disk\.vmdk \(vmdk, 64 MiB\) -> out\.qcow2 \(qcow2, [\d.]+ [KM]iB on disk\) in \d+\.\d s\n$/,
    );
    expect(readdirSync(dir).sort()).toEqual(['demo-disk.vmdk', 'out.qcow2']);
    const qemu = need(ctx, qemuImg());
    expect(await qemu.compare(join(dir, 'demo-disk.vmdk'), 'vmdk', join(dir, 'out.qcow2'), 'qcow2')).toMatchObject({
      identical: true,
    });
    expect(await qemu.check(join(dir, 'out.qcow2'), 'qcow2')).toMatchObject({ exit: 0 });
  });

  it('is quiet with -q', () => {
    take('demo-disk.vmdk');
    expect(vdconv('convert', '-q', '-O', 'raw', 'demo-disk.vmdk', 'out')).toEqual({
      status: 0,
      stdout: '',
      stderr: '',
    });
    expect(statSync(join(dir, 'out')).size).toBe(64 << 20);
  });

  it('gives progress and result as JSON', () => {
    take('demo-disk.vmdk');
    const { status, stderr } = vdconv('convert', '--progress=json', 'demo-disk.vmdk', 'out.raw');
    expect(status).toBe(0);
    const lines = stderr
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const { result } = lines.pop();
    expect(result).toMatchObject({
      source: { filename: 'demo-disk.vmdk', format: 'vmdk', virtualSize: 64 << 20 },
      target: { filename: 'out.raw', format: 'raw', virtualSize: 64 << 20, fileSize: 64 << 20 },
    });
    for (const line of lines) {
      expect(line).toEqual({ done: expect.any(Number), total: 64 << 20 });
    }
  });

  it('replaces an existing file only with --force', () => {
    take('mbrman-disk1.img');
    writeFileSync(join(dir, 'out.qcow2'), 'precious');
    expect(failure('mbrman-disk1.img', 'out.qcow2')).toBe('2 out.qcow2: the file exists; add --force to replace it');
    expect(readFileSync(join(dir, 'out.qcow2'), 'utf8')).toBe('precious');
    expect(vdconv('convert', '--force', 'mbrman-disk1.img', 'out.qcow2').status).toBe(0);
    expect(readFileSync(join(dir, 'out.qcow2')).subarray(0, 4).toString('latin1')).toBe('QFI\xfb');
  });

  it('never writes over its source, whatever its name', () => {
    take('mbrman-disk1.img');
    linkSync(join(dir, 'mbrman-disk1.img'), join(dir, 'hard.raw'));
    symlinkSync('mbrman-disk1.img', join(dir, 'soft.raw'));
    const before = readFileSync(join(dir, 'mbrman-disk1.img'));
    for (const target of ['mbrman-disk1.img', './mbrman-disk1.img', 'hard.raw', 'soft.raw']) {
      expect(failure('convert', '-O', 'raw', '--force', 'mbrman-disk1.img', target)).toMatch(/^2 \S+: .*same file/);
    }
    expect(readFileSync(join(dir, 'mbrman-disk1.img')).equals(before)).toBe(true);
    expect(readdirSync(dir)).toHaveLength(3);
  });

  it('syncs the data, takes the name, syncs the directory, in this order; --no-sync syncs nothing', (ctx) => {
    if (spawnSync('strace', ['-V']).status !== 0) {
      ctx.skip('strace is not there');
    }
    take('mbrman-disk1.img');
    const calls = (...args: string[]) => {
      const trace = join(dir, 'trace');
      const what = ['-f', '-qq', '-o', trace, '-e', 'trace=fsync,fdatasync,link,linkat,rename,renameat,renameat2'];
      const run = spawnSync('strace', [...what, process.execPath, command, 'convert', '-q', ...args], { cwd: dir });
      expect(run.status).toBe(0);
      return [...readFileSync(trace, 'utf8').matchAll(/^\d+ +(\w+)\(/gm)].map(([, call]) => call);
    };
    expect(calls('mbrman-disk1.img', 'a.qcow2')).toEqual(['fsync', expect.stringMatching(/^link/), 'fsync']);
    expect(calls('--force', 'mbrman-disk1.img', 'a.qcow2')).toEqual([
      'fsync',
      expect.stringMatching(/^rename/),
      'fsync',
    ]);
    expect(calls('--no-sync', 'mbrman-disk1.img', 'b.qcow2')).toEqual([expect.stringMatching(/^link/)]);
  });
});

describe('exit status 2: usage', () => {
  it.each([
    [[], 'nothing to do: name an image to read and a file to write; see vdconv --help'],
    [['disk.vmdk'], 'OUT is missing; see vdconv convert --help'],
    [
      ['chekc'],
      "'chekc' is no command (check, compare, convert, create, digest, info, map, measure), and OUT is missing for an image; see vdconv --help",
    ],
    [['convert', '--bogus', 'a', 'b'], "unknown option '--bogus'; see vdconv convert --help"],
    [['info'], 'IMAGE is missing; see vdconv info --help'],
    [['info', 'a', 'b'], "one argument too many: 'b'; see vdconv info --help"],
    [['info', '--output=xml', 'a'], "option --output takes human, json, not 'xml'; see vdconv info --help"],
    [
      ['convert', '--progress=dots', 'a', 'b'],
      "option --progress takes bar, none, json, not 'dots'; see vdconv convert --help",
    ],
  ])('%j', (args, message) => {
    expect(failure(...args)).toBe(`2 ${message}`);
  });

  it('is also an unknown format or format option', () => {
    take('mbrman-disk1.img');
    expect(failure('convert', '-O', 'qcow9', 'mbrman-disk1.img', 'out')).toMatch(/^2 .*qcow9/);
    expect(failure('convert', '-f', 'qcow9', 'mbrman-disk1.img', 'out.raw')).toMatch(/^2 .*qcow9/);
    expect(failure('convert', '-o', 'bogus=1', 'mbrman-disk1.img', 'out.qcow2')).toMatch(/^2 .*bogus/);
    expect(failure('mbrman-disk1.img', 'out.unknown')).toMatch(/^2 .*-O/);
    expect(readdirSync(dir)).toEqual(['mbrman-disk1.img']);
  });
});

describe('exit status 3: the input', () => {
  it('is missing, or no file', () => {
    expect(failure('none.vmdk', 'out.raw')).toBe('3 none.vmdk: no such file');
    expect(failure('info', 'none.vmdk')).toBe('3 none.vmdk: no such file');
    expect(failure('info', '.')).toBe('3 .: is a directory, not a disk image');
    expect(spawnSync('mkfifo', [join(dir, 'fifo')]).status).toBe(0);
    expect(failure('info', 'fifo')).toBe(
      '3 fifo: is a named pipe; vdconv reads only regular files and block devices; write its data to a file first',
    );
  });

  it('is not the format that it is said to be', () => {
    take('mbrman-disk1.img');
    expect(failure('convert', '-f', 'qcow2', 'mbrman-disk1.img', 'out.raw')).toMatch(/^3 mbrman-disk1\.img: .*magic/);
  });

  it('is truncated or damaged, and leaves no output', () => {
    take('demo-disk.vmdk', 'cut.vmdk');
    truncateSync(join(dir, 'cut.vmdk'), Math.floor(statSync(join(dir, 'cut.vmdk')).size / 2));
    expect(failure('cut.vmdk', 'out.raw')).toMatch(/^3 cut\.vmdk: .*end of the file at 524288/);
    take('qcow2-rs-test.qcow2', 'bad.qcow2');
    patch('bad.qcow2', 20, 0, 0, 0, 3);
    expect(failure('bad.qcow2', 'out.raw')).toMatch(/^3 bad\.qcow2: .*clusterBits is 3 at offset 20 /);
    take('go-vmdk-parser-invalid.vmdk');
    expect(failure('go-vmdk-parser-invalid.vmdk', 'out.raw')).toMatch(/^3 go-vmdk-parser-invalid\.vmdk: /);
    expect(readdirSync(dir).filter((name) => name.includes('out'))).toEqual([]);
  });
});

describe('exit status 4: the output', () => {
  it('has no directory, or is one', () => {
    take('mbrman-disk1.img');
    expect(failure('mbrman-disk1.img', 'no/out.qcow2')).toBe(
      '4 no/out.qcow2: cannot create the file: its directory does not exist',
    );
    mkdirSync(join(dir, 'out.raw'));
    expect(failure('convert', '--force', 'mbrman-disk1.img', 'out.raw')).toBe(
      '4 out.raw: is a directory; vdconv writes only regular files so far',
    );
  });

  it('meets a full disk, and gives the space back', (ctx) => {
    take('demo-disk.vmdk');
    mkdirSync(join(dir, 'small'));
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', join(dir, 'small')]).status !== 0) {
      ctx.skip('mounting a small file system takes root');
    }
    onTestFinished(() => void spawnSync('umount', [join(dir, 'small')]));
    expect(failure('demo-disk.vmdk', 'small/out.qcow2')).toMatch(/^4 small\/out\.qcow2: .*no space left on device/);
    expect(readdirSync(join(dir, 'small'))).toEqual([]);
  });

  it('is standard output that takes nothing', () => {
    const run = spawnSync('sh', ['-c', `"$0" "$1" --help >/dev/full`, process.execPath, command], { encoding: 'utf8' });
    expect([run.status, run.stderr]).toEqual([
      4,
      'vdconv: cannot write to standard output: ENOSPC: no space left on device, write\n',
    ]);
  });
});

describe('exit status 5: references', () => {
  it('are refused by default, with the flag that allows them', () => {
    overlay('child.qcow2', '/etc/passwd');
    expect(failure('child.qcow2', 'out.raw')).toBe(
      "5 child.qcow2: refers to backing file '/etc/passwd'; references are not followed by default; " +
        'to follow it, add --allow-references=/etc',
    );
    expect(failure('convert', '--allow-references', 'child.qcow2', 'out.raw')).toMatch(
      /^5 child\.qcow2: refers to backing file '\/etc\/passwd'; it is outside the directories that were allowed; /,
    );
    expect(readdirSync(dir)).toEqual(['child.qcow2']);
  });

  it('are never followed to what is no file', () => {
    overlay('child.qcow2', 'nbd://localhost/secret');
    expect(failure('convert', '--allow-references=/', 'child.qcow2', 'out.raw')).toBe(
      "5 child.qcow2: refers to backing file 'nbd://localhost/secret'; a name with a protocol is never followed",
    );
  });

  it('are followed with the flag', () => {
    overlay('child.qcow2', 'base.raw');
    writeFileSync(join(dir, 'base.raw'), Buffer.alloc(1 << 20, 'base'));
    const { status, stderr } = vdconv('convert', '--allow-references', 'child.qcow2', 'out.raw');
    expect([status, stderr]).toEqual([0, expect.stringMatching(/^child\.qcow2 /)]);
    const out = readFileSync(join(dir, 'out.raw'));
    expect(out.length).toBe(1000 << 20);
    expect(out.subarray(4096, 4104).toString()).toBe('basebase');
  });

  it('that lead back to the image end with an error', () => {
    overlay('loop.qcow2', 'loop.qcow2');
    patch('loop.qcow2', 111, 5, ...Buffer.from('qcow2'), 0, 0, 0);
    expect(failure('convert', '--allow-references', 'loop.qcow2', 'out.raw')).toMatch(/^3 loop\.qcow2: /);
  });
});

it('exit status 8: a limit', () => {
  take('qcow2-rs-test.qcow2', 'huge.qcow2');
  patch('huge.qcow2', 36, 0x7f, 0xff, 0xff, 0xff);
  expect(failure('huge.qcow2', 'out.raw')).toMatch(/^8 huge\.qcow2: .*l1Size is 2147483647 .*vdconv takes at most/);
});

describe('while it runs', () => {
  /** Starts a slow conversion and waits until it shows progress. */
  async function started(...args: string[]): Promise<ChildProcess & { ended: Promise<string> }> {
    const line = [command, 'convert', '--progress=json', '-c', '--compress-level=9', '-m1', ...args];
    const child = spawn(process.execPath, line, { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    const ended = new Promise<string>((resolve) => {
      child.on('close', (status, signal) => resolve(`${status ?? signal} ${stderr.trimEnd().split('\n').at(-1)}`));
    });
    await new Promise<void>((resolve, reject) => {
      child.stderr?.on('data', (data) => {
        stderr += data;
        resolve();
      });
      child.on('close', () => reject(new Error(`ended before it showed progress: ${stderr}`)));
    });
    return Object.assign(child, { ended });
  }

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('%s stops it within a second, and leaves nothing', async (signal, status) => {
    slowDisk('slow.raw');
    const child = await started('slow.raw', 'out.qcow2');
    expect(readdirSync(dir)).toHaveLength(2);
    const before = performance.now();
    child.kill(signal);
    expect(await child.ended).toMatch(new RegExp(`^${status} vdconv: `));
    expect(performance.now() - before).toBeLessThan(1000);
    expect(readdirSync(dir)).toEqual(['slow.raw']);
  });

  it('a second signal ends it at once, and leaves nothing either', async () => {
    slowDisk('slow.raw');
    const child = await started('slow.raw', 'out.qcow2');
    child.kill('SIGTERM');
    child.kill('SIGINT');
    expect(await child.ended).toMatch(/^(130|143) /);
    expect(readdirSync(dir)).toEqual(['slow.raw']);
  });

  it('a source that changes is exit status 6, and leaves nothing', async () => {
    slowDisk('slow.raw');
    const child = await started('-f', 'raw', 'slow.raw', 'out.qcow2');
    appendFileSync(join(dir, 'slow.raw'), 'x');
    expect(await child.ended).toBe(
      '6 vdconv: slow.raw: the file changed while it was read (its size went from 67108864 to 67108865 bytes); ' +
        'stop what writes to it, or convert a snapshot of it',
    );
    expect(readdirSync(dir)).toEqual(['slow.raw']);
  });
});

it('a reader that goes away ends it quietly with 141', () => {
  const script = `set -o pipefail; "$0" "$1" --help | exit 0`;
  const run = spawnSync('bash', ['-c', script, process.execPath, command], { encoding: 'utf8' });
  expect([run.status, run.stderr]).toEqual([141, '']);
});

describe('info', () => {
  it('shows a table', () => {
    take('demo-disk.vmdk');
    const { status, stdout, stderr } = vdconv('info', 'demo-disk.vmdk');
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^file: +demo-disk\.vmdk\nformat: +vmdk \(monolithicSparse\)\n/);
    expect(stdout).toMatch(/^virtual size: +64 MiB \(67108864 bytes\)$/m);
  });

  it('gives JSON with the documented fields', () => {
    take('qcow2-rs-test.qcow2');
    const { status, stdout } = vdconv('info', '--output=json', 'qcow2-rs-test.qcow2');
    expect(status).toBe(0);
    const size = statSync(join(dir, 'qcow2-rs-test.qcow2')).size;
    expect(JSON.parse(stdout)).toEqual({
      filename: 'qcow2-rs-test.qcow2',
      format: 'qcow2',
      subformat: expect.any(String),
      virtualSize: 1000 << 20,
      fileSize: size,
      allocatedSize: expect.any(Number),
      blockSize: 65536,
      references: [],
      snapshots: [],
      encrypted: false,
      compressed: false,
      dirty: false,
      bitmaps: [],
      metadata: {},
      warnings: [],
      details: expect.any(Object),
    });
  });

  it('shows a reference without following it', () => {
    overlay('child.qcow2', '/etc/passwd');
    const { status, stdout } = vdconv('info', '--output=json', 'child.qcow2');
    expect(status).toBe(0);
    expect(JSON.parse(stdout).references).toEqual([
      { kind: 'backing', name: '/etc/passwd', format: 'raw', resolved: '/etc/passwd' },
    ]);
  });

  it('lets no image write to the terminal', () => {
    overlay('child.qcow2', '\u001b]0;x\u0007.raw');
    for (const output of ['human', 'json']) {
      const { status, stdout } = vdconv('info', `--output=${output}`, 'child.qcow2');
      expect(status).toBe(0);
      expect(stdout).not.toMatch(/[^\n -~]/);
    }
  });
});
