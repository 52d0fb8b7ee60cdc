/** The contract of a format: two small pure translations between bytes of metadata and the block map. */
import type { ByteSource, Reference, ReferenceGate } from '../io/types.ts';
import type { DataFile } from '../map/data-file.ts';
import type { BlockMap } from '../map/extents.ts';
import type { Layout, Piece, Writer } from '../map/layout.ts';

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
}

/** One layer: an opened image, without its parents. */
export interface Image {
  readonly format: string;
  readonly subformat: string;
  /** Bytes that the guest sees. */
  readonly virtualSize: number;
  /** What extents point into; index 0 is usually the image file itself. Closed by whoever opened the image. */
  readonly dataFiles: readonly DataFile[];
  /** The layer below, if any: `unallocated` extents show it. */
  readonly parent?: Reference;
  /** How this format's layers know each other; absent where they do not. */
  readonly lineage?: Lineage;
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
  /** In a child: the parent's id is one of these. */
  parents?: readonly string[];
}

export interface ImageFacts {
  /** Unit of allocation in bytes; 0 where there is none (raw). */
  blockSize: number;
  references: readonly Reference[];
  snapshots: readonly { id: string; name: string; virtualSize?: number }[];
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
  type: 'size' | 'number' | 'flag' | 'choice';
  choices?: readonly string[];
  default: OptionValue;
  /** For a size or number: throws `usage` with the legal values when it is not one of them. */
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
}

export interface WritePlan {
  layout: Layout;
  /** What the guest will see: `request.virtualSize`, or more where the format's unit forces it (said in `notes`). */
  virtualSize: number;
  /** One sentence each, for the result and stderr. */
  notes: readonly string[];
  /**
   * Everything before `layout.dataStart`, where it is known before any data is: such an output streams in one pass.
   * Absent: a stream needs a scan first.
   */
  front?: readonly Piece[];
  /** A fresh writer for one pass over the allocation. */
  writer(): Writer;
}
