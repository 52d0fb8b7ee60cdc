/** `vdconv convert`, and `vdconv IN OUT`, which is the same with defaults. */
import { type ConvertOptions, convert } from '../index.ts';
import { DAMAGED_STATUS } from './exit.ts';
import { type Arguments, type Flag, parseFlags } from './flags.ts';
import { convertHelp, targetOptionHelp } from './help.ts';
import { imageNamed, MAX_OUTPUT_FLAG, openFlags, openOptions, SNAPSHOT_FLAG } from './open-flags.ts';
import { printDropped, printLost, printNotes, printResult } from './print.ts';
import { openProgress, PROGRESS_FLAGS } from './progress-flags.ts';
import type { Stop } from './signals.ts';
import { OUTPUT_FLAGS, TARGET_FLAGS, targetOptions } from './target-flags.ts';
import { operands, size, wholeNumber } from './values.ts';

const NAME = 'convert';

/** Exported for their test, as {@link convertOptions} is. */
export const FLAGS: readonly Flag[] = [
  { name: 'f', value: 'FMT', help: "IN's format; default: found by its content" },
  SNAPSHOT_FLAG,
  ...openFlags("follow backing files, parents and extents to files beneath DIR; default DIR: IN's own directory"),
  ...TARGET_FLAGS,
  { name: 'S', value: 'SIZE', help: 'leave out runs of zeros of this size; 0 stores them all; default 4k' },
  { name: 'm', value: 'N', help: 'worker threads; default: one per CPU' },
  { name: 'r', value: 'RATE', help: 'read and write no more than RATE bytes of data per second' },
  ...OUTPUT_FLAGS,
  { name: 'size', value: 'SIZE', help: 'bytes of the raw disk that comes through standard input' },
  { name: 'salvage', help: 'convert what can be read, zeros for the rest, list what is lost; exit status 3' },
  MAX_OUTPUT_FLAG,
  { name: 'digest', value: 'ALG', help: 'hash the new disk while it is written: see vdconv digest --help' },
  ...PROGRESS_FLAGS,
  { name: 'q', help: 'print nothing but errors' },
  { name: 'help', alias: 'h', help: 'this text' },
  // qemu-img's flags that ask for what vdconv does anyway, or that change nothing in the result.
  { name: 'W' },
  { name: 'C' },
  { name: 't', value: 'CACHE' },
  { name: 'T', value: 'CACHE' },
];

export async function runConvert(argv: readonly string[], stop: Stop): Promise<void> {
  const args = await parseFlags(argv, NAME, FLAGS);
  if (args.has('help')) {
    process.stdout.write(convertHelp(FLAGS));
    return;
  }
  if (args.all('o').some((text) => text === 'help' || text === '?')) {
    process.stdout.write(targetOptionHelp(args.text('O')));
    return;
  }
  const [source, target] = operands(args, NAME, ['IN', 'OUT']) as [string, string];
  const options = convertOptions(args, source);
  const view = await openProgress(args, NAME);
  const work = convert(imageNamed(source), targetOf(target), {
    ...options,
    signal: stop.signal,
    onProgress: view.update,
  });
  const result = await work.finally(view.end);
  view.result(result);
  if (view.style !== 'json' && !args.has('q')) {
    process.stderr.write(printNotes(result.notes) + printDropped(result) + printResult(result));
  }
  if (result.salvaged.length > 0) {
    process.stderr.write(printLost(result.salvaged));
    process.exitCode = DAMAGED_STATUS;
  }
}

/** `-`: standard output. */
function targetOf(name: string): Parameters<typeof convert>[1] {
  return name === '-' ? { fd: 1 } : name;
}

export function convertOptions(args: Arguments, source: string): ConvertOptions {
  return {
    format: args.text('f'),
    ...openOptions(args, source),
    ...targetOptions(args, NAME),
    zeroGranularity: size(args, 'S'),
    threads: wholeNumber(args, NAME, 'm'),
    rate: size(args, 'r'),
    salvage: args.has('salvage'),
    maxOutput: size(args, MAX_OUTPUT_FLAG.name),
    digest: args.text('digest'),
    size: size(args, 'size'),
  };
}
