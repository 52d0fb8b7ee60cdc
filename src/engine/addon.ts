/** What the native addon exports (native/addon/src), in the addon's own terms. Only native.ts uses it. */
import type { ExtentBatch } from '../map/extents.ts';
import type { Allocation, Layout } from '../map/layout.ts';

export interface Addon {
  CopyJob: new (config: JobConfig) => NativeJob;
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
}

export interface ReadRequest {
  id: number;
  file: number;
  offset: number;
  length: number;
}

export interface NativeJob {
  run(): Promise<Ran>;
  push(batch: ExtentBatch): void;
  room(): Promise<boolean>;
  end(): void;
  allocations(): Promise<Allocation | null>;
  request(): Promise<ReadRequest | null>;
  supply(id: number, bytes: Uint8Array): void;
  refuse(id: number, why: string): void;
  putPiece(offset: number, bytes: Uint8Array): Failure | null;
  piecesRoom(): Promise<boolean>;
  piecesComplete(): void;
  writeUpTo(end: number): Promise<Failure | null>;
  takeBytes(): Promise<Uint8Array | null>;
  bytesComplete(): void;
  takeMemory(): Uint8Array;
  cancel(): void;
  /** Lets go of the files; only `supply`, `refuse` and `cancel` may follow. */
  close(): void;
  readonly done: number;
}

export interface NativeReplay {
  next(): Allocation | null;
  readonly hostEnd: number | null;
}
