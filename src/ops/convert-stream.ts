/** `convert` into a stream of the caller's: it takes bytes at its own speed, in order. */
import { escapeText, VdconvError } from '../base/errors.ts';
import { KiB } from '../base/units.ts';
import type { Engine } from '../engine/contract.ts';
import type { WritePlan } from '../formats/format.ts';
import { createSpool } from '../io/spool.ts';
import { unlessAborted } from './abort.ts';
import type { Chain } from './chain.ts';
import { copyJob, paceOf, type Written } from './copy-job.ts';
import { type Pieces, pieceStream } from './pieces.ts';
import { STREAM } from './stream-name.ts';
import type { ConvertOptions } from './types.ts';
import { Uses } from './uses.ts';

/** Throws `usage` where the stream cannot be written to. */
export function checkStream(target: WritableStream<Uint8Array>): void {
  if (!(target instanceof WritableStream)) {
    throw new VdconvError('usage', 'the target is neither a path nor a WritableStream', {
      hint: "Writable.toWeb makes one of a Node stream (import { Writable } from 'node:stream')",
    });
  }
  if (target.locked) {
    throw new VdconvError('usage', 'the target stream is locked: somebody else writes to it');
  }
}

export async function writeStream(
  engine: Engine,
  chain: Chain,
  plan: WritePlan,
  target: WritableStream<Uint8Array>,
  options: ConvertOptions,
): Promise<Written> {
  if (plan.siblings !== undefined && plan.siblings.length > 0) {
    const names = plan.siblings.map(({ name }) => escapeText(name)).join(', ');
    throw new VdconvError('usage', `such an image is several files (${names}): it cannot be written to a stream`);
  }
  return isDiskItself(plan, chain.virtualSize)
    ? writeDisk(engine, chain, target, options)
    : writeSpooled(engine, chain, plan, target, options);
}

/** Whether the output is the guest's bytes and nothing else (raw). */
function isDiskItself(plan: WritePlan, virtualSize: number): boolean {
  const { kind, dataStart } = plan.layout;
  if (kind !== 'flat' || dataStart !== 0 || plan.virtualSize !== virtualSize) {
    return false;
  }
  const { pieces, size } = plan.writer().finish(virtualSize);
  return pieces.length === 0 && size === virtualSize;
}

async function writeDisk(
  engine: Engine,
  chain: Chain,
  target: WritableStream<Uint8Array>,
  options: ConvertOptions,
): Promise<Written> {
  const { virtualSize: size } = chain;
  const pace = paceOf(options);
  const granularity = options.zeroGranularity || 4 * KiB;
  let dataBytes = 0;
  const read = async (offset: number, length: number) => {
    const bytes = await chain.read(engine, offset, length, pace?.map(chain.extents(offset, offset + length)));
    dataBytes += countData(bytes, granularity);
    options.onProgress?.({ done: offset + length, total: size });
    return bytes;
  };
  await pipe({ start: 0, end: size, read, finish: () => chain.assertUnchanged() }, target, options.signal);
  return { size, dataBytes, allocatedSize: null };
}

function countData(bytes: Uint8Array, granularity: number): number {
  const zeros = new Uint8Array(granularity);
  let count = 0;
  for (let at = 0; at < bytes.length; at += granularity) {
    const unit = bytes.subarray(at, at + granularity);
    count += Buffer.compare(unit, zeros.subarray(0, unit.length)) === 0 ? 0 : unit.length;
  }
  return count;
}

/** Other formats write what they learn last at the front: the whole image is made in a temporary file first. */
async function writeSpooled(
  engine: Engine,
  chain: Chain,
  plan: WritePlan,
  target: WritableStream<Uint8Array>,
  options: ConvertOptions,
): Promise<Written> {
  const { signal, onProgress } = options;
  const total = plan.virtualSize;
  const half = onProgress && (({ done }: { done: number }) => onProgress({ done: Math.floor(done / 2), total }));
  const spool = createSpool(options.spool);
  const uses = new Uses(STREAM);
  try {
    const job = copyJob(chain, plan, plan, { ...options, onProgress: half });
    const { size, dataBytes } = await engine.copy({ ...job, sink: { kind: 'file', fd: spool.fd, name: spool.name } });
    await chain.assertUnchanged();
    spool.truncate(size);
    const read = async (offset: number, length: number) => {
      const bytes = await uses.run(() => spool.read(offset, length));
      onProgress?.({ done: Math.floor((total + ((offset + length) / size) * total) / 2), total });
      return bytes;
    };
    await pipe({ start: 0, end: size, read }, target, signal);
    return { size, dataBytes, allocatedSize: null };
  } finally {
    await uses.close();
    spool.close();
  }
}

/** Closes the target at the end, aborts it on failure. Nobody waits for a target that takes nothing after an abort. */
async function pipe(pieces: Pieces, target: WritableStream<Uint8Array>, signal?: AbortSignal): Promise<void> {
  const stream = pieceStream(pieces, signal);
  try {
    await unlessAborted(signal, stream.pipeTo(target, signal === undefined ? {} : { signal }));
  } catch (cause) {
    throw cause instanceof VdconvError ? cause : streamError(cause);
  }
}

function streamError(cause: unknown): VdconvError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new VdconvError('write', `the target stream failed: ${why}`, { file: STREAM, cause });
}
