/** `vdconv info`. */
import { info } from '../index.ts';
import { type Flag, parseFlags } from './flags.ts';
import { infoHelp } from './help.ts';
import { imageNamed, openFlags, openOptions, SNAPSHOT_FLAG } from './open-flags.ts';
import { printInfo, printJson } from './print.ts';
import type { Stop } from './signals.ts';
import { choice, operands } from './values.ts';

const NAME = 'info';

const FLAGS: readonly Flag[] = [
  { name: 'f', value: 'FMT', help: "IMAGE's format; default: found by its content" },
  SNAPSHOT_FLAG,
  { name: 'output', value: 'human|json', help: 'a table for people (default), or JSON for programs' },
  ...openFlags("open the extents that IMAGE consists of, beneath DIR; default DIR: IMAGE's own directory"),
  { name: 'help', alias: 'h', help: 'this text' },
];

export async function runInfo(argv: readonly string[], stop: Stop): Promise<void> {
  const args = await parseFlags(argv, NAME, FLAGS);
  if (args.has('help')) {
    process.stdout.write(infoHelp(FLAGS));
    return;
  }
  const [path] = operands(args, NAME, ['IMAGE']) as [string];
  const output = choice(args, NAME, 'output', ['human', 'json']);
  const found = await info(imageNamed(path), {
    format: args.text('f'),
    ...openOptions(args, path),
    signal: stop.signal,
  });
  process.stdout.write(output === 'json' ? printJson(found) : printInfo(found));
}
