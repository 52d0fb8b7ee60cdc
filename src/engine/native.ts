/** The native engine: drives the Rust addon. The only file that names it. */
import { createRequire } from 'node:module';
import { getSystemErrorName } from 'node:util';
import { MiB } from '../base/units.ts';
import type { DataFile } from '../map/data-file.ts';
import type { BlockMap } from '../map/extents.ts';
import { FLAT } from '../map/flat.ts';
import type { Allocation, Layout, Piece } from '../map/layout.ts';
import type { Addon, JobConfig, NativeJob } from './addon.ts';
import { partsOf } from './allocation-parts.ts';
import { contentOf, keepsBits, present, wholeFingerprint } from './content.ts';
import type { CopyJob, CopyOptions, CopyResult, Engine, Sink } from './contract.ts';
import { Drive, failureToError } from './drive.ts';
import { compareNatively } from './native-compare.ts';
import { filesConfig, pushBatches, refusedIsInternal, serveReads } from './native-work.ts';
import { restOf } from './rest.ts';

/** Loads the addon; throws what `require` throws where it is not built for this machine. */
export function nativeEngine(): Engine {
  const addon = createRequire(import.meta.url)('../../native/dist/vdconv.node') as Addon;
  return {
    name: 'native',
    copy: (job) => copy(addon, job),
    read: (files, map, offset, length) => read(addon, files, map, offset, length),
    compare: (a, b, size, options) => compareNatively(addon, a, b, size, options),
    replay: (layout, stored) => replay(addon, layout, stored),
    allocate: (fd, size) => addon.allocate(fd, size),
    dataRuns: (fd, start, end, max) => addon.dataRuns(fd, start, end, max) ?? undefined,
    openBeneath: (root, path) => descriptorFrom(addon.openBeneath(root, path)),
    lockForReading: (fd) => addon.lockForReading(fd),
    deviceSize: (fd) => addon.deviceSize(fd),
  };
}

/** Throws for -errno. */
function descriptorFrom(fd: number | null): number | undefined {
  if (fd !== null && fd < 0) {
    const code = getSystemErrorName(fd);
    throw Object.assign(new Error(code), { code });
  }
  return fd ?? undefined;
}

async function copy(addon: Addon, job: CopyJob): Promise<CopyResult> {
  const { sink, writer, options, rangeStart = 0 } = job;
  const native = newJob(addon, {
    ...commonConfig(addon, job.files, options),
    mapStart: rangeStart,
    mapEnd: rangeStart + job.virtualSize,
    layout: job.layout,
    sink: sink.kind,
    ...descriptorOf(sink),
    logging: writer !== undefined,
    scan: keepsBits(job),
    fingerprint: job.fingerprint === true,
    ...(job.digest === undefined ? {} : { digest: job.digest.blockSize }),
  });
  try {
    return await runCopy(native, job);
  } finally {
    native.close();
  }
}

function descriptorOf(sink: Sink): Pick<JobConfig, 'sinkFd'> {
  if (sink.kind === 'file') {
    return { sinkFd: sink.fd };
  }
  return sink.kind === 'sequential' && 'fd' in sink.to ? { sinkFd: sink.to.fd } : {};
}

async function runCopy(native: NativeJob, job: CopyJob): Promise<CopyResult> {
  const { files, map, virtualSize, sink, writer, options } = job;
  const sequential = sink.kind === 'sequential' ? sink : undefined;
  const ahead = sequential?.ahead;
  const name = sink.kind === 'scan' ? '' : sink.name;
  const put = (pieces: Iterable<Piece>) => putPieces(native, pieces, name);
  const drive = new Drive(native, files, name);
  if (sequential !== undefined) {
    put(sequential.front);
  }
  let delivered: Promise<void> | undefined;
  const helpers = (cancel: (why: unknown) => void): Promise<void>[] => {
    if (sequential !== undefined && 'write' in sequential.to) {
      // Goes on when the job has run: what `end` writes is delivered too.
      delivered = deliver(native, sequential.to).catch(cancel);
    }
    const started = [pushMap(native, map), serveReads(native, files, cancel)];
    if (ahead !== undefined) {
      started.push(putAhead(native, ahead.pieces, put));
    }
    if (writer !== undefined) {
      started.push(takeAllocations(native, (part) => put(writer.add(part))));
    }
    return started;
  };
  return drive.run(options, virtualSize, helpers, async ({ hostEnd, dataBytes, stored, ...ran }, check) => {
    const fingerprint = wholeFingerprint(job, ran.fingerprint);
    const rest = restOf(job, hostEnd, contentOf(job, fingerprint));
    put(rest.tables);
    put(rest.pieces);
    if (sequential !== undefined) {
      check(await native.writeUpTo(rest.size));
      native.bytesComplete();
      await delivered;
    }
    return { hostEnd, size: rest.size, dataBytes, ...present({ stored, fingerprint, digest: ran.digest }) };
  });
}

async function read(
  addon: Addon,
  files: readonly DataFile[],
  map: BlockMap,
  offset: number,
  length: number,
): Promise<Uint8Array> {
  const native = newJob(addon, {
    ...commonConfig(addon, files, {}),
    mapStart: offset,
    mapEnd: offset + length,
    layout: FLAT,
    sink: 'memory',
    logging: false,
    scan: false,
    fingerprint: false,
  });
  const helpers = (cancel: (why: unknown) => void) => [pushMap(native, map), serveReads(native, files, cancel)];
  try {
    return await new Drive(native, files, '').run({}, length, helpers, async () => native.takeMemory());
  } finally {
    native.close();
  }
}

function* replay(addon: Addon, layout: Layout, stored: Uint8Array): ReturnType<Engine['replay']> {
  const native = new addon.Replay(layout, stored);
  for (let entries = native.next(); entries !== null; entries = native.next()) {
    yield entries;
  }
  return native.hostEnd ?? 0;
}

type Common = Pick<JobConfig, 'files' | 'threads' | 'chunkBytes' | 'zeroGranularity' | 'jitterMicros'>;

function commonConfig(addon: Addon, files: readonly DataFile[], options: CopyOptions): Common {
  return {
    files: filesConfig(files),
    threads: options.threads ?? addon.cpus(),
    chunkBytes: options.chunkBytes ?? MiB,
    zeroGranularity: options.zeroGranularity ?? 4096,
    jitterMicros: options.testJitter ?? 0,
  };
}

function newJob(addon: Addon, config: JobConfig): NativeJob {
  return refusedIsInternal(() => new addon.CopyJob(config));
}

async function* filled(map: BlockMap): BlockMap {
  for await (const batch of map) {
    if (batch.count > 0) {
      yield batch;
    }
  }
}

function pushMap(native: NativeJob, map: BlockMap): Promise<void> {
  return pushBatches(native, filled(map), (batch) => native.push(batch));
}

async function deliver(native: NativeJob, to: { write(bytes: Uint8Array): Promise<void> }): Promise<void> {
  for (let bytes = await native.takeBytes(); bytes !== null; bytes = await native.takeBytes()) {
    await to.write(bytes);
  }
}

async function takeAllocations(native: NativeJob, take: (part: Allocation) => void): Promise<void> {
  for (let entries = await native.allocations(); entries !== null; entries = await native.allocations()) {
    for (const part of partsOf(entries)) {
      take(part);
    }
  }
}

async function putAhead(
  native: NativeJob,
  ahead: AsyncIterable<readonly Piece[]>,
  put: (pieces: readonly Piece[]) => void,
): Promise<void> {
  for await (const pieces of ahead) {
    put(pieces);
    if (!(await native.piecesRoom())) {
      return;
    }
  }
  native.piecesComplete();
}

function putPieces(native: NativeJob, pieces: Iterable<Piece>, target: string): void {
  for (const { offset, bytes } of pieces) {
    const failure = native.putPiece(offset, bytes);
    if (failure) {
      throw failureToError(failure, [], target);
    }
  }
}
