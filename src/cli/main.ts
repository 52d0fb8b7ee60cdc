/** The command: which part of it the arguments ask for, and how it ends. */
import { escapeText } from '../base/errors.ts';
import { errorLine, exitStatus, isClosedPipe } from './exit.ts';
import { usageError } from './flags.ts';
import { type Stop, stopOnSignals } from './signals.ts';
import { guardStreams } from './streams.ts';

const COMMANDS: Readonly<Record<string, (argv: readonly string[], stop: Stop) => Promise<void>>> = {
  check: async (argv, stop) => (await import('./check.ts')).runCheck(argv, stop),
  compare: async (argv, stop) => (await import('./compare.ts')).runCompare(argv, stop),
  convert: async (argv, stop) => (await import('./convert.ts')).runConvert(argv, stop),
  create: async (argv, stop) => (await import('./create.ts')).runCreate(argv, stop),
  digest: async (argv, stop) => (await import('./digest.ts')).runDigest(argv, stop),
  info: async (argv, stop) => (await import('./info.ts')).runInfo(argv, stop),
  map: async (argv, stop) => (await import('./map.ts')).runMap(argv, stop),
  measure: async (argv, stop) => (await import('./measure.ts')).runMeasure(argv, stop),
};

async function run(argv: readonly string[], stop: Stop): Promise<void> {
  const [first, ...rest] = argv;
  if (first === undefined) {
    throw usageError('', 'nothing to do: name an image to read and a file to write');
  }
  if (first === '--help' || first === '-h' || first === 'help') {
    process.stdout.write((await import('./help.ts')).mainHelp());
    return;
  }
  if (first === '--version' || (first === '--verbose' && rest[0] === '--version')) {
    process.stdout.write(await (await import('./version.ts')).printVersion(argv.includes('--verbose')));
    return;
  }
  const command = Object.hasOwn(COMMANDS, first) ? COMMANDS[first] : undefined;
  if (command !== undefined) {
    return command(rest, stop);
  }
  if (rest.length === 0 && /^[a-z-]+$/.test(first)) {
    const commands = Object.keys(COMMANDS).join(', ');
    throw usageError('', `'${escapeText(first)}' is no command (${commands}), and OUT is missing for an image`);
  }
  await COMMANDS.convert?.(argv, stop);
}

guardStreams();
const stop = stopOnSignals();
try {
  await run(process.argv.slice(2), stop);
} catch (error) {
  if (!isClosedPipe(error)) {
    process.stderr.write(errorLine(error, process.env.VDCONV_DEBUG === '1'));
  }
  process.exitCode = exitStatus(error, stop.received);
}
