/**
 * A copy to a pipe, by either engine. Where the front of the output is known before any data is, one pass does it. Else
 * the same pipeline runs first without a sink and leaves one bit a block; placement over those bits gives the tables
 * ahead of the data that follow them.
 */
import { allBits } from '../base/bits.ts';
import { VdconvError } from '../base/errors.ts';
import { divCeil } from '../base/units.ts';
import type { BlockMap } from '../map/extents.ts';
import type { Content, Piece, Writer } from '../map/layout.ts';
import { partsOf } from './allocation-parts.ts';
import type { CopyJob, CopyOptions, CopyResult, Engine, Outlet } from './contract.ts';
import { sourceChanged } from './failures.ts';

export interface StreamJob extends Omit<CopyJob, 'sink' | 'map' | 'writer'> {
  /** The map anew for each pass. */
  map(): BlockMap;
  writer(): Writer;
  /** Everything before `layout.dataStart`, where it does not depend on the data. */
  front?: readonly Piece[];
  to: Outlet;
  name: string;
}

type Output = Pick<StreamJob, 'layout' | 'front'>;

/** Whether an output's places follow from more than which blocks are stored: then it cannot be written in order. */
export function needsSpool({ layout, front }: Output): boolean {
  return front === undefined && (layout.codec !== undefined || layout.explicitZeros === true);
}

/** Whether one pass over the source is enough. */
export function readsOnce(output: Output): boolean {
  return frontOf(output) !== undefined || needsSpool(output);
}

/** Everything before the data, where it is known before them. */
function frontOf({ layout, front }: Output): readonly Piece[] | undefined {
  return front ?? (layout.kind === 'flat' && layout.dataStart === 0 ? [] : undefined);
}

/** Throws as {@link Engine.copy}, `changed` where the second pass met other data, `unsupported` where sizes decide places. */
export async function copyToStream(engine: Engine, job: StreamJob): Promise<CopyResult> {
  const { map, writer, to, name, ...common } = job;
  const { dataStart } = job.layout;
  const front = frontOf(job);
  if (front !== undefined) {
    const sink = { kind: 'sequential', to, name, front } as const;
    return engine.copy({ ...common, map: map(), writer: writer(), sink });
  }
  if (needsSpool(job)) {
    throw new VdconvError('unsupported', 'compressed blocks cannot be written to a pipe in this format', {
      file: name,
      hint: 'write to a file, or without -c',
    });
  }
  const { stored, fingerprint } = await foresee(engine, job);
  const content = fingerprint === undefined ? {} : { fingerprint };
  const first: Piece[] = [];
  const foreseen = replayed(engine, job, stored, content);
  let step = foreseen.next();
  for (; !step.done; step = foreseen.next()) {
    first.push(...step.value.filter((piece) => piece.offset < dataStart));
  }
  const ahead = { pieces: behind(replayed(engine, job, stored, content), dataStart), size: step.value };
  const sink = { kind: 'sequential', to, name, front: first, ahead } as const;
  const options = partOf(job.options, 1);
  const result = await engine.copy({ ...common, fingerprint: false, map: map(), sink, options });
  if (Buffer.compare(result.stored ?? new Uint8Array(), stored) !== 0) {
    throw sourceChanged(job.files[0]?.source.name);
  }
  return result;
}

interface Foreseen {
  stored: Uint8Array;
  fingerprint?: Uint8Array;
}

/** What the first pass is for. Where every block is stored and no id follows from the content, all is known without it. */
async function foresee(engine: Engine, { map, writer, to, name, digest, ...job }: StreamJob): Promise<Foreseen> {
  const { layout, virtualSize, options } = job;
  if ((options.zeroGranularity === 0 || layout.storeAll === true) && job.fingerprint !== true) {
    return { stored: allBits(divCeil(virtualSize, layout.blockSize)) };
  }
  const sink = { kind: 'scan' } as const;
  const { stored, fingerprint } = await engine.copy({ ...job, map: map(), sink, options: partOf(options, 0) });
  if (stored === undefined) {
    throw new VdconvError('internal', 'a scan left no bits');
  }
  return { stored, ...(fingerprint === undefined ? {} : { fingerprint }) };
}

/** The options of one of two passes, each of which is half of the way. */
function partOf(options: CopyOptions, pass: 0 | 1): CopyOptions {
  const { onProgress, ...rest } = options;
  return onProgress === undefined
    ? rest
    : { ...rest, onProgress: (done, total) => onProgress(Math.floor((pass * total + done) / 2), total) };
}

/** All pieces that a writer makes of a replay; returns the output's length. */
function* replayed(
  engine: Engine,
  job: StreamJob,
  stored: Uint8Array,
  content: Content,
): Generator<readonly Piece[], number> {
  const writer = job.writer();
  const replay = engine.replay(job.layout, stored);
  let step = replay.next();
  for (; !step.done; step = replay.next()) {
    for (const part of partsOf(step.value)) {
      yield writer.add(part);
    }
  }
  const { tables = [], pieces, size } = writer.finish(step.value, content);
  for (const table of tables) {
    yield [table];
  }
  yield pieces;
  return size;
}

async function* behind(pieces: Iterable<readonly Piece[]>, dataStart: number): AsyncGenerator<readonly Piece[]> {
  for (const some of pieces) {
    yield some.filter((piece) => piece.offset >= dataStart);
  }
}
