/** What a job tells of the guest's content besides moving it: the same words for both engines. */
import type { Content } from '../map/layout.ts';
import type { CopyJob } from './contract.ts';
import { Fingerprint } from './fingerprint.ts';

/** Whether the job leaves one bit a block. */
export function keepsBits({ sink, keepStored }: CopyJob): boolean {
  return keepStored === true || sink.kind === 'scan' || (sink.kind === 'sequential' && sink.ahead !== undefined);
}

/** The fingerprint of this job's range and of those before it. */
export function wholeFingerprint({ fingerprintSoFar }: CopyJob, own: Uint8Array | undefined): Uint8Array | undefined {
  if (own === undefined || fingerprintSoFar === undefined) {
    return own;
  }
  const sum = new Fingerprint();
  sum.merge(fingerprintSoFar);
  sum.merge(own);
  return sum.bytes();
}

/** For the writer. */
export function contentOf({ storedBefore }: CopyJob, fingerprint: Uint8Array | undefined): Content {
  return present({ fingerprint, stored: storedBefore });
}

/** The members that are not undefined. */
export function present<T extends Record<string, unknown>>(from: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(from).filter(([, value]) => value !== undefined)) as ReturnType<
    typeof present<T>
  >;
}
