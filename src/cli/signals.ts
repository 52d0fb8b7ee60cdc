/** The first SIGINT, SIGTERM or SIGHUP asks the work to stop; a second one, or work that does not stop, ends the process. */
import { SIGNAL_STATUS, type StopSignal } from './exit.ts';

/** Milliseconds that work has to stop by itself. The temporary output is removed either way, as the process exits. */
const PATIENCE = 900;

export interface Stop {
  readonly signal: AbortSignal;
  /** The signal that arrived, if one did. */
  readonly received: StopSignal | undefined;
}

/** To be called once; from then on the signals no longer end the process by themselves. */
export function stopOnSignals(): Stop {
  const controller = new AbortController();
  let received: StopSignal | undefined;
  for (const name of Object.keys(SIGNAL_STATUS) as StopSignal[]) {
    process.on(name, () => {
      if (received !== undefined) {
        process.exit(SIGNAL_STATUS[name]);
      }
      received = name;
      setTimeout(() => process.exit(SIGNAL_STATUS[name]), PATIENCE).unref();
      controller.abort();
    });
  }
  return {
    signal: controller.signal,
    get received() {
      return received;
    },
  };
}
