/** How long work shows that it moves: a bar on a terminal, lines of JSON for programs, or nothing. */
import { formatSize, type Progress } from '../index.ts';

export type ProgressStyle = 'bar' | 'none' | 'json';

export interface ProgressView {
  update(progress: Progress): void;
  /** What came of it, for programs that read the progress. */
  result(result: unknown): void;
  /** Takes what is on the terminal away; to be called before anything else is printed. */
  end(): void;
}

/** The part of a stream that a bar needs; process.stderr is one. */
export type ProgressStream = Pick<NodeJS.WriteStream, 'write'> & { isTTY?: boolean };

export async function progressView(style: ProgressStyle, stream: ProgressStream): Promise<ProgressView> {
  if (style === 'none') {
    return { update() {}, result() {}, end() {} };
  }
  if (style === 'json') {
    return jsonLines((line) => void stream.write(line));
  }
  return stream.isTTY === true ? terminalBar(stream) : percentLines(stream);
}

/** `{"done":…,"total":…}` a line, at last `{"result":…}`. */
export function jsonLines(write: (line: string) => void): ProgressView {
  return {
    update: ({ done, total }) => write(`${JSON.stringify({ done, total })}\n`),
    result: (result) => write(`${JSON.stringify({ result })}\n`),
    end() {},
  };
}

export function bothViews(...views: [ProgressView, ProgressView]): ProgressView {
  return {
    update: (progress) => views.forEach((view) => void view.update(progress)),
    result: (result) => views.forEach((view) => void view.result(result)),
    end: () => views.forEach((view) => void view.end()),
  };
}

async function terminalBar(stream: ProgressStream): Promise<ProgressView> {
  const { default: Bar } = await import('progress');
  let bar: InstanceType<typeof Bar> | undefined;
  return {
    update({ done, total }) {
      if (total === 0) {
        return;
      }
      if (bar === undefined) {
        const options = { total, width: 40, clear: true, stream: stream as NodeJS.WritableStream };
        bar = new Bar('[:bar] :percent of :size, :etas left', options);
        // The first tick starts the clock that the estimate needs.
        bar.tick(0, { size: formatSize(total) });
      }
      bar.curr = done;
      bar.render({ size: formatSize(total) });
    },
    result() {},
    end() {
      bar?.terminate();
      bar = undefined;
    },
  };
}

/** A bar that was asked for where none can be drawn: a line every tenth, for logs. */
function percentLines(stream: ProgressStream): ProgressView {
  let next = 10;
  return {
    update({ done, total }) {
      const percent = total === 0 ? 100 : Math.floor((done / total) * 100);
      if (percent >= next) {
        stream.write(`vdconv: ${percent}%\n`);
        next = percent - (percent % 10) + 10;
      }
    },
    result() {},
    end() {},
  };
}
