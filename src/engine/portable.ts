/** The portable engine: TypeScript and WebAssembly, for machines without the native addon. */
import { VdconvError } from '../base/errors.ts';
import { divCeil } from '../base/units.ts';
import type { DataFile } from '../map/data-file.ts';
import type { BlockMap } from '../map/extents.ts';
import { FLAT } from '../map/flat.ts';
import type { Allocation, Layout, Piece } from '../map/layout.ts';
import { AllocationLog } from './allocation-log.ts';
import { partsOf } from './allocation-parts.ts';
import { checkLayout } from './check-layout.ts';
import { compareSides } from './compare.ts';
import { contentOf, keepsBits, present, wholeFingerprint } from './content.ts';
import type { CopyJob, CopyResult, Engine, Sink } from './contract.ts';
import { DiskDigest } from './digest.ts';
import { sourceChanged } from './failures.ts';
import { Fingerprint } from './fingerprint.ts';
import { move } from './move.ts';
import { Placer } from './placement.ts';
import { restOf } from './rest.ts';
import { fileOut, memoryOut, nowhere, type Out, StreamOut } from './sinks.ts';

/** Entries at which the writer is called, and that a replay yields at once. */
const ENTRIES = 4096;

export function portableEngine(): Engine {
  // Node can neither ask for holes nor reserve space.
  return {
    name: 'portable',
    copy,
    read,
    compare: compareSides,
    replay,
    dataRuns: () => undefined,
    allocate: () => false,
  };
}

async function copy(job: CopyJob): Promise<CopyResult> {
  const { files, map, virtualSize, layout, sink, writer, options, rangeStart = 0 } = job;
  checkLayout(layout);
  const log = new AllocationLog();
  const ahead = sink.kind === 'sequential' ? sink.ahead : undefined;
  const foreseen = ahead?.pieces[Symbol.asyncIterator]();
  const put = async (pieces: Iterable<Piece>): Promise<void> => {
    for (const piece of pieces) {
      await out.piece(piece);
    }
  };
  const drain = async (): Promise<void> => {
    if (writer === undefined) {
      log.clear();
    } else if (log.count > 0) {
      for (const part of partsOf(log.take())) {
        await put(writer.add(part));
      }
    }
  };
  /** The next pieces for a stream that stands at a table. */
  const more = async (offset: number): Promise<void> => {
    if (foreseen !== undefined) {
      const step = await foreseen.next();
      if (step.done) {
        throw sourceChanged(files[0]?.source.name);
      }
      return put(step.value);
    }
    if (writer === undefined || log.count === 0) {
      throw new VdconvError('internal', `no writer made the table at ${offset}`);
    }
    return drain();
  };
  const out = outputOf(sink, more);
  const stream = out instanceof StreamOut ? out : undefined;
  if (sink.kind === 'sequential') {
    await put(sink.front);
    await stream?.writeUpTo(layout.dataStart);
  }
  const bits = keepsBits(job) ? new Uint8Array(divCeil(virtualSize, layout.blockSize * 8)) : undefined;
  const placed = async (): Promise<void> => {
    if (writer === undefined || log.count >= ENTRIES) {
      await drain();
    }
  };
  const sum = job.fingerprint ? new Fingerprint() : undefined;
  const digest = job.digest && new DiskDigest(job.digest, virtualSize);
  const { hostEnd, dataBytes } = await move({
    ...{ files, map, start: rangeStart, end: rangeStart + virtualSize, layout, out, options, log, placed },
    ...{ bits, fingerprint: sum, digest },
  });
  const fingerprint = wholeFingerprint(job, sum?.bytes());
  await drain();
  for (let step = await foreseen?.next(); step !== undefined && !step.done; step = await foreseen?.next()) {
    await put(step.value);
  }
  const rest = restOf(job, hostEnd, contentOf(job, fingerprint));
  await put(rest.tables);
  await put(rest.pieces);
  if (ahead !== undefined && stream?.hasPassed(rest.size)) {
    // Tables were foreseen where now data is.
    throw sourceChanged(files[0]?.source.name);
  }
  await stream?.writeUpTo(rest.size);
  return { hostEnd, size: rest.size, dataBytes, ...present({ stored: bits, fingerprint, digest: digest?.finish() }) };
}

function outputOf(sink: Sink, more: (offset: number) => Promise<void>): Out {
  switch (sink.kind) {
    case 'file':
      return fileOut(sink.fd, sink.name);
    case 'sequential':
      return new StreamOut(sink.to, sink.name, more);
    default:
      return nowhere;
  }
}

async function read(files: readonly DataFile[], map: BlockMap, offset: number, length: number): Promise<Uint8Array> {
  const memory = new Uint8Array(length);
  const log = new AllocationLog();
  const out = memoryOut(memory);
  const job = { files, map, start: offset, end: offset + length, layout: FLAT, out, options: {}, log };
  await move({ ...job, placed: async () => {} });
  return memory;
}

function* replay(layout: Layout, stored: Uint8Array): Generator<Allocation, number> {
  const log = new AllocationLog();
  const placer = new Placer(layout, log);
  for (const [at, byte] of stored.entries()) {
    for (let bit = 0; bit < 8; bit += 1) {
      if ((byte >> bit) & 1) {
        placer.plain(at * 8 + bit);
      }
    }
    if (log.count >= ENTRIES) {
      yield log.take();
    }
  }
  const hostEnd = placer.finish();
  if (log.count > 0) {
    yield log.take();
  }
  return hostEnd;
}
