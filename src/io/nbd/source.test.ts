import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { KiB, MiB } from '../../base/units.ts';
import { convert } from '../../ops/convert.ts';
import { expectBytes } from '../../testing/guest.ts';
import { ModelDisk } from '../../testing/model-disk.ts';
import { tempDir } from '../../testing/tmp.ts';
import { openNbdSource, parseNbdUri } from './source.ts';

const SIZE = 20 * MiB + 512;
const DISK = new ModelDisk(
  SIZE,
  [
    { start: 64 * KiB, length: 3 * MiB, pattern: 'random' },
    { start: 9 * MiB + 4 * KiB, length: 4 * KiB, pattern: 'random' },
    { start: 20 * MiB, length: 512, pattern: 'random' },
  ],
  77,
);

let dir: string;
let raw: string;
beforeEach(async () => {
  dir = await tempDir();
  raw = join(dir, 'disk.raw');
  await DISK.writeRawFile(raw);
});

function needProgram(ctx: { skip(note?: string): never }, program: string): void {
  if (spawnSync(program, ['--version']).status !== 0) {
    ctx.skip(`${program} is not installed`);
  }
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 200 && !condition(); i += 1) {
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

function server(program: string, args: string[]): ChildProcess {
  const child = spawn(program, args, { cwd: dir, stdio: 'ignore' });
  onTestFinished(() => void child.kill());
  return child;
}

async function qemuNbd(...args: string[]): Promise<string> {
  server('qemu-nbd', ['-r', '-t', '-e', '8', '-k', join(dir, 'sock'), ...args]);
  await until(() => existsSync(join(dir, 'sock')));
  return `nbd+unix:///?socket=${join(dir, 'sock')}`;
}

test('qemu-nbd: an image is converted, and what holds no data is not read', async (ctx) => {
  needProgram(ctx, 'qemu-nbd');
  const uri = await qemuNbd('-f', 'raw', raw);
  const target = join(dir, 'out.raw');
  const result = await convert(uri, target, { format: 'raw', noSync: true });
  expect(result.source).toEqual({ filename: uri, format: 'raw', virtualSize: SIZE });
  expectBytes(await readFile(target), await readFile(raw), 'raw');
  const source = await openNbdSource(uri);
  const runs = [...(source.dataRuns?.(0, SIZE, 100) ?? [])];
  expect(runs).toEqual([64 * KiB, 3 * MiB + 64 * KiB, 9 * MiB + 4 * KiB, 9 * MiB + 8 * KiB, 20 * MiB, SIZE]);
  expect([...(source.dataRuns?.(MiB, 2 * MiB, 100) ?? [])]).toEqual([MiB, 2 * MiB]);
  expectBytes(await source.read(MiB + 1, 70_001, 'x'), DISK.bytes(MiB + 1, 70_001), 'unaligned');
  await expect(source.read(SIZE - 1, 2, 'the end')).rejects.toMatchObject({ code: 'truncated', offset: SIZE - 1 });
  await source.close();
});

test('qemu-nbd: an image inside an export, and an export that is not there', async (ctx) => {
  needProgram(ctx, 'qemu-nbd');
  const image = join(dir, 'disk.qcow2');
  await convert(raw, image, { format: 'raw', noSync: true });
  const uri = await qemuNbd('-f', 'raw', '-x', 'a name', image);
  const named = uri.replace('///', '///a%20name');
  await convert(named, join(dir, 'out.raw'), { noSync: true });
  expectBytes(await readFile(join(dir, 'out.raw')), await readFile(raw), 'qcow2');
  await expect(openNbdSource(uri)).rejects.toMatchObject({
    code: 'read',
    message: expect.stringMatching(/the NBD server does not give the export '': .*not present/),
  });
});

test('nbdkit, over TCP, with blocks that must be aligned', async (ctx) => {
  needProgram(ctx, 'nbdkit');
  const port = 20_000 + Math.floor(Math.random() * 20_000);
  const policy = [
    'blocksize-minimum=4096',
    'blocksize-preferred=4096',
    'blocksize-maximum=65536',
    'blocksize-error-policy=error',
  ];
  execFileSync('truncate', ['-s', '24M', raw]);
  server('nbdkit', [
    '-f',
    '-r',
    '-i',
    '127.0.0.1',
    '-p',
    String(port),
    '--filter=blocksize-policy',
    'file',
    raw,
    ...policy,
  ]);
  let source = await openNbdSource(`nbd://127.0.0.1:${port}`).catch(() => undefined);
  for (let i = 0; i < 100 && source === undefined; i += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    source = await openNbdSource(`nbd://127.0.0.1:${port}`).catch(() => undefined);
  }
  expectBytes((await source?.read(MiB + 1, 200_001, 'x')) ?? new Uint8Array(), DISK.bytes(MiB + 1, 200_001), 'nbdkit');
  await source?.close();
});

describe('a peer that is no good server', () => {
  async function peer(behave: (socket: Socket) => void): Promise<string> {
    const path = join(dir, 'peer');
    const listening: Server = createServer((socket) => {
      socket.on('error', () => {});
      behave(socket);
    });
    await new Promise<void>((resolve) => listening.listen(path, resolve));
    onTestFinished(() => void listening.close());
    return `nbd+unix:///x?socket=${path}`;
  }

  const GREETING = Buffer.from('4e42444d4147494349484156454f50540003', 'hex');

  test.each<[string, (socket: Socket) => void, RegExp]>([
    ['garbage', (s: Socket) => void s.end(Buffer.alloc(64, 7)), /is no NBD server of the newstyle protocol/],
    ['nothing but a close', (s: Socket) => void s.end(), /the NBD connection failed: the connection was closed/],
    ['silence', () => {}, /the NBD connection failed: no answer for 0.2 seconds/],
    ['half a greeting', (s: Socket) => void s.end(GREETING.subarray(0, 9)), /the connection was closed/],
    [
      'garbage after the greeting',
      (s: Socket) => void s.write(Buffer.concat([GREETING, Buffer.alloc(64, 9)])),
      /answered option 8 with what is no answer/,
    ],
  ])('%s', async (_, behave, message) => {
    const uri = await peer(behave);
    await expect(openNbdSource(uri, { patience: 200 })).rejects.toMatchObject({
      code: 'read',
      message: expect.stringMatching(message),
    });
  });

  test('random bytes at any point of the protocol', async () => {
    let seed = 1;
    const next = (): number => {
      seed = (seed * 48271) % 2147483647;
      return seed;
    };
    const uri = await peer((socket) => {
      socket.write(GREETING);
      socket.on('data', () => {
        const head = Buffer.from('0003e889045565a9000000080000000100000000', 'hex');
        const noise = Buffer.from(Array.from({ length: next() % 40 }, () => next() % 256));
        socket.write(next() % 3 === 0 ? noise : head);
        if (next() % 4 === 0) {
          socket.end();
        }
      });
    });
    for (let i = 0; i < 30; i += 1) {
      const error = await openNbdSource(uri, { patience: 100 }).then(
        () => undefined,
        (reason) => reason,
      );
      expect(error).toMatchObject({ name: 'VdconvError', code: 'read' });
    }
  });
});

test('addresses', () => {
  expect(parseNbdUri('nbd://[::1]:9/a%2Fb')).toMatchObject({ to: { host: '::1', port: 9 }, exportName: 'a/b' });
  expect(parseNbdUri('nbd://host')).toMatchObject({ to: { host: 'host', port: 10809 }, exportName: '' });
  for (const [text, message] of [
    ['nbd:///x', 'must be nbd://HOST[:PORT]/EXPORT'],
    ['nbd+unix:///x', 'must be nbd+unix:///EXPORT?socket=PATH'],
    ['nbds://host/x', 'NBD over TLS is not supported'],
    ['nbd://host/%ff', 'is no NBD address'],
  ] as const) {
    expect(() => parseNbdUri(text), text).toThrow(message);
  }
});
