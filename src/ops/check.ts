/** `check`: whether an image keeps the rules of its format. */
import { performance } from 'node:perf_hooks';
import { cancelled, throwIfAborted } from '../base/abort.ts';
import { VdconvError } from '../base/errors.ts';
import { loadEngine } from '../engine/engine.ts';
import { type CheckedImage, Findings } from '../formats/check.ts';
import type { Format } from '../formats/format.ts';
import { assertUnchanged } from '../io/file-source.ts';
import type { ByteSource, ReferenceGate } from '../io/types.ts';
import { gateFor, imageFormat } from './chain.ts';
import { openNamedFile } from './named-file.ts';
import type { CheckOptions, CheckResult } from './types.ts';

/**
 * Looks at all metadata of an image: structure, checksums, reference counts, places that overlap or lie outside the
 * file. The image itself and the files that it consists of, not its parents; guest data is not read. Damage is a result and
 * no error. Throws VdconvError: `read`, `wrong-format`, `refused` (an extent in another file that `allowReferences` does
 * not allow), `limit`, `changed`, `aborted`; `unsupported` for an image that vdconv does not know well enough, and with
 * the field `check` where the format has nothing that could be checked.
 */
export async function check(path: string, options: CheckOptions = {}): Promise<CheckResult> {
  const begun = performance.now();
  const { signal, allowDevice, forceShare } = options;
  const files = { system: loadEngine().engine, forceShare };
  const source = await openNamedFile(path, options, { ...files, allowDevice });
  try {
    throwIfAborted(signal);
    const format = await imageFormat(source, options.format);
    const findings = new Findings();
    const image = await checkImage(source, format, findings, gateFor(path, options, files), options);
    await assertUnchanged(source);
    return {
      filename: path,
      format: format.name,
      corruptions: findings.corruptions,
      leaks: findings.leaks,
      checkErrors: findings.checkErrors,
      incomplete: image === undefined,
      ...image,
      findings: findings.list,
      omitted: findings.total - findings.list.length,
      seconds: (performance.now() - begun) / 1000,
    };
  } catch (error) {
    throw signal?.aborted ? cancelled(error) : error;
  } finally {
    await source.close();
  }
}

/** Progress is reported so often at most. */
const STEPS = 200;

/** @returns undefined where the image is too damaged to be checked to its end. */
async function checkImage(
  source: ByteSource,
  format: Format,
  findings: Findings,
  gate: ReferenceGate,
  { signal, onProgress }: CheckOptions,
): Promise<CheckedImage | undefined> {
  if (format.check === undefined) {
    const what = `a ${format.name} image has no structure that could be checked`;
    throw new VdconvError('unsupported', what, { file: source.name, format: format.name, field: 'check' });
  }
  const { size } = source;
  let shown = 0;
  const progress = (done: number, total: number) => {
    throwIfAborted(signal);
    // A format measures by its tables; shown is a part of the file, and not each of thousands of tables.
    const at = Math.min(size, Math.floor((size * done) / Math.max(1, total)));
    if (at - shown >= size / STEPS) {
      shown = at;
      onProgress?.({ done: at, total: size });
    }
  };
  onProgress?.({ done: 0, total: size });
  try {
    const image = await format.check(source, { gate, findings, progress });
    onProgress?.({ done: size, total: size });
    return image;
  } catch (error) {
    // A file that changed meanwhile is not damaged.
    await assertUnchanged(source);
    findings.failure(error);
    return undefined;
  }
}
