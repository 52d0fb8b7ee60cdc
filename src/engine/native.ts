/** The native engine: drives the Rust addon. The only file that names it. */
import { createRequire } from 'node:module';
import { type ErrorCode, VdconvError } from '../base/errors.ts';
import { MiB } from '../base/units.ts';
import type { DataFile } from '../map/data-file.ts';
import type { BlockMap } from '../map/extents.ts';
import type { Layout, Piece } from '../map/layout.ts';
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
  const native = new addon.CopyJob({
    ...commonConfig(addon, job.files, options),
    mapStart: 0,
    mapEnd: job.virtualSize,
    layout: job.layout,
    sink: sink.kind,
    ...(sink.kind === 'scan' ? {} : { sinkFd: sink.fd }),
    logging: writer !== undefined && sequential?.ahead === undefined,
  });
  const name = sink.kind === 'scan' ? '' : sink.name;
  const put = (pieces: readonly Piece[]) => putPieces(native, pieces, name);
  const drive = new Drive(native, job.files, name);
  if (sequential !== undefined) {
    put(sequential.front);
    drive.check(await native.writeUpTo(job.layout.dataStart));
  }
  const result = await drive.run(options, job.virtualSize, [
    pushMap(native, job.map),
    serveReads(native, job.files),
    ...(sequential?.ahead === undefined ? [] : [putAhead(sequential.ahead, put)]),
    ...(writer === undefined || sequential?.ahead !== undefined
      ? []
      : [takeAllocations(native, (a) => put(writer.add(a)))]),
  ]);
  const { hostEnd, dataBytes, stored } = result;
  if (stored !== undefined) {
    return { hostEnd, size: hostEnd, dataBytes, stored };
  }
  const rest = writer?.finish(hostEnd) ?? { pieces: [], size: hostEnd };
  put(sequential === undefined ? rest.pieces : rest.pieces.filter((p) => p.offset >= job.layout.dataStart));
  if (sequential !== undefined) {
    drive.check(await native.writeUpTo(rest.size));
  }
  return { hostEnd, size: rest.size, dataBytes };
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

async function takeAllocations(
  native: NativeJob,
  take: (a: Parameters<NonNullable<CopyJob['writer']>['add']>[0]) => void,
) {
  for (let entries = await native.allocations(); entries !== null; entries = await native.allocations()) {
    take(entries);
  }
}

async function putAhead(ahead: AsyncIterable<readonly Piece[]>, put: (pieces: readonly Piece[]) => void) {
  for await (const pieces of ahead) {
    put(pieces);
  }
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
  const { code, file, offset } = failure;
  const source = file === undefined ? undefined : files[file]?.source;
  const what = failure.message.replace(/ \(os error \d+\)$/, '');
  if (code === 'write') {
    return new VdconvError('write', `cannot be written: ${lowerFirst(what)}`, { file: target, offset });
  }
  const where = code === 'corrupt' && offset !== undefined ? ` (stored at offset ${offset})` : '';
  const read = code === 'read' ? 'cannot be read: ' : '';
  return new VdconvError(code as ErrorCode, `${read}${code === 'read' ? lowerFirst(what) : what}${where}`, {
    file: source?.name,
    offset,
  });
}

function lowerFirst(text: string): string {
  return text.slice(0, 1).toLowerCase() + text.slice(1);
}
