/** The contract of a format: two small pure translations between bytes of metadata and the block map. */
import type { Limits } from '../base/limits.ts';
import type { ByteSource, Reference, ReferenceGate } from '../io/types.ts';
import type { DataFile } from '../map/data-file.ts';
import type { BlockMap } from '../map/extents.ts';
import type { Layout, Piece, Writer } from '../map/layout.ts';
import type { CheckContext, CheckedImage } from './check.ts';
import type { DiskMetadata, MetadataKey } from './metadata.ts';

export type { Writer } from '../map/layout.ts';

export interface Format {
  /** As -f and -O take it. */
  readonly name: string;
  readonly aliases: readonly string[];
  /** One line for the help text: what it is and who uses it. */
  readonly title: string;
  /** File name endings, without dot, that choose this format for an output. */
  readonly extensions: readonly string[];
  /**
   * Whether the bytes are this format. Pure. `true` says nothing about validity: a broken image of this format is a
   * `true` here and an error in {@link open}.
   */
  probe(sample: Sample): boolean;
  /** Reads the metadata that describes the image; tables are read later, piece by piece, by `extents`. */
  open(source: ByteSource, context: OpenContext): Promise<Image>;
  /** Whether images may hold internal snapshots ({@link OpenContext.snapshot}). */
  readonly hasSnapshots?: boolean;
  /** Whether an output can be a layer over another image ({@link WriteRequest.base}). */
  readonly layers?: boolean;
  /**
   * Looks at all metadata and goes on behind what is wrong, as far as that is possible. Errors mean that it was not:
   * `corrupt` and `truncated` are findings for the caller. Bounded in time and memory. Absent: there is nothing to check.
   */
  check?(source: ByteSource, context: CheckContext): Promise<CheckedImage>;
  /**
   * Whether an image that begins with these bytes can be read in one forward pass: no table that matters lies behind its
   * data. Where one turns out to, reading it fails and says so. Absent: never.
   */
  readsForward?(head: Uint8Array): boolean;
  /** What `-o` takes when this format is written. Empty for a format that is only read. */
  readonly options: readonly OptionSpec[];
  /** Whether `-c` is possible. */
  readonly compresses: boolean;
  /** Absent: the format is only read. Pure: same request, same plan. */
  plan?(request: WriteRequest): WritePlan;
}

/** The parts of a file that decide its format. */
export interface Sample {
  /** The first min(size, 64 KiB) bytes. */
  head: Uint8Array;
  /** The last min(size, 64 KiB) bytes. */
  tail: Uint8Array;
  size: number;
}

export interface OpenContext {
  /** The only way to another file. Most formats do not need it: a parent image is opened by the caller. */
  gate: ReferenceGate;
  /** Of descriptor and extents; the caller holds the image to the others. Absent: the default ones. */
  limits?: Limits | undefined;
  /**
   * Some of the image may be missing or damaged. What keeps guest bytes from being read then shows when the map comes to
   * them, if it can: a table that ends early is no reason not to open.
   */
  salvage?: boolean | undefined;
  /** The internal snapshot to read, by name or id, in place of the current state. Only where the format has them. */
  snapshot?: string | undefined;
}

/** One layer: an opened image, without its parents. */
export interface Image {
  readonly format: string;
  readonly subformat: string;
  /** Bytes that the guest sees. */
  readonly virtualSize: number;
  /** Bytes of the table of tables or blocks that the map is read from; absent: there is none. */
  readonly tableBytes?: number;
  /** What extents point into; index 0 is usually the image file itself. Closed by whoever opened the image. */
  readonly dataFiles: readonly DataFile[];
  /** The layer below, if any: `unallocated` extents show it. */
  readonly parent?: Reference;
  /** How this format's layers know each other; absent where they do not. */
  readonly lineage?: Lineage;
  /** What the image says of the disk besides its bytes; absent where the format has no place for anything. */
  readonly metadata?: DiskMetadata;
  /** Facts for `info`; nothing here steers a conversion. */
  readonly facts: ImageFacts;
  /**
   * The block map of [start, end), which lies within [0, virtualSize): ordered, gap-free, tiling the range exactly.
   * Throws `corrupt` or `truncated` naming table and offset.
   */
  extents(start: number, end: number): BlockMap;
}

/** Ids by which a child says which parent it was made over. Text, compared without case and leading zeros. */
export interface Lineage {
  /** The child's field, as its specification calls it. */
  field: string;
  own?: string;
  /** In a child: the parent's id is one of these. Without {@link Image.parent} nothing names the file that has it. */
  parents?: readonly string[];
  /** Where the id outlives writes to the image: what does not, and in a child what the parent had. */
  version?: { field: string; own?: string | undefined; parent?: string | undefined };
  /** In a child: when the parent's file was last changed, seconds since 1970; nobody relies on it alone. */
  parentChanged?: number;
}

export interface ImageFacts {
  /** Unit of allocation in bytes; 0 where there is none (raw). */
  blockSize: number;
  references: readonly Reference[];
  /** `time`: when it was taken, in seconds since 1970. */
  snapshots: readonly { id: string; name: string; time?: number; virtualSize?: number }[];
  /** Dirty bitmaps for incremental backups, where the format has them. Bytes a bit. */
  bitmaps?: readonly { name: string; granularity: number; enabled: boolean }[];
  encrypted: boolean;
  compressed: boolean;
  dirty: boolean;
  /** Things a user should know once, one sentence each (dirty bit, table copy used). */
  warnings: readonly string[];
  /** The format's own fields, JSON values, named as in its specification. */
  details: Readonly<Record<string, unknown>>;
}

export type OptionValue = number | string | boolean;

export interface OptionSpec {
  /** qemu-img's key where one exists. */
  key: string;
  /** A text is taken as it is; '' stands for not given. */
  type: 'size' | 'number' | 'flag' | 'choice' | 'text';
  choices?: readonly string[];
  default: OptionValue;
  /** For a size, number or text: throws `usage` with the legal values when it is not one of them. */
  check?(value: OptionValue): void;
  help: string;
}

export interface WriteRequest {
  /** Bytes of the source's virtual disk. */
  virtualSize: number;
  /** Every key of the format's options, defaults filled in. */
  options: Readonly<Record<string, OptionValue>>;
  /** The keys that the user set; a format may choose another default where -c asks for it. Absent: all of them. */
  given?: ReadonlySet<string>;
  compress: boolean;
  /** 1 to 9; undefined: the format's default. */
  level?: number | undefined;
  /** The target's file name without its directory; absent for a stream. */
  name?: string | undefined;
  /** What the source says of the disk besides its bytes. An option that the user gave goes before it. */
  metadata?: DiskMetadata | undefined;
  /** `-B`: the output is a layer over this image. Only where {@link Format.layers}. */
  base?: BaseImage | undefined;
  /** 16 random bytes, where ids are to be fresh and not to follow from the content. */
  randomId?: Uint8Array | undefined;
  /** Seconds since 1970 for what the format dates; absent: a fixed date. */
  time?: number | undefined;
}

/** The image that a new layer lies over. */
export interface BaseImage {
  /** The reference to write: a path, relative to the target's directory where the user's was relative. */
  name: string;
  /** Absolute path, for formats that keep one as well. */
  path: string;
  format: string;
  virtualSize: number;
  lineage?: Lineage | undefined;
  metadata: DiskMetadata;
  /** Seconds since 1970 of the file's last change. */
  changed: number;
  facts: ImageFacts;
}

/** One file of an output: one copy over a part of the disk. */
export interface PlanFile {
  layout: Layout;
  /** The guest bytes that it holds; absent: the whole disk. Block 0 of the layout begins at `start`. */
  range?: { start: number; end: number };
  /**
   * Everything before `layout.dataStart`, where it is known before any data is: such an output streams in one pass.
   * Absent: a stream needs a scan first.
   */
  front?: readonly Piece[];
  /** The most bytes that it can have, where blocks that do not shrink cannot be stored plain. */
  largest?: number;
  /** The writer makes ids of the content's fingerprint. */
  fingerprint?: boolean;
  /** A later file's writer wants to know which blocks of this one hold data. */
  keepStored?: boolean;
  /** A fresh writer for one pass over the allocation. */
  writer(): Writer;
}

/** A file beside the target, complete before it. */
export interface SiblingFile extends PlanFile {
  /** Its path as the target's metadata names it: relative to the target's directory. */
  name: string;
}

/** The file that the user named, and with it the files that it needs. */
export interface WritePlan extends PlanFile {
  /** In the order in which they are written. Their content is part of the fingerprint that the target's writer gets. */
  siblings?: readonly SiblingFile[];
  /** What the guest will see: `request.virtualSize`, or more where the format's unit forces it (said in `notes`). */
  virtualSize: number;
  /** One sentence each, for the result and stderr. */
  notes: readonly string[];
  /** What of `request.metadata` the output keeps. Absent: nothing. */
  carried?: readonly MetadataKey[];
  /** `falloc`: the finished file's space is reserved; `full`: zeros are written too. */
  preallocation?: 'falloc' | 'full';
}
