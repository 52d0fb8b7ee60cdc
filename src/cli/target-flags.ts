/** The flags that `convert`, `measure` and `create` share, and what the library takes for them. */
import type { TargetOptions } from '../index.ts';
import type { Arguments, Flag } from './flags.ts';
import { parseTargetOptions } from './target-options.ts';
import { wholeNumber } from './values.ts';

/** What OUT is to be. */
export const TARGET_FLAGS: readonly Flag[] = [
  { name: 'O', value: 'FMT', help: "OUT's format; default: by the ending of its name" },
  {
    name: 'o',
    value: 'KEY=VALUE[,...]',
    repeats: true,
    help: "options of OUT's format, a comma in a value doubled; -o help lists them",
  },
  { name: 'c', help: 'compress, where the format can' },
  { name: 'compress-level', value: 'N', help: '1 (fast) to 9 (small); implies -c' },
  { name: 'B', value: 'BASE', help: 'OUT is a layer over the image BASE: only what differs from it is stored' },
  { name: 'F', value: 'FMT', help: "BASE's format; default: found by its content" },
  { name: 'random-ids', help: 'fresh ids (UUID, CID, GUID); default: equal content and options have equal ids' },
];

/** How OUT comes into being. */
export const OUTPUT_FLAGS: readonly Flag[] = [
  { name: 'force', help: 'replace OUT if it exists, once the new file is complete' },
  { name: 'no-sync', help: 'do not wait until OUT is safely on the disk' },
];

export function targetOptions(args: Arguments, command: string): TargetOptions {
  const level = wholeNumber(args, command, 'compress-level');
  return {
    targetFormat: args.text('O'),
    targetOptions: parseTargetOptions(args.all('o')),
    compress: args.has('c') || level !== undefined,
    compressLevel: level,
    base: args.text('B'),
    baseFormat: args.text('F'),
    randomIds: args.has('random-ids'),
    force: args.has('force'),
    noSync: args.has('no-sync'),
  };
}
