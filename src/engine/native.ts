/** The native engine: drives the Rust addon. The only file that names it. */
import { createRequire } from 'node:module';
import { getSystemErrorName } from 'node:util';
import { type ErrorCode, showNumber, VdconvError } from '../base/errors.ts';
import { MiB } from '../base/units.ts';
import { readError, writeError } from '../io/os-error.ts';
import type { DataFile } from '../map/data-file.ts';
import type { BlockMap } from '../map/extents.ts';
import type { Allocation, Layout, Piece } from '../map/layout.ts';
import type { Addon, Failure, JobConfig, NativeJob } from './addon.ts';
import type { CopyJob, CopyOptions, CopyResult, Engine } from './contract.ts';

const PROGRESS_MS = 100;

/** Loads the addon; throws what `require` throws where it is not built for this machine. */
export function nativeEngine(): Engine {
  const addon = createRequire(import.meta.url)('../../native/dist/vdconv.node') as Addon;
  return {
    name: 'native',
    copy: (job) => copy(addon, job),
    read: (files, map, offset, length) => read(addon, files, map, offset, length),
    replay: (layout, stored) => replay(addon, layout, stored),
    dataRuns: (fd, start, end, max) => addon.dataRuns(fd, start, end, max) ?? undefined,
  };
}

async function copy(addon: Addon, job: CopyJob): Promise<CopyResult> {
  const { sink, writer, options } = job;
  const sequential = sink.kind === 'sequential' ? sink : undefined;
  const ahead = sequential?.ahead;
  const native = new addon.CopyJob({
    ...commonConfig(addon, job.files, options),
    mapStart: 0,
    mapEnd: job.virtualSize,
    layout: job.layout,
    sink: sink.kind,
    ...(sink.kind === 'scan' ? {} : { sinkFd: sink.fd }),
    logging: writer !== undefined,
    scan: sink.kind === 'scan' || ahead !== undefined,
  });
  const name = sink.kind === 'scan' ? '' : sink.name;
  const put = (pieces: readonly Piece[]) => putPieces(native, pieces, name);
  const drive = new Drive(native, job.files, name);
  if (sequential !== undefined) {
    put(sequential.front);
    drive.check(await native.writeUpTo(job.layout.dataStart));
  }
  const helpers = [pushMap(native, job.map), serveReads(native, job.files)];
  if (ahead !== undefined) {
    helpers.push(putAhead(native, ahead.pieces, put));
  }
  if (writer !== undefined) {
    helpers.push(takeAllocations(native, (entries) => put(writer.add(entries))));
  }
  const { hostEnd, dataBytes, stored } = await drive.run(options, job.virtualSize, helpers);
  const rest = writer?.finish(hostEnd) ?? { pieces: [], size: ahead?.size ?? hostEnd };
  // A stream's front is out already.
  put(sequential === undefined ? rest.pieces : rest.pieces.filter((p) => p.offset >= job.layout.dataStart));
  if (sequential !== undefined) {
    drive.check(await native.writeUpTo(rest.size));
  }
  return { hostEnd, size: rest.size, dataBytes, ...(stored === undefined ? {} : { stored }) };
}

async function read(
  addon: Addon,
  files: readonly DataFile[],
  map: BlockMap,
  offset: number,
  length: number,
): Promise<Uint8Array> {
  const native = new addon.CopyJob({
    ...commonConfig(addon, files, {}),
    mapStart: offset,
    mapEnd: offset + length,
    layout: FLAT,
    sink: 'memory',
    logging: false,
    scan: false,
  });
  await new Drive(native, files, '').run({}, length, [pushMap(native, map), serveReads(native, files)]);
  return native.takeMemory();
}

function* replay(addon: Addon, layout: Layout, stored: Uint8Array): ReturnType<Engine['replay']> {
  const native = new addon.Replay(layout, stored);
  for (let entries = native.next(); entries !== null; entries = native.next()) {
    yield entries;
  }
  return native.hostEnd ?? 0;
}

/** Guest byte n at n: how a read fills memory. */
const FLAT: Layout = {
  kind: 'flat',
  dataStart: 0,
  blockSize: 4096,
  dataAlign: 1,
  dataPhase: 0,
  prefixBytes: 0,
  prefixFill: 0,
};

type Common = Pick<JobConfig, 'files' | 'threads' | 'chunkBytes' | 'zeroGranularity' | 'jitterMicros'>;

function commonConfig(addon: Addon, files: readonly DataFile[], options: CopyOptions): Common {
  return {
    files: files.map(({ source, codec }) => ({
      ...(source.fd === undefined ? {} : { fd: source.fd }),
      size: source.size,
      ...(codec === undefined ? {} : { codec }),
    })),
    threads: options.threads ?? addon.cpus(),
    chunkBytes: options.chunkBytes ?? MiB,
    zeroGranularity: options.zeroGranularity ?? 4096,
    jitterMicros: options.testJitter ?? 0,
  };
}

/** One running job: the first thing that fails, on either side, ends all of it and is what the caller sees. */
class Drive {
  readonly #native: NativeJob;
  readonly #files: readonly DataFile[];
  readonly #target: string;

  constructor(native: NativeJob, files: readonly DataFile[], target: string) {
    this.#native = native;
    this.#files = files;
    this.#target = target;
  }

  async run(options: CopyOptions, total: number, helpers: Promise<void>[]) {
    const native = this.#native;
    const { signal, onProgress } = options;
    let failed = false;
    let reason: unknown;
    const cancel = (why: unknown): void => {
      if (!failed) {
        failed = true;
        reason = why;
      }
      native.cancel();
    };
    const abort = (): void => cancel(new VdconvError('aborted', 'cancelled', { cause: signal?.reason }));
    const timer = onProgress && setInterval(() => onProgress(native.done, total), PROGRESS_MS);
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted) {
      abort();
    }
    try {
      const [result] = await Promise.all([native.run(), ...helpers.map((helper) => helper.catch(cancel))]);
      if (failed) {
        throw reason;
      }
      this.check(result.failure);
      onProgress?.(total, total);
      return result;
    } finally {
      clearInterval(timer);
      signal?.removeEventListener('abort', abort);
    }
  }

  check(failure: Failure | null | undefined): void {
    if (failure) {
      throw failureToError(failure, this.#files, this.#target);
    }
  }
}

async function pushMap(native: NativeJob, map: BlockMap): Promise<void> {
  for await (const batch of map) {
    if (batch.count > 0) {
      native.push(batch);
      if (!(await native.room())) {
        return;
      }
    }
  }
  native.end();
}

async function takeAllocations(native: NativeJob, take: (entries: Allocation) => void): Promise<void> {
  for (let entries = await native.allocations(); entries !== null; entries = await native.allocations()) {
    take(entries);
  }
}

async function putAhead(
  native: NativeJob,
  ahead: AsyncIterable<readonly Piece[]>,
  put: (pieces: readonly Piece[]) => void,
): Promise<void> {
  for await (const pieces of ahead) {
    put(pieces);
  }
  native.piecesComplete();
}

/** Answers the reads of sources without a descriptor; several may be under way, one a worker. */
async function serveReads(native: NativeJob, files: readonly DataFile[]): Promise<void> {
  if (files.every(({ source }) => source.fd !== undefined)) {
    return;
  }
  let failure: { error: unknown } | undefined;
  for (let ask = await native.request(); ask !== null; ask = await native.request()) {
    const { id, file, offset, length } = ask;
    const { source } = files[file] as DataFile;
    source.read(offset, length, 'guest data').then(
      (bytes) => native.supply(id, bytes),
      (error: unknown) => {
        failure ??= { error };
        native.refuse(id, String(error));
      },
    );
  }
  if (failure !== undefined) {
    throw failure.error;
  }
}

function putPieces(native: NativeJob, pieces: readonly Piece[], target: string): void {
  for (const { offset, bytes } of pieces) {
    const failure = native.putPiece(offset, bytes);
    if (failure) {
      throw failureToError(failure, [], target);
    }
  }
}

function failureToError(failure: Failure, files: readonly DataFile[], target: string): VdconvError {
  const { code, message, offset } = failure;
  const file = failure.file === undefined ? target : files[failure.file]?.source.name;
  const at = offset === undefined ? '' : ` at offset ${showNumber(offset)}`;
  if (failure.errno !== undefined) {
    const cause = Object.assign(new Error(message), { code: getSystemErrorName(-failure.errno) });
    return code === 'write'
      ? writeError(file ?? '', `write${at}`, cause, { offset })
      : readError(file ?? '', `read guest data${at}`, cause, { offset });
  }
  const where = code === 'corrupt' && offset !== undefined ? ` (stored${at})` : '';
  return new VdconvError(code as ErrorCode, `${message}${where}`, { file, offset });
}
