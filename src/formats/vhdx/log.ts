/**
 * [MS-VHDX] §2.3.2 and §2.3.3: which entries of the log must be replayed. They are replayed in memory only: the file is
 * somebody else's, and a parent that changed would not fit its children any more.
 */
import { showNumber, VdconvError } from '../../base/errors.ts';
import { formatSize } from '../../base/units.ts';
import { guidText, NIL_UUID } from '../../base/uuid.ts';
import type { ByteSource } from '../../io/types.ts';
import type { CurrentHeader } from './headers.ts';
import { LOG_SECTOR, MAX_FILE_SIZE, MAX_LOG_REPLAYED, MAX_PATCHES } from './layout.ts';
import { entryBytes, type LogEntry, parseEntry, patchesOf } from './log-entry.ts';
import { type Patch, patched } from './patched.ts';

export interface Replayed {
  /** The file as it is after the replay: the source itself where the log is empty. */
  source: ByteSource;
  /** Entries that were replayed. */
  entries: number;
}

export async function replayLog(source: ByteSource, header: CurrentHeader): Promise<Replayed> {
  const { logGuid, logOffset, logLength } = header;
  if (guidText(logGuid) === NIL_UUID) {
    return { source, entries: 0 };
  }
  const details = { ...header.origin, field: 'log', offset: logOffset };
  if (logLength > MAX_LOG_REPLAYED) {
    const what = `the log has ${formatSize(logLength)} and must be replayed; vdconv takes at most ${formatSize(MAX_LOG_REPLAYED)}`;
    throw new VdconvError('limit', what, details);
  }
  const ring = await source.read(logOffset, logLength, 'VHDX log');
  const sequence = activeSequence(ring, logGuid);
  const last = sequence?.at(-1);
  if (sequence === undefined || last === undefined) {
    const what = `the log at offset ${showNumber(logOffset)} must be replayed and holds no complete sequence of entries`;
    throw new VdconvError('corrupt', `${what}; [MS-VHDX] §2.3.3`, {
      ...details,
      hint: 'its metadata may be stale, so nothing is read',
    });
  }
  if (source.size < last.flushedFileOffset) {
    const what = `the log says that the file had ${last.flushedFileOffset} bytes, it ends at ${source.size}`;
    throw new VdconvError('truncated', what, details);
  }
  const patches: Patch[] = [];
  let size = Math.max(source.size, last.lastFileOffset);
  for (const entry of sequence) {
    for (const patch of patchesOf(entryBytes(ring, entry), entry) ?? []) {
      patches.push(patch);
      size = Math.max(size, patch.offset + patch.length);
    }
    if (patches.length > MAX_PATCHES) {
      throw new VdconvError('limit', `the log changes more than ${MAX_PATCHES} places`, details);
    }
  }
  if (size > MAX_FILE_SIZE) {
    const what = `the log makes the file ${formatSize(size)} long; vdconv takes at most ${formatSize(MAX_FILE_SIZE)}`;
    throw new VdconvError('limit', what, details);
  }
  return { source: patched(source, patches, size), entries: sequence.length };
}

/** §2.3.3: the entries to replay, from the tail that the newest valid sequence names to its last one. */
function activeSequence(ring: Uint8Array, logGuid: Uint8Array): LogEntry[] | undefined {
  const entries = new Map<number, LogEntry | undefined>();
  const entryAt = (at: number) => {
    if (!entries.has(at)) {
      entries.set(at, parseEntry(ring, at, logGuid));
    }
    return entries.get(at);
  };
  let active: LogEntry[] | undefined;
  for (let start = 0, next = 0; ; start = next) {
    const run = runFrom(start, ring.length, entryAt);
    const last = run.at(-1);
    const from = run.findIndex(({ at }) => at === last?.tail);
    if (last !== undefined && from >= 0) {
      if (active === undefined || last.sequenceNumber > (active.at(-1) as LogEntry).sequenceNumber) {
        // Not what precedes the tail: it was replayed, and its place may since have become something else's.
        active = run.slice(from);
      }
      next = (last.at + last.length) % ring.length;
    } else {
      next = (start + LOG_SECTOR) % ring.length;
    }
    if (next <= start) {
      return active;
    }
  }
}

/** The entries from `start` on that follow one another in the ring and in number, once round at most. */
function runFrom(start: number, ringLength: number, entryAt: (at: number) => LogEntry | undefined): LogEntry[] {
  const run: LogEntry[] = [];
  let total = 0;
  for (;;) {
    const entry = entryAt((start + total) % ringLength);
    const before = run.at(-1);
    if (
      entry === undefined ||
      (before !== undefined && entry.sequenceNumber !== before.sequenceNumber + 1n) ||
      total + entry.length > ringLength
    ) {
      return run;
    }
    run.push(entry);
    total += entry.length;
  }
}
