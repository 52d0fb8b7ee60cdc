/** `vdconv compare`. */
import { compare } from '../index.ts';
import { DIFFERENT_STATUS } from './exit.ts';
import { type Flag, parseFlags } from './flags.ts';
import { compareHelp } from './inspect-help.ts';
import { imageNamed, MAX_OUTPUT_FLAG, openFlags, openOptions } from './open-flags.ts';
import { printJson } from './print.ts';
import { printComparison } from './print-compare.ts';
import { openProgress, PROGRESS_FLAGS } from './progress-flags.ts';
import type { Stop } from './signals.ts';
import { choice, operands, size } from './values.ts';

const NAME = 'compare';

const FLAGS: readonly Flag[] = [
  { name: 'f', value: 'FMT', help: "A's format; default: found by its content" },
  { name: 'F', value: 'FMT', help: "B's format; default: found by its content" },
  { name: 's', help: 'strict: disks of different size differ, even where the rest of the longer one is zeros' },
  { name: 'output', value: 'human|json', help: 'a sentence for people (default), or JSON for programs' },
  ...openFlags(
    "follow backing files, parents and extents to files beneath DIR; default DIR: each image's own directory",
  ),
  MAX_OUTPUT_FLAG,
  ...PROGRESS_FLAGS,
  { name: 'q', help: 'print nothing but errors; the exit status tells' },
  { name: 'help', alias: 'h', help: 'this text' },
  // qemu-img's, which change nothing in the result.
  { name: 'T', value: 'CACHE' },
];

export async function runCompare(argv: readonly string[], stop: Stop): Promise<void> {
  const args = await parseFlags(argv, NAME, FLAGS);
  if (args.has('help')) {
    process.stdout.write(compareHelp(FLAGS));
    return;
  }
  const [a, b] = operands(args, NAME, ['A', 'B']) as [string, string];
  const output = choice(args, NAME, 'output', ['human', 'json']);
  const view = await openProgress(args, NAME);
  const work = compare(imageNamed(a), imageNamed(b), {
    formatA: args.text('f'),
    formatB: args.text('F'),
    strict: args.has('s'),
    ...openOptions(args, a, b),
    maxOutput: size(args, MAX_OUTPUT_FLAG.name),
    signal: stop.signal,
    onProgress: view.update,
  });
  const result = await work.finally(view.end);
  view.result(result);
  if (!args.has('q')) {
    process.stdout.write(output === 'json' ? printJson(result) : printComparison(result));
  }
  if (!result.identical) {
    process.exitCode = DIFFERENT_STATUS;
  }
}
