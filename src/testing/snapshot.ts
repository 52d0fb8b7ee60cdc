import { createHash } from 'node:crypto';
import { createReadStream, lstatSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

/** What a directory holds: of each entry its inode, times, permissions and content. Equal snapshots: nothing happened. */
export async function snapshot(dir: string): Promise<Record<string, string>> {
  const entries: Record<string, string> = {};
  for (const name of readdirSync(dir).sort()) {
    const path = join(dir, name);
    const stat = lstatSync(path, { bigint: true });
    const facts = [stat.ino, stat.mode, stat.nlink, stat.size, stat.mtimeNs, stat.ctimeNs];
    const content = stat.isFile() ? await sha256(path) : stat.isSymbolicLink() ? readlinkSync(path) : '';
    entries[name] = `${facts.join(' ')} ${content}`;
  }
  return entries;
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}
