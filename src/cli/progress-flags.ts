/** How a command that takes its time is told to show it: the same flags for all of them. */
import { fstatSync, writeSync } from 'node:fs';
import { type Arguments, type Flag, usageError } from './flags.ts';
import { bothViews, jsonLines, type ProgressStyle, type ProgressView, progressView } from './progress.ts';
import { choice, wholeNumber } from './values.ts';

export const PROGRESS_FLAGS: readonly Flag[] = [
  { name: 'p', help: 'show progress; the same as --progress=bar' },
  {
    name: 'progress',
    value: 'bar|none|json',
    help: 'default: bar when standard error is a terminal; json: one object a line on standard error',
  },
  {
    name: 'progress-fd',
    value: 'N',
    help: 'also write progress to descriptor N, which the caller has opened (3>file): one JSON object a line',
  },
];

/** @param args must know {@link PROGRESS_FLAGS} and -q. */
export async function openProgress(args: Arguments, command: string): Promise<ProgressView & { style: ProgressStyle }> {
  const style = progressStyle(args, command);
  const fd = wholeNumber(args, command, 'progress-fd');
  const view = await progressView(style, process.stderr);
  return { ...(fd === undefined ? view : bothViews(view, jsonLines(descriptor(fd, command)))), style };
}

/** What was asked for by name comes first, then -q, then what standard error is. */
function progressStyle(args: Arguments, command: string): ProgressStyle {
  const asked = choice(args, command, 'progress', ['bar', 'none', 'json']);
  if (asked !== undefined) {
    return asked;
  }
  if (args.has('p')) {
    return 'bar';
  }
  return args.has('q') || !process.stderr.isTTY ? 'none' : 'bar';
}

/** A reader that went away does not end the work: it only asked to watch. */
function descriptor(fd: number, command: string): (line: string) => void {
  if (!takesBytes(fd)) {
    throw usageError(command, `option --progress-fd: descriptor ${fd} is not open for writing`);
  }
  return (line) => {
    try {
      writeSync(fd, line);
    } catch {
      // Gone, or full: the next line will tell.
    }
  };
}

/** Descriptors that Node has open for itself (event queues) are none of these kinds. */
function takesBytes(fd: number): boolean {
  try {
    const stat = fstatSync(fd);
    return stat.isFile() || stat.isFIFO() || stat.isSocket() || stat.isCharacterDevice();
  } catch {
    return false;
  }
}
