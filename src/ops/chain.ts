/** An image with the layers below it: opened through the gate, merged into one block map. */

import { throwIfAborted } from '../base/abort.ts';
import { escapeText, VdconvError } from '../base/errors.ts';
import { outputLimit } from '../base/limits.ts';
import type { Engine } from '../engine/contract.ts';
import type { Format, Image, OpenContext } from '../formats/format.ts';
import { FORMATS, formatNamed, probeFormat } from '../formats/registry.ts';
import { sameFile } from '../io/file-identity.ts';
import { assertUnchanged, identityOf } from '../io/file-source.ts';
import { directoryGate, type FileOptions as GateOptions, refusingGate } from '../io/gate.ts';
import type { SystemCalls } from '../io/system.ts';
import type { ByteSource, Reference, ReferenceGate } from '../io/types.ts';
import { checked } from '../map/checked.ts';
import type { DataFile } from '../map/data-file.ts';
import { DataLimit } from '../map/data-limit.ts';
import { type BlockMap, Kind } from '../map/extents.ts';
import { forwardMap } from '../map/forward.ts';
import { overlay } from '../map/overlay.ts';
import { uniform } from '../map/uniform.ts';
import { checkLimits, limitsOf, overLimit } from './limits.ts';
import type { SourceOptions } from './named-file.ts';
import { checkParent } from './parent.ts';
import { Salvage } from './salvage.ts';
import { type Reasons, salvagedLayer } from './salvage-layer.ts';
import { readSample } from './sample.ts';
import { nameOf, openSource } from './source.ts';
import type { ImageSource, OpenOptions, SalvagedRange } from './types.ts';
import { Uses } from './uses.ts';

export interface Layer {
  source: ByteSource;
  image: Image;
  /** With `salvage`: why ranges that are data of the image's last file are lost. */
  reasons?: Reasons;
}

/** The chain from the named image (top) down. Close it. */
export class Chain {
  readonly layers: readonly Layer[];
  /** The data files of all layers, top first: what the merged map's `file` counts. */
  readonly dataFiles: readonly DataFile[];
  /** Whatever reads while the caller may close. */
  readonly uses: Uses;
  #limit: DataLimit | undefined;
  #salvage: Salvage | undefined;
  /** What the user should know of how the top is read. */
  readonly notes: readonly string[];

  constructor(layers: readonly Layer[], notes: readonly string[] = []) {
    this.layers = layers;
    this.dataFiles = layers.flatMap(({ image }) => image.dataFiles);
    this.uses = new Uses(layers[0]?.source.name ?? '');
    this.notes = notes;
  }

  get top(): Layer {
    return this.layers[0] as Layer;
  }

  /** Whether it is read in one forward pass. */
  get readsForward(): boolean {
    return this.dataFiles.some(({ source }) => source.forwardOnly === true);
  }

  get virtualSize(): number {
    return this.top.image.virtualSize;
  }

  /** What the guest sees in [start, end). */
  extents(start: number, end: number): BlockMap {
    const part = (from: number, to: number) => mapFrom(this.layers, 0, from, to);
    const map = this.readsForward ? forwardMap(part, start, end) : part(start, end);
    const readable = this.#salvage?.map(map) ?? map;
    return this.#limit?.map(readable) ?? readable;
  }

  /** The same, and zeros behind the disk's end. */
  async *padded(start: number, end: number): BlockMap {
    const there = Math.min(end, this.virtualSize);
    if (start < there) {
      yield* this.extents(start, there);
    }
    yield* uniform(Math.max(start, there), end, Kind.zero);
  }

  /**
   * From now on the maps, taken in virtual order, are held to a number of guest bytes that is plausible for the files.
   * @param most in place of it; 0: any number.
   */
  limitData(most: number | undefined): void {
    const bytes = [...this.#sources()].reduce((sum, { size, wrapped }) => sum + (wrapped?.file.size ?? size), 0);
    this.#limit = most === 0 ? undefined : new DataLimit(most ?? outputLimit(bytes), this.top.source.name);
  }

  /** From now on what cannot be read is zeros in the maps, and in {@link lost}. For layers opened with `salvage`. */
  salvage(engine: Engine, signal: AbortSignal | undefined): void {
    const reasons = new Map<number, Reasons>();
    let files = 0;
    for (const layer of this.layers) {
      files += layer.image.dataFiles.length;
      if (layer.reasons !== undefined) {
        reasons.set(files - 1, layer.reasons);
      }
    }
    this.#salvage = new Salvage(engine, this.dataFiles, reasons, signal);
  }

  get lost(): readonly SalvagedRange[] {
    return this.#salvage?.lost.list ?? [];
  }

  /** The guest's bytes of a range within the disk; `map` stands in for {@link extents} of it. */
  async read(engine: Engine, start: number, length: number, map?: BlockMap): Promise<Uint8Array> {
    const range = map ?? this.extents(start, start + length);
    return this.uses.run(() => engine.read(this.dataFiles, range, start, length));
  }

  /** Why reading failed: what is missing or broken in a file that changed meanwhile was not so when it was opened. */
  async reasonOf(error: unknown): Promise<unknown> {
    if (!(error instanceof VdconvError && ['truncated', 'corrupt', 'read'].includes(error.code))) {
      return error;
    }
    return this.#filesUnchanged().then(
      () => error,
      (changed: unknown) => changed,
    );
  }

  /** Throws `changed` where a file is no longer what it was when it was opened, and where all of the disk is lost. */
  async assertUnchanged(): Promise<void> {
    await this.#filesUnchanged();
    for (const source of this.#sources()) {
      await source.finish?.();
    }
    const [first] = this.lost;
    if (first !== undefined && this.#salvage?.lost.bytes === this.virtualSize) {
      throw new VdconvError('corrupt', `nothing of the disk can be read: ${first.why}`, { file: this.top.source.name });
    }
  }

  /** Waits for reads that are under way. */
  async close(): Promise<void> {
    await this.uses.close();
    await Promise.all([...this.#sources()].map((source) => source.close()));
  }

  async #filesUnchanged(): Promise<void> {
    for (const source of this.#sources()) {
      await assertUnchanged(source);
    }
  }

  #sources(): Set<ByteSource> {
    return new Set(this.layers.flatMap(({ source, image }) => [source, ...image.dataFiles.map((f) => f.source)]));
  }
}

function mapFrom(layers: readonly Layer[], index: number, start: number, end: number): BlockMap {
  const { source, image } = layers[index] as Layer;
  const own = checked(image.extents(start, end), start, end, source.name);
  const below = layers[index + 1];
  // A parent may be shorter than its child: the rest reads as zeros.
  const belowEnd = Math.min(end, below?.image.virtualSize ?? 0);
  return belowEnd > start ? overlay(own, mapFrom(layers, index + 1, start, belowEnd), image.dataFiles.length) : own;
}

/** Opens an image and, as far as `options` allow, the layers below it. */
export async function openChain(
  from: ImageSource,
  options: ChainOptions,
  engine: Engine,
  once = false,
): Promise<Chain> {
  const chain = await openLayers(from, options, engine, { follow: true, once: once && options.salvage !== true });
  if (options.salvage === true) {
    chain.salvage(engine, options.signal);
  }
  return chain;
}

/** Opens the image alone: what `info` shows needs no other file. */
export async function openTop(from: ImageSource, options: OpenOptions, system: SystemCalls): Promise<Chain> {
  return openLayers(from, options, system, { follow: false, once: false });
}

interface ChainOptions extends SourceOptions {
  salvage?: boolean | undefined;
}

async function openLayers(
  from: ImageSource,
  options: ChainOptions,
  system: SystemCalls,
  { follow, once }: { follow: boolean; once: boolean },
): Promise<Chain> {
  const path = nameOf(from);
  const { allowDevice, forceShare, salvage } = options;
  const limits = limitsOf(options);
  const files = { system, forceShare };
  const gate = gateFor(path, options, files);
  const layers: Layer[] = [];
  const { source, notes } = await openSource(from, options, { ...files, allowDevice }, once);
  let opened: ByteSource | undefined = source;
  try {
    let { format, snapshot } = options;
    for (;;) {
      throwIfAborted(options.signal);
      const image = await openImage(opened, format, { gate, snapshot, limits, salvage });
      const layer: Layer = salvage === true ? salvagedLayer(opened, image) : { source: opened, image };
      opened = undefined;
      const child = layers.at(-1);
      layers.push(layer);
      if (follow) {
        checkLimits(layer.image, layer.source.name, limits);
      }
      if (child !== undefined) {
        checkParent(child.image, child.source.name, layer.image, layer.source.name);
      }
      const parent: Reference | undefined = layer.image.parent;
      if (!follow || parent === undefined) {
        return new Chain(layers, notes);
      }
      if (layers.length >= limits.layers) {
        throw overLimit('layers', `has more than ${limits.layers} layers`, { file: path, field: parent.kind });
      }
      // A snapshot is one of the image that was named, not of its parents.
      snapshot = undefined;
      opened = await gate.open(parent, layer.source);
      refuseCycle(opened, layers);
      format = formatOf(parent, layer);
    }
  } catch (error) {
    await opened?.close();
    await new Chain(layers).close();
    throw error;
  }
}

/** The gate that the caller's permission makes. */
export function gateFor(
  path: string,
  { allowReferences }: Pick<OpenOptions, 'allowReferences'>,
  files: GateOptions,
): ReferenceGate {
  return allowReferences === undefined || allowReferences === false
    ? refusingGate(files)
    : directoryGate(allowReferences === true ? [directoryOf(path)] : allowReferences, files);
}

/** The format that was said, or that the file's content shows. */
export async function imageFormat(source: ByteSource, name: string | undefined): Promise<Format> {
  return name === undefined
    ? probeFormat(await readSample(source), source.name)
    : formatNamed(name, escapeText(source.name));
}

async function openImage(source: ByteSource, name: string | undefined, context: OpenContext): Promise<Image> {
  const format = await imageFormat(source, name);
  if (context.snapshot !== undefined && format.hasSnapshots !== true) {
    throw new VdconvError('usage', `${format.name} images have no internal snapshots`, { file: source.name });
  }
  return format.open(source, context);
}

/** What the image says that its parent is; undefined where it says nothing, as images made by old tools do. */
function formatOf({ format, kind }: Reference, { source, image }: Layer): string | undefined {
  if (format === undefined || FORMATS.some((f) => [f.name, ...f.aliases].includes(format.toLowerCase()))) {
    return format;
  }
  const what = `its parent is said to be of format '${escapeText(format)}': not supported`;
  throw new VdconvError('unsupported', what, { file: source.name, format: image.format, field: kind });
}

function refuseCycle(source: ByteSource, layers: readonly Layer[]): void {
  const identity = identityOf(source);
  const again = layers.find((layer) => {
    const other = identityOf(layer.source);
    return identity !== undefined && other !== undefined && sameFile(identity, other);
  });
  if (again !== undefined) {
    const chain = [...layers.map((l) => l.source.name), source.name].map(escapeText).join(' -> ');
    throw new VdconvError('corrupt', `is its own parent: ${chain}`, { file: again.source.name, field: 'parent' });
  }
}

function directoryOf(path: string): string {
  const end = path.lastIndexOf('/');
  return end < 0 ? '.' : path.slice(0, end + 1);
}
