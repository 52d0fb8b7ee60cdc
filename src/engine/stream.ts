/**
 * A copy to a pipe, by either engine. Where the front of the output is known before any data is, one pass does it. Else
 * the same pipeline runs first without a sink and leaves one bit a block; placement over those bits gives the tables
 * ahead of the data that follow them.
 */
import { VdconvError } from '../base/errors.ts';
import type { BlockMap } from '../map/extents.ts';
import type { Piece, Writer } from '../map/layout.ts';
import type { CopyJob, CopyResult, Engine } from './contract.ts';

export interface StreamJob extends Omit<CopyJob, 'sink' | 'map' | 'writer'> {
  /** The map anew for each pass. */
  map(): BlockMap;
  writer(): Writer;
  /** Everything before `layout.dataStart`, where it does not depend on the data. */
  front?: readonly Piece[];
  fd: number;
  name: string;
}

/** Throws as {@link Engine.copy}, `changed` where the second pass met other data, `unsupported` where sizes decide places. */
export async function copyToStream(engine: Engine, job: StreamJob): Promise<CopyResult> {
  const { map, writer, fd, name, ...common } = job;
  const { kind, dataStart } = job.layout;
  const front = job.front ?? (kind === 'flat' && dataStart === 0 ? [] : undefined);
  if (front !== undefined) {
    const sink = { kind: 'sequential', fd, name, front } as const;
    return engine.copy({ ...common, map: map(), writer: writer(), sink });
  }
  if (job.layout.codec !== undefined) {
    throw new VdconvError('unsupported', 'compressed blocks cannot be written to a pipe in this format', {
      file: name,
      hint: 'write to a file, or without -c',
    });
  }
  const { stored } = await engine.copy({ ...common, map: map(), sink: { kind: 'scan' } });
  if (stored === undefined) {
    throw new VdconvError('internal', 'a scan left no bits');
  }
  const first: Piece[] = [];
  const foreseen = replayed(engine, job, stored);
  let step = foreseen.next();
  for (; !step.done; step = foreseen.next()) {
    first.push(...step.value.filter((piece) => piece.offset < dataStart));
  }
  const ahead = { pieces: behind(replayed(engine, job, stored), dataStart), size: step.value };
  const sink = { kind: 'sequential', fd, name, front: first, ahead } as const;
  const result = await engine.copy({ ...common, map: map(), sink });
  if (Buffer.compare(result.stored ?? new Uint8Array(), stored) !== 0) {
    throw new VdconvError(
      'changed',
      'the source changed while it was read: its second reading differs from the first',
      {
        file: job.files[0]?.source.name,
      },
    );
  }
  return result;
}

/** All pieces that a writer makes of a replay; returns the output's length. */
function* replayed(engine: Engine, job: StreamJob, stored: Uint8Array): Generator<readonly Piece[], number> {
  const writer = job.writer();
  const replay = engine.replay(job.layout, stored);
  let step = replay.next();
  for (; !step.done; step = replay.next()) {
    yield writer.add(step.value);
  }
  const { pieces, size } = writer.finish(step.value);
  yield pieces;
  return size;
}

async function* behind(pieces: Iterable<readonly Piece[]>, dataStart: number): AsyncGenerator<readonly Piece[]> {
  for (const some of pieces) {
    yield some.filter((piece) => piece.offset >= dataStart);
  }
}
