/** Names of digests, as options take them. */
import { escapeText, VdconvError } from '../base/errors.ts';
import { isPowerOfTwo, KiB, MiB, parseSize } from '../base/units.ts';
import type { DigestMethod } from '../engine/contract.ts';

/** What nbdcopy --blkhash makes by default. */
export const DEFAULT_DIGEST = 'blkhash-sha256/64k';

/** Throws `usage` where there is no such algorithm. */
export function digestMethod(algorithm: string): DigestMethod {
  if (algorithm === 'sha256') {
    return { blockSize: 0 };
  }
  const [, size] = /^blkhash-sha256(?:\/(.+))?$/.exec(algorithm) ?? [];
  const known = algorithm === 'blkhash-sha256' || size !== undefined;
  const blockSize = size === undefined ? 64 * KiB : parseSize(size, `digest algorithm ${escapeText(algorithm)}`);
  if (!known || !isPowerOfTwo(blockSize) || blockSize < 512 || blockSize > 16 * MiB) {
    throw new VdconvError('usage', `digest algorithm '${escapeText(algorithm)}'`, {
      hint: 'choose sha256, or blkhash-sha256/SIZE with a power of two from 512 to 16M',
    });
  }
  return { blockSize };
}

export function hex(digest: Uint8Array | undefined): string {
  return Buffer.from(digest ?? []).toString('hex');
}
