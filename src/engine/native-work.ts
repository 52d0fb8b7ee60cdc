/** What the native engine's jobs of every kind have in common. */
import { VdconvError } from '../base/errors.ts';
import type { DataFile } from '../map/data-file.ts';
import type { JobConfig, NativeWork, ReadRequest } from './addon.ts';

export function filesConfig(files: readonly DataFile[]): JobConfig['files'] {
  return files.map(({ source, codec }) => ({
    ...(source.fd === undefined ? {} : { fd: source.fd }),
    size: source.size,
    ...(codec === undefined ? {} : { codec }),
  }));
}

/** What the addon refuses at once is a defect of vdconv: the map or the layout broke the contract. */
export function refusedIsInternal<T>(call: () => T): T {
  try {
    return call();
  } catch (cause) {
    throw contractBroken(cause);
  }
}

function contractBroken(cause: unknown): VdconvError {
  return new VdconvError('internal', cause instanceof Error ? cause.message : String(cause), { cause });
}

/** Hands on batches (of one map, or of two) as they are welcome. */
export async function pushBatches<T>(
  native: NativeWork<unknown>,
  batches: AsyncIterable<T>,
  push: (batch: T) => void,
): Promise<void> {
  for await (const batch of batches) {
    refusedIsInternal(() => push(batch));
    if (!(await native.room())) {
      return;
    }
  }
  refusedIsInternal(() => native.end());
}

/** Answers the reads of sources without a descriptor; several may be under way, one a worker. */
export async function serveReads(
  native: NativeWork<unknown>,
  files: readonly DataFile[],
  cancel: (why: unknown) => void,
): Promise<void> {
  if (files.every(({ source }) => source.fd !== undefined)) {
    return;
  }
  const serve = async ({ id, file, offset, length }: ReadRequest): Promise<void> => {
    try {
      native.supply(id, await (files[file] as DataFile).source.read(offset, length, 'guest data'));
    } catch (error) {
      // First: what the engine makes of the refusal tells less.
      cancel(error);
      native.refuse(id, String(error));
    }
  };
  for (let ask = await native.request(); ask !== null; ask = await native.request()) {
    void serve(ask);
  }
}
