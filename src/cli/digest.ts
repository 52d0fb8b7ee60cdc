/** `vdconv digest`. */
import { digest, escapeText } from '../index.ts';
import { type Flag, parseFlags } from './flags.ts';
import { digestHelp } from './inspect-help.ts';
import { MAX_OUTPUT_FLAG, openFlags, openOptions, SNAPSHOT_FLAG } from './open-flags.ts';
import { printJson } from './print.ts';
import { openProgress, PROGRESS_FLAGS } from './progress-flags.ts';
import type { Stop } from './signals.ts';
import { choice, operands, size, wholeNumber } from './values.ts';

const NAME = 'digest';

const FLAGS: readonly Flag[] = [
  { name: 'f', value: 'FMT', help: "IMAGE's format; default: found by its content" },
  SNAPSHOT_FLAG,
  { name: 'algorithm', value: 'ALG', help: 'blkhash-sha256/64k (default), with any other size of block, or sha256' },
  { name: 'output', value: 'human|json', help: 'as sha256sum prints it (default), or JSON for programs' },
  ...openFlags("follow backing files, parents and extents to files beneath DIR; default DIR: IMAGE's own directory"),
  MAX_OUTPUT_FLAG,
  { name: 'm', value: 'N', help: 'worker threads; default: one per CPU' },
  ...PROGRESS_FLAGS,
  { name: 'help', alias: 'h', help: 'this text' },
];

export async function runDigest(argv: readonly string[], stop: Stop): Promise<void> {
  const args = await parseFlags(argv, NAME, FLAGS);
  if (args.has('help')) {
    process.stdout.write(digestHelp(FLAGS));
    return;
  }
  const [image] = operands(args, NAME, ['IMAGE']) as [string];
  const output = choice(args, NAME, 'output', ['human', 'json']);
  const view = await openProgress(args, NAME);
  const work = digest(image, {
    format: args.text('f'),
    ...openOptions(args, image),
    maxOutput: size(args, MAX_OUTPUT_FLAG.name),
    algorithm: args.text('algorithm'),
    threads: wholeNumber(args, NAME, 'm'),
    signal: stop.signal,
    onProgress: view.update,
  });
  const result = await work.finally(view.end);
  view.result(result);
  process.stdout.write(output === 'json' ? printJson(result) : `${result.digest}  ${escapeText(result.filename)}\n`);
}
