/** `vdconv convert`, and `vdconv IN OUT`, which is the same with defaults. */
import { type ConvertOptions, convert, parseSize } from '../index.ts';
import { type Arguments, type Flag, parseFlags } from './flags.ts';
import { convertHelp, targetOptionHelp } from './help.ts';
import { openFlags, openOptions } from './open-flags.ts';
import { printNotes, printResult } from './print.ts';
import { openProgress, PROGRESS_FLAGS } from './progress-flags.ts';
import type { Stop } from './signals.ts';
import { parseTargetOptions } from './target-options.ts';
import { operands, wholeNumber } from './values.ts';

const NAME = 'convert';

/** Exported for their test, as {@link convertOptions} is. */
export const FLAGS: readonly Flag[] = [
  { name: 'f', value: 'FMT', help: "IN's format; default: found by its content" },
  { name: 'O', value: 'FMT', help: "OUT's format; default: by the ending of its name" },
  {
    name: 'o',
    value: 'KEY=VALUE[,...]',
    repeats: true,
    help: "options of OUT's format, a comma in a value doubled; -o help lists them",
  },
  { name: 'c', help: 'compress, where the format can' },
  { name: 'compress-level', value: 'N', help: '1 (fast) to 9 (small); implies -c' },
  { name: 'S', value: 'SIZE', help: 'leave out runs of zeros of this size; 0 stores them all; default 4k' },
  { name: 'm', value: 'N', help: 'worker threads; default: one per CPU' },
  { name: 'r', value: 'RATE', help: 'read and write no more than RATE bytes of data per second' },
  { name: 'force', help: 'replace OUT if it exists, once the new file is complete' },
  ...openFlags("follow backing files, parents and extents to files beneath DIR; default DIR: IN's own directory"),
  { name: 'random-ids', help: 'fresh ids (UUID, CID, GUID); default: the same content and options give the same ones' },
  {
    name: 'spool',
    value: 'DIR',
    help: "where temporary files go that a pipe makes necessary; default: the system's place",
  },
  { name: 'no-sync', help: 'do not wait until OUT is safely on the disk' },
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
  const work = convert(source, targetOf(target), { ...options, signal: stop.signal, onProgress: view.update });
  const result = await work.finally(view.end);
  view.result(result);
  if (view.style !== 'json' && !args.has('q')) {
    process.stderr.write(printNotes(result.notes) + printResult(result));
  }
}

/** `-`: standard output. */
function targetOf(name: string): Parameters<typeof convert>[1] {
  return name === '-' ? { fd: 1 } : name;
}

export function convertOptions(args: Arguments, source: string): ConvertOptions {
  const level = wholeNumber(args, NAME, 'compress-level');
  const granularity = args.text('S');
  const rate = args.text('r');
  return {
    format: args.text('f'),
    targetFormat: args.text('O'),
    targetOptions: parseTargetOptions(args.all('o')),
    compress: args.has('c') || level !== undefined,
    compressLevel: level,
    zeroGranularity: granularity === undefined ? undefined : parseSize(granularity, '-S'),
    threads: wholeNumber(args, NAME, 'm'),
    rate: rate === undefined ? undefined : parseSize(rate, '-r'),
    force: args.has('force'),
    spool: args.text('spool'),
    ...openOptions(args, source),
    noSync: args.has('no-sync'),
    randomIds: args.has('random-ids'),
  };
}
