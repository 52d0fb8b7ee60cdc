import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

/** A new empty directory that is gone with all its content when the test that asked for it has ended. */
export async function tempDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'vdconv-test-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}
