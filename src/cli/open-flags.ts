/** How images are opened: the flags that every command that reads them has, and what they mean to the library. */
import type { OpenOptions } from '../index.ts';
import type { Arguments, Flag } from './flags.ts';
import { allowedDirectories } from './values.ts';

/**
 * @param follows what the command opens beside the image, and where from: for the help.
 */
export function openFlags(follows: string): readonly Flag[] {
  return [
    { name: 'allow-references', value: '[DIR]', repeats: true, help: `${follows}. May be repeated` },
    { name: 'allow-device', help: 'read block devices too' },
    { name: 'force-share', alias: 'U', help: 'read an image even while a virtual machine may be writing to it' },
  ];
}

/** @param images whose directories `--allow-references` means where it names none. */
export function openOptions(args: Arguments, ...images: readonly string[]): OpenOptions {
  return {
    allowReferences: allowedDirectories(args, ...images),
    allowDevice: args.has('allow-device'),
    forceShare: args.has('force-share'),
  };
}
