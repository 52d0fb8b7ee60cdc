/** `vdconv measure`. */
import { type Measurement, measure } from '../index.ts';
import { type Flag, parseFlags, usageError } from './flags.ts';
import { measureHelp } from './make-help.ts';
import { imageNamed, MAX_OUTPUT_FLAG, openFlags, openOptions, SNAPSHOT_FLAG } from './open-flags.ts';
import { exactSize, printJson } from './print.ts';
import type { Stop } from './signals.ts';
import { TARGET_FLAGS, targetOptions } from './target-flags.ts';
import { choice, operands, size, wholeNumber } from './values.ts';

const NAME = 'measure';

const FLAGS: readonly Flag[] = [
  { name: 'f', value: 'FMT', help: "IN's format; default: found by its content" },
  SNAPSHOT_FLAG,
  ...openFlags("follow backing files, parents and extents to files beneath DIR; default DIR: IN's own directory"),
  MAX_OUTPUT_FLAG,
  ...TARGET_FLAGS,
  { name: 'S', value: 'SIZE', help: 'as in convert: runs of zeros of this size are left out; default 4k' },
  { name: 'size', value: 'SIZE', help: 'measure for an empty disk of SIZE bytes in place of IN' },
  { name: 'fast', help: "from IN's metadata alone: an upper bound" },
  { name: 'm', value: 'N', help: 'worker threads; default: one per CPU' },
  { name: 'output', value: 'human|json', help: 'text for people (default), or JSON for programs' },
  { name: 'help', alias: 'h', help: 'this text' },
];

export async function runMeasure(argv: readonly string[], stop: Stop): Promise<void> {
  const args = await parseFlags(argv, NAME, FLAGS);
  if (args.has('help')) {
    process.stdout.write(measureHelp(FLAGS));
    return;
  }
  const empty = size(args, 'size');
  if (args.text('O') === undefined) {
    throw usageError(NAME, 'say with -O for which format');
  }
  const [source] = operands(args, NAME, empty === undefined ? ['IN'] : []);
  const output = choice(args, NAME, 'output', ['human', 'json']);
  const measured = await measure(source === undefined ? undefined : imageNamed(source), {
    format: args.text('f'),
    ...openOptions(args, source ?? ''),
    maxOutput: size(args, MAX_OUTPUT_FLAG.name),
    ...targetOptions(args, NAME),
    zeroGranularity: size(args, 'S'),
    size: empty,
    threads: wholeNumber(args, NAME, 'm'),
    fast: args.has('fast'),
    signal: stop.signal,
  });
  process.stdout.write(output === 'json' ? printJson(asQemu(measured)) : printMeasurement(measured));
}

/** With qemu-img's keys. */
function asQemu({ required, fullyAllocated, exact }: Measurement) {
  return { required, 'fully-allocated': fullyAllocated, exact };
}

function printMeasurement({ required, fullyAllocated, exact }: Measurement): string {
  const bound = exact ? '' : ' at most';
  return `required size:${bound} ${exactSize(required)}\nfully allocated size: ${exactSize(fullyAllocated)}\n`;
}
