/** qemu-io, which comes with qemu-img: single writes into an image, as a guest would make them. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/**
 * Runs qemu-io commands on an image, for example `qemuIo(file, 'qcow2', 'write -z 64k 4k')`. qemu-io ends with status 0
 * when a command failed but said so: that is an error here.
 */
export async function qemuIo(file: string, format: string, ...commands: string[]): Promise<string> {
  const { stdout, stderr } = await run('qemu-io', ['-f', format, ...commands.flatMap((c) => ['-c', c]), file]);
  if (stderr !== '' || /failed|error/i.test(stdout)) {
    throw new Error(`qemu-io ${file} ${commands.join('; ')}: ${stdout}${stderr}`);
  }
  return stdout;
}
