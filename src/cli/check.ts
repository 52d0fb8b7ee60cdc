/** `vdconv check`. */
import { type CheckResult, check, VdconvError } from '../index.ts';
import { CHECK_STATUS, errorLine, exitStatus } from './exit.ts';
import { type Arguments, type Flag, parseFlags } from './flags.ts';
import { checkHelp } from './inspect-help.ts';
import { openFlags, openOptions } from './open-flags.ts';
import { printJson } from './print.ts';
import { checkJson, printCheck } from './print-check.ts';
import { openProgress, PROGRESS_FLAGS } from './progress-flags.ts';
import type { Stop } from './signals.ts';
import { choice, operands } from './values.ts';

const NAME = 'check';

const FLAGS: readonly Flag[] = [
  { name: 'f', value: 'FMT', help: "IMAGE's format; default: found by its content" },
  { name: 'output', value: 'human|json', help: "a line a finding for people (default), or JSON with qemu-img's keys" },
  ...openFlags(
    "open the files that IMAGE consists of (extents, data file), beneath DIR; default DIR: IMAGE's own directory",
  ),
  ...PROGRESS_FLAGS,
  { name: 'q', help: 'print nothing but errors; the exit status tells' },
  { name: 'help', alias: 'h', help: 'this text' },
  // qemu-img's, which change nothing in the result.
  { name: 'T', value: 'CACHE' },
];

/** Its exit statuses are qemu-img's, so the errors that other commands leave to main.ts end here. */
export async function runCheck(argv: readonly string[], stop: Stop): Promise<void> {
  try {
    const args = await parseFlags(argv, NAME, FLAGS);
    if (args.has('help')) {
      process.stdout.write(checkHelp(FLAGS));
      return;
    }
    await checkAndPrint(args, stop);
  } catch (error) {
    process.stderr.write(errorLine(error, process.env.VDCONV_DEBUG === '1'));
    process.exitCode = failureStatus(error, stop);
  }
}

async function checkAndPrint(args: Arguments, stop: Stop): Promise<void> {
  const [path] = operands(args, NAME, ['IMAGE']) as [string];
  const output = choice(args, NAME, 'output', ['human', 'json']);
  const view = await openProgress(args, NAME);
  const work = check(path, {
    format: args.text('f'),
    ...openOptions(args, path),
    signal: stop.signal,
    onProgress: view.update,
  });
  const result = await work.finally(view.end);
  view.result(result);
  if (!args.has('q')) {
    process.stdout.write(output === 'json' ? printJson(checkJson(result)) : printCheck(result));
  }
  process.exitCode = resultStatus(result);
}

function resultStatus({ checkErrors, corruptions, leaks }: CheckResult): number {
  if (checkErrors > 0) {
    return CHECK_STATUS.notChecked;
  }
  return corruptions > 0 ? CHECK_STATUS.corrupt : leaks > 0 ? CHECK_STATUS.leaks : 0;
}

function failureStatus(error: unknown, stop: Stop): number {
  if (error instanceof VdconvError && error.code === 'aborted') {
    return exitStatus(error, stop.received);
  }
  const isUncheckable = error instanceof VdconvError && error.code === 'unsupported' && error.field === 'check';
  return isUncheckable ? CHECK_STATUS.unsupported : CHECK_STATUS.notChecked;
}
