/** gzip, xz, zstd and bzip2 as their own programs do them: Node has only the first. */
import { spawnSync } from 'node:child_process';

/** What `zstd -dc` makes of a frame; what is behind it is not looked at, as in a QCOW2 cluster. */
export function unzstd(stream: Uint8Array): Buffer {
  const { stdout, error } = spawnSync('zstd', ['-dcq'], { input: stream, maxBuffer: 1 << 30 });
  if (error) {
    throw error;
  }
  return stdout;
}

/** Runs a compressor as `sh` would, for example `compressed('xz -6 --block-size=65536', bytes)`. */
export function compressed(command: string, bytes: Uint8Array): Buffer {
  const [program = '', ...args] = command.split(' ');
  const { stdout, stderr, status, error } = spawnSync(program, [...args, '-c'], { input: bytes, maxBuffer: 1 << 30 });
  if (error ?? status !== 0) {
    throw error ?? new Error(`${command}: exit ${status}: ${stderr}`);
  }
  return stdout;
}
