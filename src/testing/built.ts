import { execFile } from 'node:child_process';
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

const root = fileURLToPath(new URL('../../', import.meta.url));

/**
 * Compiles src/ into `dir`, for a process without vitest, and returns the library's URL. Not into dist/: another test, or
 * whoever runs the tests, may be using that.
 */
export async function buildLibrary(dir: string): Promise<string> {
  const outDir = join(dir, 'dist');
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  // Types are checked elsewhere.
  const options = ['--outDir', outDir, '--noCheck', '--declaration', 'false', '--sourceMap', 'false'];
  await promisify(execFile)(process.execPath, [compiler, '-p', join(root, 'tsconfig.build.json'), ...options]);
  // What the library looks for beside its own folder.
  for (const name of ['native', 'package.json', 'node_modules']) {
    await symlink(join(root, name), join(dir, name));
  }
  return pathToFileURL(join(outDir, 'index.js')).href;
}
