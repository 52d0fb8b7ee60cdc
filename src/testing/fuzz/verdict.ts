/** What a reader made of a mutated image, and whether that is allowed. */
import { VdconvError } from '../../base/errors.ts';
import { MiB } from '../../base/units.ts';
import type { Engine } from '../../engine/contract.ts';
import { Findings } from '../../formats/check.ts';
import type { Format, Image } from '../../formats/format.ts';
import type { ByteSource, ReferenceGate } from '../../io/types.ts';
import { checked } from '../../map/checked.ts';
import { Kind } from '../../map/extents.ts';
import { slice } from '../../map/slice.ts';

/** Codes that say something of the image; any other is a defect. */
const LEGAL = new Set(['corrupt', 'truncated', 'unsupported', 'wrong-format', 'limit', 'refused']);

const MAX_SECONDS = 5;
/** An image of a few MiB has no business with more. */
const MAX_BYTES_READ = 256 * MiB;
/** Extents of a map that are looked at: enough for every table of the seeds. */
const MAX_EXTENTS = 200_000;

export interface Verdict {
  /** What the reader said: a code, or `accepted`. */
  outcome: string;
  /** What must not be; absent where all is well. */
  finding?: string | undefined;
}

const refusing: ReferenceGate = {
  resolve: () => undefined,
  open: () => Promise.reject(new VdconvError('refused', 'a fuzzed image refers to something')),
};

/** @param read guest bytes that are asked for where the image is accepted: from a place in [0, 1). */
export async function judge(format: Format, bytes: Uint8Array, engine: Engine, read: number): Promise<Verdict> {
  const begun = performance.now();
  const source = watched(bytes);
  let verdict: Verdict;
  try {
    const image = await format.open(source, { gate: refusing });
    await walk(image, bytes.length);
    await readSome(image, engine, read);
    verdict = { outcome: 'accepted' };
  } catch (error) {
    verdict = judgeError(error);
  }
  verdict.finding ??= await checkFinds(format, source);
  const seconds = (performance.now() - begun) / 1000;
  if (seconds > MAX_SECONDS) {
    verdict.finding ??= `took ${seconds.toFixed(1)} s`;
  }
  if (source.bytesRead > MAX_BYTES_READ) {
    verdict.finding ??= `read ${source.bytesRead} bytes of a file of ${bytes.length}`;
  }
  return verdict;
}

/** `check` goes on where a reader stops, and ends all the same. */
async function checkFinds(format: Format, source: ByteSource): Promise<string | undefined> {
  try {
    await format.check?.(source, { gate: refusing, findings: new Findings(), progress: () => {} });
    return undefined;
  } catch (error) {
    const { finding } = judgeError(error);
    return finding === undefined ? undefined : `check: ${finding}`;
  }
}

function judgeError(error: unknown): Verdict {
  if (!(error instanceof VdconvError)) {
    return { outcome: 'exception', finding: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
  if (!LEGAL.has(error.code)) {
    return { outcome: error.code, finding: `${error.code}: ${error.message}` };
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: no control character may reach a terminal
  if (/[\u0000-\u001f\u007f-\u009f]/.test(error.message)) {
    return { outcome: error.code, finding: `control characters in the message: ${JSON.stringify(error.message)}` };
  }
  return { outcome: error.code };
}

/** Ordered, gap-free, inside the disk (`checked` proves it), and every extent of data inside its file. */
async function walk(image: Image, fileSize: number): Promise<void> {
  let extents = 0;
  for await (const batch of checked(image.extents(0, image.virtualSize), 0, image.virtualSize)) {
    for (let i = 0; i < batch.count; i += 1) {
      const [kind, offset, length] = [batch.kind[i], batch.offset[i] as number, batch.length[i] as number];
      if (kind === Kind.data && offset + length > fileSize) {
        throw new Error(`an extent of data ends at ${offset + length}, the file at ${fileSize}`);
      }
      if (kind === Kind.compressed && offset >= fileSize) {
        throw new Error(`a compressed extent begins at ${offset}, the file ends at ${fileSize}`);
      }
    }
    extents += batch.count;
    if (extents > MAX_EXTENTS) {
      return;
    }
  }
}

async function readSome(image: Image, engine: Engine, place: number): Promise<void> {
  const length = Math.min(MiB, image.virtualSize);
  const start = Math.floor(place * (image.virtualSize - length));
  const bytes = await engine.read(
    image.dataFiles,
    slice(image.extents(start, start + length), start, start + length),
    start,
    length,
  );
  if (bytes.length !== length) {
    throw new Error(`a read of ${length} bytes gave ${bytes.length}`);
  }
}

function watched(bytes: Uint8Array): ByteSource & { bytesRead: number } {
  return {
    name: 'fuzzed',
    size: bytes.length,
    bytesRead: 0,
    async read(offset, length, what) {
      if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
        throw new Error(`${what}: a read of ${length} bytes at ${offset}`);
      }
      this.bytesRead += length;
      if (offset + length > bytes.length) {
        throw new VdconvError(
          'truncated',
          `${what} needs ${length} bytes at ${offset}, the file ends at ${bytes.length}`,
        );
      }
      return Uint8Array.prototype.slice.call(bytes, offset, offset + length);
    },
    async close() {},
  };
}
