/** Digests of a disk: blkhash's published vectors, SHA-256 by Node, and its construction spelled out. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { KiB, MiB } from '../base/units.ts';
import { memorySource } from '../io/memory-source.ts';
import { BatchBuilder, type BlockMap, Kind } from '../map/extents.ts';
import { FLAT } from '../map/flat.ts';
import type { Layout } from '../map/layout.ts';
import { copyToFile, ENGINES, mapOf, rawFile } from '../testing/engine-copy.ts';
import { seededDisk } from '../testing/seeded-disk.ts';
import type { CopyOptions, Engine } from './contract.ts';

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();

function blkhash(disk: Uint8Array, blockSize: number): string {
  const outer = createHash('sha256');
  for (let at = 0; at < disk.length; at += blockSize) {
    outer.update(sha256(disk.subarray(at, at + blockSize)));
  }
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(disk.length));
  return outer.update(length).digest('hex');
}

async function digestOf(engine: Engine, bytes: Uint8Array, kind: Kind, blockSize: number): Promise<string> {
  const map = async function* (): BlockMap {
    const out = new BatchBuilder();
    out.push(0, bytes.length, kind);
    yield out.take();
  };
  const job = { map: map(), virtualSize: bytes.length, layout: FLAT, options: {} };
  const files = [{ source: memorySource(bytes, 'bytes') }];
  const { digest } = await engine.copy({ ...job, files, sink: { kind: 'scan' }, digest: { blockSize } });
  return Buffer.from(digest as Uint8Array).toString('hex');
}

for (const { name, engine } of ENGINES) {
  if (typeof engine === 'string') {
    describe.skip(`the ${name} engine (${engine})`, () => it('makes digests', () => {}));
  } else {
    describe(`the ${name} engine`, () => digests(engine));
  }
}

function digests(engine: Engine): void {
  it("agrees with blkhash's own vectors, zeros stored or said", async () => {
    const [letters, zeros] = [new Uint8Array(64 * KiB).fill(0x41), new Uint8Array(64 * KiB)];
    const zeroDigest = '8ab067ab7939a3d4f40cbb118956c07c06aeae2d075d6e0a2ebbb94bd42832af';
    expect(await digestOf(engine, letters, Kind.data, 64 * KiB)).toBe(
      '2e3a5f57d5e726ee5de62db1a85ff816f4fa6ea4627807d9a51bdc4c883e165e',
    );
    expect(await digestOf(engine, zeros, Kind.data, 64 * KiB)).toBe(zeroDigest);
    expect(await digestOf(engine, zeros, Kind.zero, 64 * KiB)).toBe(zeroDigest);
  });

  it.each([0, 1, 511, 64 * KiB - 1, 64 * KiB + 1])('takes a disk of %d bytes', async (size) => {
    for (const bytes of [new Uint8Array(size), new Uint8Array(size).fill(7)]) {
      const kind = bytes[0] === 7 ? Kind.data : Kind.unallocated;
      if (size > 0) {
        expect(await digestOf(engine, bytes, kind, 64 * KiB)).toBe(blkhash(bytes, 64 * KiB));
        expect(await digestOf(engine, bytes, kind, 0)).toBe(sha256(bytes).toString('hex'));
      }
    }
  });

  it('is made while a copy goes on, whatever layout, threads, chunks and granularity', async () => {
    const disk = seededDisk(31, 17 * MiB + 513);
    const whole = disk.bytes(0, disk.size);
    const blocks: Layout = { ...FLAT, kind: 'blocks', dataStart: 64 * KiB, blockSize: 64 * KiB, dataAlign: 4096 };
    const variants: [Layout, CopyOptions][] = [
      [FLAT, { threads: 1 }],
      [FLAT, { zeroGranularity: 0 }],
      [blocks, { threads: 3, chunkBytes: 64 * KiB, testJitter: 200 }],
      [blocks, { chunkBytes: 4 * MiB, zeroGranularity: 512 }],
    ];
    for (const blockSize of [512, 64 * KiB, 8 * MiB, 0]) {
      const expected = blockSize === 0 ? sha256(whole).toString('hex') : blkhash(whole, blockSize);
      for (const [layout, options] of variants) {
        const more = { digest: { blockSize } };
        const { result } = await copyToFile(engine, disk, [rawFile(disk)], layout, options, mapOf(disk), more);
        const digest = Buffer.from(result.digest as Uint8Array).toString('hex');
        expect(digest, `${blockSize} ${JSON.stringify(options)}`).toBe(expected);
      }
    }
  });
}
