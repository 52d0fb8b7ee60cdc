/**
 * Temporary files of this process that are not finished. When the process leaves without a chance to discard them
 * (process.exit, an uncaught exception), they are removed on the way out; only SIGKILL or a power cut leaves one.
 */
import { unlinkSync } from 'node:fs';

const unfinished = new Set<string>();

export function addUnfinished(path: string): void {
  if (unfinished.size === 0) {
    process.on('exit', removeUnfinished);
  }
  unfinished.add(path);
}

export function forgetUnfinished(path: string): void {
  if (unfinished.delete(path) && unfinished.size === 0) {
    process.off('exit', removeUnfinished);
  }
}

function removeUnfinished(): void {
  for (const path of unfinished) {
    try {
      unlinkSync(path);
    } catch {
      // The process ends; nobody is left to tell.
    }
  }
}
