/** `vdconv create`. */
import { create, parseSize } from '../index.ts';
import { type Flag, parseFlags, usageError } from './flags.ts';
import { targetOptionHelp } from './help.ts';
import { createHelp } from './make-help.ts';
import { openFlags, openOptions } from './open-flags.ts';
import { printCreated, printNotes } from './print.ts';
import type { Stop } from './signals.ts';
import { OUTPUT_FLAGS, TARGET_FLAGS, targetOptions } from './target-flags.ts';

const NAME = 'create';

/** qemu-img's letters: there -f is the new image's format and -b its base. */
const FLAGS: readonly Flag[] = [
  { name: 'f', value: 'FMT', help: "OUT's format, as -O; default: by the ending of its name" },
  { name: 'b', value: 'BASE', help: 'as -B' },
  ...TARGET_FLAGS.filter(({ name }) => name !== 'c' && name !== 'compress-level'),
  ...openFlags("follow BASE's own references to files beneath DIR; default DIR: BASE's directory"),
  ...OUTPUT_FLAGS,
  { name: 'q', help: 'print nothing but errors' },
  { name: 'help', alias: 'h', help: 'this text' },
];

export async function runCreate(argv: readonly string[], stop: Stop): Promise<void> {
  const args = await parseFlags(argv, NAME, FLAGS);
  if (args.has('help')) {
    process.stdout.write(createHelp(FLAGS));
    return;
  }
  if (args.all('o').some((text) => text === 'help' || text === '?')) {
    process.stdout.write(targetOptionHelp(args.text('f') ?? args.text('O')));
    return;
  }
  const said = targetOptions(args, NAME);
  const base = args.text('b') ?? said.base;
  const [target, size, extra] = args.operands;
  if (target === undefined || (size === undefined && base === undefined) || extra !== undefined) {
    throw usageError(NAME, 'give OUT and SIZE, or OUT and a base: vdconv create OUT SIZE');
  }
  const result = await create(target, {
    ...said,
    targetFormat: args.text('f') ?? said.targetFormat,
    base,
    size: size === undefined ? undefined : parseSize(size, 'SIZE'),
    ...openOptions(args, base ?? target),
    signal: stop.signal,
  });
  if (!args.has('q')) {
    process.stderr.write(printNotes(result.notes) + printCreated(result));
  }
}
