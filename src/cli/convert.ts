/** `vdconv convert`, and `vdconv IN OUT`, which is the same with defaults. */
import { type ConvertOptions, convert, parseSize } from '../index.ts';
import { type Arguments, type Flag, parseFlags } from './flags.ts';
import { convertHelp, targetOptionHelp } from './help.ts';
import { printNotes, printResult } from './print.ts';
import { type ProgressStyle, progressView } from './progress.ts';
import type { Stop } from './signals.ts';
import { parseTargetOptions } from './target-options.ts';
import { allowedDirectories, choice, operands, wholeNumber } from './values.ts';

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
  { name: 'force', help: 'replace OUT if it exists, once the new file is complete' },
  {
    name: 'allow-references',
    value: '[DIR]',
    repeats: true,
    help: "follow backing files, parents and extents to files beneath DIR; default DIR: IN's own directory. May be repeated",
  },
  { name: 'no-sync', help: 'do not wait until OUT is safely on the disk' },
  { name: 'p', help: 'show progress; the same as --progress=bar' },
  {
    name: 'progress',
    value: 'bar|none|json',
    help: 'default: bar when standard error is a terminal; json: one object a line on standard error',
  },
  { name: 'q', help: 'print nothing but errors' },
  { name: 'help', alias: 'h', help: 'this text' },
  // qemu-img's flags that ask for what vdconv does anyway, or that change nothing in the result.
  { name: 'W' },
  { name: 'C' },
  { name: 'U' },
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
  const style = progressStyle(args);
  const options = convertOptions(args, source);
  const view = await progressView(style, process.stderr);
  const work = convert(source, target, { ...options, signal: stop.signal, onProgress: view.update });
  const result = await work.finally(view.end);
  if (style === 'json') {
    process.stderr.write(`${JSON.stringify({ result })}\n`);
  } else if (!args.has('q')) {
    process.stderr.write(printNotes(result.notes) + printResult(result));
  }
}

export function convertOptions(args: Arguments, source: string): ConvertOptions {
  const level = wholeNumber(args, NAME, 'compress-level');
  const granularity = args.text('S');
  return {
    format: args.text('f'),
    targetFormat: args.text('O'),
    targetOptions: parseTargetOptions(args.all('o')),
    compress: args.has('c') || level !== undefined,
    compressLevel: level,
    zeroGranularity: granularity === undefined ? undefined : parseSize(granularity, '-S'),
    threads: wholeNumber(args, NAME, 'm'),
    force: args.has('force'),
    allowReferences: allowedDirectories(args, source),
    noSync: args.has('no-sync'),
  };
}

/** What was asked for by name comes first, then -q, then what standard error is. */
function progressStyle(args: Arguments): ProgressStyle {
  const asked = choice(args, NAME, 'progress', ['bar', 'none', 'json']);
  if (asked !== undefined) {
    return asked;
  }
  if (args.has('p')) {
    return 'bar';
  }
  return args.has('q') || !process.stderr.isTTY ? 'none' : 'bar';
}
