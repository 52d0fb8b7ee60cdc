/** Where a streamed output goes: a stream of the caller's, or a descriptor that is open already. */
import { isatty } from 'node:tty';
import { unlessAborted } from '../base/abort.ts';
import { VdconvError } from '../base/errors.ts';
import type { Outlet } from '../engine/contract.ts';
import { STREAM } from './stream-name.ts';
import type { Descriptor } from './types.ts';

export type StreamTarget = WritableStream<Uint8Array> | Descriptor;

export interface OpenOutlet {
  readonly to: Outlet;
  /** After the last byte. */
  close(): Promise<void>;
  /** After a failure; never throws, and waits for nobody. */
  abort(error: unknown): void;
}

/** Throws `usage` where the target cannot be written to. Nobody waits for one that takes nothing after an abort. */
export function openOutlet(target: StreamTarget, signal: AbortSignal | undefined): OpenOutlet {
  if ('fd' in target) {
    return descriptorOutlet(target.fd);
  }
  if (!(target instanceof WritableStream)) {
    throw new VdconvError('usage', 'the target is neither a path nor a WritableStream', {
      hint: "Writable.toWeb makes one of a Node stream (import { Writable } from 'node:stream')",
    });
  }
  if (target.locked) {
    throw new VdconvError('usage', 'the target stream is locked: somebody else writes to it');
  }
  const writer = target.getWriter();
  const taken = async (work: Promise<void>): Promise<void> => {
    await unlessAborted(signal, work).catch((cause: unknown) => {
      throw cause instanceof VdconvError ? cause : streamError(cause);
    });
  };
  // Its failures are those of the writes.
  writer.closed.catch(() => {});
  return {
    to: { write: (bytes) => taken(writer.write(bytes)) },
    close: () => taken(writer.close()),
    abort(error) {
      // Where it has already failed by itself there is nothing to abort.
      writer.abort(error).catch(() => {});
    },
  };
}

/** It belongs to the caller, who closes it. */
function descriptorOutlet(fd: number): OpenOutlet {
  if (isatty(fd)) {
    throw new VdconvError('usage', 'a disk image is not for a terminal', {
      file: STREAM,
      hint: 'send it to a pipe (| COMMAND) or a file (> FILE)',
    });
  }
  return { to: { fd }, async close() {}, abort() {} };
}

function streamError(cause: unknown): VdconvError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new VdconvError('write', `the target stream failed: ${why}`, { file: STREAM, cause });
}
