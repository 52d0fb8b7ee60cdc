/** Block devices: their length, which `stat` does not tell. */
import { promises as fs } from 'node:fs';
import { SECTOR } from '../base/units.ts';
import { readError } from './os-error.ts';
import type { SystemCalls } from './system.ts';

/** @param rdev which device, as `stat` says. */
export async function deviceSize(path: string, fd: number, rdev: bigint, system: SystemCalls): Promise<number> {
  try {
    return system.deviceSize?.(fd) ?? (await sizeInSysfs(rdev));
  } catch (cause) {
    throw readError(path, 'ask the device for its size', cause);
  }
}

async function sizeInSysfs(rdev: bigint): Promise<number> {
  const sectors = await fs.readFile(`/sys/dev/block/${majorOf(rdev)}:${minorOf(rdev)}/size`, 'ascii');
  return Number(sectors) * SECTOR;
}

/** As the C library packs them: 12 bits of either where they always were, the rest above. */
function majorOf(rdev: bigint): bigint {
  return ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n);
}

function minorOf(rdev: bigint): bigint {
  return (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n);
}
