/** The native engine's comparison of two disks. */
import { MiB } from '../base/units.ts';
import type { Addon } from './addon.ts';
import { present } from './content.ts';
import type { CompareJobOptions, Comparison, Side } from './contract.ts';
import { Drive } from './drive.ts';
import { filesConfig, pushBatches, refusedIsInternal, serveReads } from './native-work.ts';
import { sidesOf } from './sides.ts';

export async function compareNatively(
  addon: Addon,
  a: Side,
  b: Side,
  size: number,
  { blockSize, threads, signal, onProgress }: CompareJobOptions,
): Promise<Comparison> {
  const { files, maps } = sidesOf(a, b);
  const config = {
    files: filesConfig(files),
    size,
    ...(blockSize === undefined ? {} : { block: blockSize }),
    threads: threads ?? addon.cpus(),
    chunkBytes: MiB,
  };
  const native = refusedIsInternal(() => new addon.CompareJob(config));
  const helpers = (cancel: (why: unknown) => void) => [
    pushBatches(native, maps, ([left, right]) => native.push(left, right)),
    serveReads(native, files, cancel),
  ];
  try {
    const drive = new Drive(native, files, '');
    return await drive.run({ signal, onProgress }, size, helpers, async ({ firstDifference, differs, bytesRead }) => ({
      bytesRead,
      ...present({ firstDifference, differs }),
    }));
  } finally {
    native.close();
  }
}
