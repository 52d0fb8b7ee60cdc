/** `vdconv map`. */
import { once } from 'node:events';
import { map } from '../index.ts';
import { type Flag, parseFlags } from './flags.ts';
import { mapHelp } from './inspect-help.ts';
import { imageNamed, openFlags, openOptions, SNAPSHOT_FLAG } from './open-flags.ts';
import { jsonArray, mapTable } from './print-map.ts';
import type { Stop } from './signals.ts';
import { choice, operands } from './values.ts';

const NAME = 'map';

const FLAGS: readonly Flag[] = [
  { name: 'f', value: 'FMT', help: "IMAGE's format; default: found by its content" },
  SNAPSHOT_FLAG,
  { name: 'output', value: 'human|json', help: 'a table for people (default), or a JSON array for programs' },
  ...openFlags("follow backing files, parents and extents to files beneath DIR; default DIR: IMAGE's own directory"),
  { name: 'help', alias: 'h', help: 'this text' },
];

export async function runMap(argv: readonly string[], stop: Stop): Promise<void> {
  const args = await parseFlags(argv, NAME, FLAGS);
  if (args.has('help')) {
    process.stdout.write(mapHelp(FLAGS));
    return;
  }
  const [path] = operands(args, NAME, ['IMAGE']) as [string];
  const print = choice(args, NAME, 'output', ['human', 'json']) === 'json' ? jsonArray : mapTable;
  const entries = map(imageNamed(path), {
    format: args.text('f'),
    ...openOptions(args, path),
    signal: stop.signal,
  });
  for await (const text of print(entries)) {
    // A reader that is slower than the map makes it wait: the map of a large disk is never whole in memory.
    if (!process.stdout.write(text)) {
      await once(process.stdout, 'drain');
    }
  }
}
