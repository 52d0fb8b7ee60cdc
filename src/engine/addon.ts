/** What the native addon exports (native/addon/src), in the addon's own terms. Only native.ts uses it. */
import type { ExtentBatch } from '../map/extents.ts';
import type { Allocation, Layout } from '../map/layout.ts';

export interface Addon {
  CopyJob: new (config: JobConfig) => NativeJob;
  CompareJob: new (config: CompareConfig) => NativeComparison;
  Replay: new (layout: Layout, stored: Uint8Array) => NativeReplay;
  dataRuns(fd: number, start: number, end: number, max: number): Float64Array | null;
  /** Throws what the system says, except where it cannot: then false. */
  allocate(fd: number, size: number): boolean;
  /** The descriptor or -errno; null where the kernel cannot. */
  openBeneath(root: string, path: string): number | null;
  lockForReading(fd: number): boolean;
  deviceSize(fd: number): number;
  cpus(): number;
}

export interface JobConfig {
  files: { fd?: number; size: number; codec?: { name: string; unit: number; framing: string } }[];
  mapStart: number;
  mapEnd: number;
  layout: Layout;
  sink: 'file' | 'sequential' | 'scan' | 'memory';
  /** `sequential` without one: `takeBytes` gives the bytes. */
  sinkFd?: number;
  logging: boolean;
  /** Note which blocks are stored. */
  scan: boolean;
  fingerprint: boolean;
  /** Bytes of a digest's blocks, 0 for the bytes in order. */
  digest?: number;
  threads: number;
  chunkBytes: number;
  zeroGranularity: number;
  jitterMicros: number;
}

export interface Failure {
  code: string;
  message: string;
  file?: number;
  offset?: number;
  errno?: number;
}

export interface Ran {
  failure?: Failure;
  hostEnd: number;
  dataBytes: number;
  stored?: Uint8Array;
  fingerprint?: Uint8Array;
  digest?: Uint8Array;
}

export interface ReadRequest {
  id: number;
  file: number;
  offset: number;
  length: number;
}

export interface CompareConfig {
  files: JobConfig['files'];
  size: number;
  block?: number;
  threads: number;
  chunkBytes: number;
}

export interface Compared {
  failure?: Failure;
  firstDifference?: number;
  differs?: Uint8Array;
  bytesRead: number;
}

/** What jobs of any kind have in common. */
export interface NativeWork<R> {
  run(): Promise<R>;
  room(): Promise<boolean>;
  end(): void;
  request(): Promise<ReadRequest | null>;
  supply(id: number, bytes: Uint8Array): void;
  refuse(id: number, why: string): void;
  cancel(): void;
  /** Lets go of the files; only `supply`, `refuse` and `cancel` may follow. */
  close(): void;
  readonly done: number;
}

export interface NativeComparison extends NativeWork<Compared> {
  push(a: ExtentBatch, b: ExtentBatch): void;
}

export interface NativeJob extends NativeWork<Ran> {
  push(batch: ExtentBatch): void;
  allocations(): Promise<Allocation | null>;
  putPiece(offset: number, bytes: Uint8Array): Failure | null;
  piecesRoom(): Promise<boolean>;
  piecesComplete(): void;
  writeUpTo(end: number): Promise<Failure | null>;
  takeBytes(): Promise<Uint8Array | null>;
  bytesComplete(): void;
  takeMemory(): Uint8Array;
}

export interface NativeReplay {
  next(): Allocation | null;
  readonly hostEnd: number | null;
}
