/**
 * A virtual disk rebuilt from nothing but the entries that `vdconv map --output=json` prints: what another program would
 * do with them. It shares no code with vdconv; decoding is Node's zlib.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { inflateRawSync, inflateSync } from 'node:zlib';
import { unzstd } from './compressors.ts';

export interface Entry {
  start: number;
  length: number;
  kind: string;
  depth: number;
  file?: string;
  offset?: number;
  storedLength?: number;
  skip?: number;
  codec?: string;
  framing?: string;
}

export function rebuild(entries: readonly Entry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const entry of entries) {
    if (entry.start !== at || entry.length <= 0) {
      throw new Error(`an entry begins at ${entry.start}, the one before ended at ${at}`);
    }
    at += entry.length;
    parts.push(content(entry));
  }
  return Buffer.concat(parts);
}

function content({ kind, length, file = '', offset = 0, storedLength = 0, skip = 0, codec, framing }: Entry) {
  switch (kind) {
    case 'zero':
    case 'unallocated':
      return Buffer.alloc(length);
    case 'data':
      return exactly(readUpTo(file, offset, length), length);
    case 'compressed': {
      const stored = readUpTo(file, offset, storedLength);
      const stream = framing === 'grain-marker' ? stored.subarray(12, 12 + stored.readUInt32LE(8)) : stored;
      const unit = decoded(stream, codec);
      return exactly(unit.subarray(skip, skip + length), length);
    }
    default:
      throw new Error(`unknown kind ${kind}`);
  }
}

function decoded(stream: Buffer, codec?: string): Buffer {
  switch (codec) {
    case 'zlib':
      return inflateSync(stream);
    case 'zstd':
      return unzstd(stream);
    default:
      return inflateRawSync(stream);
  }
}

function exactly(bytes: Buffer, length: number): Buffer {
  if (bytes.length !== length) {
    throw new Error(`${bytes.length} bytes where ${length} were promised`);
  }
  return bytes;
}

function readUpTo(file: string, offset: number, length: number): Buffer {
  const fd = openSync(file, 'r');
  try {
    const bytes = Buffer.alloc(length);
    return bytes.subarray(0, readSync(fd, bytes, 0, length, offset));
  } finally {
    closeSync(fd);
  }
}
