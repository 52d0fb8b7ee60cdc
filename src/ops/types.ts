/** What the operations take and return: the shapes that the library exports and the command line prints. */

import type { Limits } from '../base/limits.ts';
import type { CheckedImage, Finding } from '../formats/check.ts';
import type { DiskMetadata } from '../formats/metadata.ts';
import type { Reference } from '../io/types.ts';

/** An open descriptor: a pipe, a socket or a file that is read or written from where it stands. 0 and 1 are the process's own. */
export interface Descriptor {
  fd: number;
}

/** An image: a path, or bytes that come once and in order, which are read to the end and closed. */
export type ImageSource = string | Descriptor | ReadableStream<Uint8Array>;

/** How an image is to be opened. */
export interface OpenOptions {
  /**
   * Source format; default: by content. `raw` is never probed further when it is said here; a compressed file is then
   * decompressed only where its name ends so (.gz, .xz, .zst, .bz2).
   */
  format?: string | undefined;
  /**
   * Follow references to other files beneath these directories (`true`: the image's own directory). Default: refuse.
   */
  allowReferences?: boolean | readonly string[] | undefined;
  /** Read a block device. References never lead to one. Default: `refused`. */
  allowDevice?: boolean | undefined;
  /** Read images that another program may be writing to. Default: `locked`, where the native engine runs. */
  forceShare?: boolean | undefined;
  /**
   * Read an internal snapshot instead of the current state: its id or name, or, where these are not unique,
   * `snapshot.id=ID,snapshot.name=NAME` (either may be left out). The disk has the size it had then.
   */
  snapshot?: string | undefined;
  /** What the image may be at most, where it is not to be {@link Limits}' default; beyond it: `limit`. */
  limits?: Partial<Limits> | undefined;
  /** Connections to a server that the image comes from. Default 4. */
  connections?: number | undefined;
  /** Bytes of a raw disk that comes as a stream: then it needs no temporary file. */
  size?: number | undefined;
  /**
   * Directory for temporary files: a file compressed with gzip, xz, zstd or bzip2 is decompressed to one (its zeros take no
   * room), and some streams need one. Default: the system's. Where it is said, a source that is a stream is always kept
   * in one.
   */
  spool?: string | undefined;
  /** Ends the operation with VdconvError `aborted`. */
  signal?: AbortSignal | undefined;
}

/** A part of the virtual disk, in bytes: [start, end). Default: all of it. */
export interface RangeOptions {
  start?: number | undefined;
  end?: number | undefined;
  /** Ends the loop or the stream with VdconvError `aborted`. */
  signal?: AbortSignal | undefined;
}

/** An opened image with its whole chain of layers. Close it. */
export interface DiskImage {
  readonly filename: string;
  readonly format: string;
  /** Bytes that the guest sees. */
  readonly virtualSize: number;
  readonly info: ImageInfo;
  /**
   * The guest's bytes at [offset, offset + length), all in memory. Throws `usage` outside the disk and after the close,
   * `read`, `truncated` or `corrupt` where the image does not give them, `aborted`.
   */
  read(offset: number, length: number, options?: { signal?: AbortSignal | undefined }): Promise<Uint8Array>;
  /** What `map` gives, of one range: borders cut extents. Throws `usage` outside the disk, else as {@link read}. */
  extents(range?: RangeOptions): AsyncGenerator<MapEntry, void, undefined>;
  /**
   * The guest's bytes as a byte stream, in pieces of a few MiB. Back-pressure holds: a piece is read when the one before
   * was taken, none is read ahead. Errors as {@link read} does, and with `changed` at its end where the image changed
   * meanwhile. Close the image after the stream has ended or was cancelled.
   */
  stream(range?: RangeOptions): ReadableStream<Uint8Array>;
  /** Waits for reads that are under way; may be called again. */
  close(): Promise<void>;
}

/**
 * One extent of a virtual disk, as `vdconv map --output=json` prints it. To rebuild the disk: `data` is `length` bytes of
 * `file` at `offset`; `compressed` is one unit, of which bytes [skip, skip + length) of the decoded content are meant;
 * the other two kinds are zeros.
 */
export interface MapEntry {
  /** Guest offset and length in bytes: each entry begins where the one before ended. */
  start: number;
  length: number;
  /** `zero`: some layer says zeros. `unallocated`: no layer says anything. Both read as zeros. */
  kind: 'data' | 'compressed' | 'zero' | 'unallocated';
  /** The layer that decides, 0 at the top. For `unallocated` the lowest one, also where it is shorter than the disk. */
  depth: number;
  /** `data`, `compressed`: the file that holds the bytes, which may be a layer's or an extent file. */
  file?: string;
  /**
   * `data`: of the first byte in the file. `compressed`: of the stored unit, framing included. In what the file decompresses
   * to where it is `wrapped` ({@link ImageInfo}).
   */
  offset?: number;
  /**
   * `compressed`: the unit takes at most so many bytes from `offset`. A bound where the format does not record the
   * length: the codec ends its stream, with `grain-marker` the marker says the length, and the file may end before.
   */
  storedLength?: number;
  /** `compressed`: decoded bytes before `start`; not 0 where a layer above hides the beginning of the unit. */
  skip?: number;
  /** `compressed`: RFC 1951, RFC 1950 or RFC 8878. */
  codec?: 'deflate' | 'zlib' | 'zstd';
  /** `compressed`: `grain-marker` is VMDK's 12 bytes before the stream (u64 sector, u32 length of the stream, both LE). */
  framing?: 'none' | 'grain-marker';
}

/** What {@link compare} is to do. */
export interface CompareOptions {
  /** Formats; default: by content. */
  formatA?: string | undefined;
  formatB?: string | undefined;
  /** Sizes that differ are a difference; default: the rest of the longer disk must be zeros. Allocation is not compared. */
  strict?: boolean | undefined;
  /** As in {@link OpenOptions}; a list holds for both images, `true` means for each its own directory. */
  allowReferences?: OpenOptions['allowReferences'];
  /** As in {@link OpenOptions}, for both images. */
  allowDevice?: boolean | undefined;
  forceShare?: boolean | undefined;
  limits?: Partial<Limits> | undefined;
  spool?: string | undefined;
  /** As in {@link ConvertOptions}, for either image. */
  maxOutput?: number | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: Progress) => void) | undefined;
}

export interface ComparedImage {
  filename: string;
  format: string;
  virtualSize: number;
}

/** `vdconv compare --output=json` prints exactly this. */
export interface CompareResult {
  identical: boolean;
  /** Guest offset of the first byte that differs. Absent: none does (with `strict`, the sizes may). */
  firstDifference?: number;
  /** Guest bytes read, both images together: less than the sizes where maps tell of zeros. */
  bytesRead: number;
  a: ComparedImage;
  b: ComparedImage;
  seconds: number;
}

/** What {@link check} is to do. */
export interface CheckOptions extends Omit<OpenOptions, 'snapshot'> {
  /** Of the file's bytes, by the part of its tables that was looked at. */
  onProgress?: ((progress: Progress) => void) | undefined;
}

/** What {@link check} found. `vdconv check --output=json` prints this under the names that `qemu-img check` uses. */
export interface CheckResult extends CheckedImage {
  filename: string;
  format: string;
  /** Broken rules, and units that are counted as used and are not. All are counted, whatever {@link findings} holds. */
  corruptions: number;
  leaks: number;
  /** Things that could not be judged, because what they depend on is damaged. */
  checkErrors: number;
  /** Damage kept the check from seeing all of the image. */
  incomplete: boolean;
  /** The first 1000, in the order in which they were found. */
  findings: Finding[];
  /** Findings that are not in the list. */
  omitted: number;
  seconds: number;
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
  /** What the file is compressed with as a whole; then also the bytes that it decompresses to, which are the image. */
  wrapped?: 'gzip' | 'xz' | 'zstd' | 'bzip2';
  unwrappedSize?: number;
  /** Bytes of the unit of allocation; 0: none. */
  blockSize: number;
  references: (Pick<Reference, 'kind' | 'name'> & { format?: string; resolved?: string })[];
  /** `time`: when it was taken, in seconds since 1970. */
  snapshots: { id: string; name: string; time?: number; virtualSize?: number }[];
  encrypted: boolean;
  /** The format as such stores its data compressed. QCOW2 decides it cluster by cluster: false, `map` tells. */
  compressed: boolean;
  dirty: boolean;
  /** Dirty bitmaps for incremental backups; bytes a bit. */
  bitmaps: { name: string; granularity: number; enabled: boolean }[];
  /** What the image says of the disk besides its bytes, in the same words for all formats. */
  metadata: DiskMetadata;
  /** One sentence each, for people. */
  warnings: string[];
  /** The format's own fields. */
  details: Record<string, unknown>;
}

/** What an image that is made is to be: of `convert`, `measure` and `create` alike. */
export interface TargetOptions {
  /** Target format; default: by the target's file name ending. A stream has no name: there it must be said. */
  targetFormat?: string | undefined;
  /** `-o`: the target format's own options; sizes may be text such as `64k`. */
  targetOptions?: Readonly<Record<string, string | number | boolean>> | undefined;
  compress?: boolean | undefined;
  /** 1 to 9. */
  compressLevel?: number | undefined;
  /** The output is a layer over this image: only blocks that differ from it are stored. */
  base?: string | undefined;
  /** The base's format, which the output then names too; default: by content. */
  baseFormat?: string | undefined;
  /** Ids (UUIDs, content ids) are random; default: they follow from content and options. */
  randomIds?: boolean | undefined;
  /** Replace an existing target (at the very end, by rename). */
  force?: boolean | undefined;
  /** Skip fsync of data and directory. */
  noSync?: boolean | undefined;
}

/** What {@link convert} is to do. */
export interface ConvertOptions extends OpenOptions, TargetOptions {
  /** Aligned runs of zeros this long are left out; 0 stores every byte; power of two of at least 512. Default 4096. */
  zeroGranularity?: number | undefined;
  threads?: number | undefined;
  /** Guest bytes per second that are read and written, on average; zeros are free. At least 1024. Default: no limit. */
  rate?: number | undefined;
  /**
   * Convert what is there: what is missing or damaged is zeros in the target and in the result's `salvaged`. All data is
   * read twice. Fails all the same where nothing can be read.
   */
  salvage?: boolean | undefined;
  /**
   * Guest bytes of data that are read at most, and bytes that a compressed file is decompressed to; beyond it: `limit`.
   * 0: any number. Default: 1000 times the bytes of the image's files and 1 GiB.
   */
  maxOutput?: number | undefined;
  /** The new image's disk is hashed while it is written: an algorithm of {@link DigestOptions}. */
  digest?: string | undefined;
  onProgress?: ((progress: Progress) => void) | undefined;
}

/** What {@link digest} is to make. */
export interface DigestOptions extends OpenOptions {
  /** `blkhash-sha256/64k` (default) or with any other power of two from 512 to 16M; `sha256`. */
  algorithm?: string | undefined;
  threads?: number | undefined;
  /** As in {@link ConvertOptions}. */
  maxOutput?: number | undefined;
  onProgress?: ((progress: Progress) => void) | undefined;
}

/** `vdconv digest --output=json` prints exactly this. */
export interface DigestResult {
  filename: string;
  format: string;
  virtualSize: number;
  algorithm: string;
  /** Hexadecimal. */
  digest: string;
  seconds: number;
}

/** What {@link create} is to make. */
export interface CreateOptions
  extends TargetOptions,
    Pick<OpenOptions, 'allowReferences' | 'allowDevice' | 'forceShare' | 'signal'> {
  /** Bytes that the guest sees; default: the base's. */
  size?: number | undefined;
}

/** What {@link measure} is to foresee. */
export interface MeasureOptions extends ConvertOptions {
  /** From metadata alone, without reading guest data: an upper bound. */
  fast?: boolean | undefined;
  /** Bytes of an empty disk, where there is no source. */
  size?: number | undefined;
}

/** `vdconv measure --output=json` prints these two under qemu-img's names, `required` and `fully-allocated`. */
export interface Measurement {
  /** Bytes that the output's files will have together. */
  required: number;
  /** Bytes that they would have if every byte of the disk were data. */
  fullyAllocated: number;
  /** `required` is what `convert` will produce, to the byte; false: no more than this. */
  exact: boolean;
}

export interface Progress {
  /** Guest bytes done, holes included, and in all. */
  done: number;
  total: number;
}

/** Guest bytes that could not be read and are zeros in the target. */
export interface SalvagedRange {
  start: number;
  length: number;
  /** Of the first of them, one sentence. */
  why: string;
}

/** What a conversion did. */
export interface ConvertResult {
  source: { filename: string; format: string; virtualSize: number };
  /** `filename` is `-` for a stream; sizes are bytes. */
  target: {
    filename: string;
    format: string;
    virtualSize: number;
    /** Of all files of the image together. */
    fileSize: number;
    allocatedSize: number | null;
    /** The image's other files: flat and split extents, a data file. */
    siblings: string[];
  };
  /** What the source says of the disk besides its bytes and the target has no place for, in words. */
  dropped: string[];
  /** Guest bytes that held data. */
  dataBytes: number;
  /** With `digest`: what {@link digest} gives for the new image. */
  digest?: { algorithm: string; digest: string };
  /** With `salvage`: what is missing, in order. Empty: nothing is. */
  salvaged: SalvagedRange[];
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
  checks: boolean;
  options: readonly {
    key: string;
    type: string;
    choices?: readonly string[];
    default: string | number | boolean;
    help: string;
  }[];
}
