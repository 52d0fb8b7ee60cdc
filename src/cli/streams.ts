/** Standard output and error as a command uses them: a reader that went away ends the command quietly. */

import { VdconvError } from '../base/errors.ts';
import { errorLine, exitStatus, SIGPIPE_STATUS } from './exit.ts';

/** To be called once, before anything is printed. */
export function guardStreams(): void {
  process.stdout.on('error', (cause: NodeJS.ErrnoException) => {
    if (cause.code === 'EPIPE') {
      process.exit(SIGPIPE_STATUS);
    }
    const error = new VdconvError('write', `cannot write to standard output: ${cause.message}`, {
      cause,
    });
    process.stderr.write(errorLine(error, false));
    process.exit(exitStatus(error));
  });
  process.stderr.on('error', () => {
    // Nobody reads the messages; the exit status still tells.
  });
}
