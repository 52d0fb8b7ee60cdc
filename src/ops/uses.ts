import { VdconvError } from '../base/errors.ts';

/**
 * Work on something that will be closed. None begins after the close, and the close waits for what is under way: the
 * number of a closed descriptor may already be another file's.
 */
export class Uses {
  readonly #name: string;
  readonly #running = new Set<Promise<unknown>>();
  #closed = false;

  /** @param name of what is used, for the message. */
  constructor(name: string) {
    this.#name = name;
  }

  /** Throws `usage` after the close. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closed) {
      throw new VdconvError('usage', 'the image is closed', { file: this.#name });
    }
    const running = work();
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  /** Everything that a generator gives, each step as a use of its own. */
  async *each<T>(generator: AsyncGenerator<T>): AsyncGenerator<T, void, undefined> {
    try {
      for (;;) {
        const step = await this.run(() => generator.next());
        if (step.done) {
          return;
        }
        yield step.value;
      }
    } finally {
      await generator.return(undefined);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#running);
  }
}
