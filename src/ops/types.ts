/** What the operations take and return: the shapes that the library exports and the command line prints. */
import type { Reference } from '../io/types.ts';

export interface OpenOptions {
  /** Source format; default: by content. `raw` is never probed further when it is said here. */
  format?: string | undefined;
  /**
   * Follow references to other files beneath these directories (`true`: the image's own directory). Default: refuse.
   */
  allowReferences?: boolean | readonly string[] | undefined;
  signal?: AbortSignal | undefined;
}

/** An opened image with its whole chain of layers. Close it. */
export interface DiskImage {
  readonly filename: string;
  readonly format: string;
  /** Bytes that the guest sees. */
  readonly virtualSize: number;
  readonly info: ImageInfo;
  /** The guest's bytes at [offset, offset + length). Throws `usage` outside the disk. */
  read(offset: number, length: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** `vdconv info --output=json` prints exactly this. */
export interface ImageInfo {
  filename: string;
  format: string;
  subformat: string;
  /** Bytes. */
  virtualSize: number;
  /** Bytes of the file by its length. */
  fileSize: number;
  /** Bytes that the file takes on disk; null where the system does not tell. */
  allocatedSize: number | null;
  /** Bytes of the unit of allocation; 0: none. */
  blockSize: number;
  references: (Pick<Reference, 'kind' | 'name'> & { format?: string; resolved?: string })[];
  snapshots: { id: string; name: string; virtualSize?: number }[];
  encrypted: boolean;
  compressed: boolean;
  dirty: boolean;
  /** One sentence each, for people. */
  warnings: string[];
  /** The format's own fields. */
  details: Record<string, unknown>;
}

export interface ConvertOptions extends OpenOptions {
  /** Target format; default: by the target's file name ending. */
  targetFormat?: string | undefined;
  /** `-o`: the target format's own options; sizes may be text such as `64k`. */
  targetOptions?: Readonly<Record<string, string | number | boolean>> | undefined;
  compress?: boolean | undefined;
  /** 1 to 9. */
  compressLevel?: number | undefined;
  /** Aligned runs of zeros this long are left out; 0 stores every byte; power of two of at least 512. Default 4096. */
  zeroGranularity?: number | undefined;
  threads?: number | undefined;
  /** Replace an existing target (at the very end, by rename). */
  force?: boolean | undefined;
  /** Skip fsync of data and directory. */
  noSync?: boolean | undefined;
  onProgress?: ((progress: Progress) => void) | undefined;
}

export interface Progress {
  /** Guest bytes done, holes included, and in all. */
  done: number;
  total: number;
}

export interface ConvertResult {
  source: { filename: string; format: string; virtualSize: number };
  target: { filename: string; format: string; virtualSize: number; fileSize: number; allocatedSize: number | null };
  /** Guest bytes that held data. */
  dataBytes: number;
  /** What the user should know: padding, snapshots not carried; one sentence each. */
  notes: string[];
  engine: 'native' | 'portable';
  seconds: number;
}

/** What `formats` lists, for help texts and documents. */
export interface FormatSummary {
  name: string;
  aliases: readonly string[];
  title: string;
  extensions: readonly string[];
  writes: boolean;
  compresses: boolean;
  options: readonly {
    key: string;
    type: string;
    choices?: readonly string[];
    default: string | number | boolean;
    help: string;
  }[];
}
