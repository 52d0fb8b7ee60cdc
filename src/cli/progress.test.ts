import { expect, it } from 'vitest';
import { type ProgressStream, progressView } from './progress.ts';

function recorder(terminal: boolean) {
  const written: string[] = [];
  const stream = {
    isTTY: terminal,
    columns: 80,
    write: (text: string) => written.push(text) > 0,
    cursorTo: () => written.push('<start>'),
    clearLine: (to?: number) => written.push(to === 1 ? '<clear right>' : '<clear>'),
  };
  return { written, stream: stream as unknown as ProgressStream };
}

const GiB = 1024 ** 3;

it('draws a bar on a terminal, and takes it away', async () => {
  const { written, stream } = recorder(true);
  const view = await progressView('bar', stream);
  view.update({ done: 0, total: 4 * GiB });
  await new Promise((resolve) => setTimeout(resolve, 30));
  view.update({ done: GiB, total: 4 * GiB });
  expect(written.filter((text) => text.startsWith('['))).toEqual([
    expect.stringMatching(/^\[-{40}\] 0% of 4 GiB/),
    expect.stringMatching(/^\[={10}-{30}\] 25% of 4 GiB, \d+\.\ds left$/),
  ]);
  written.length = 0;
  view.end();
  expect(written).toEqual(['<clear>', '<start>']);
  view.end();
  expect(written).toHaveLength(2);
});

it('writes a line every tenth where no bar can be drawn', async () => {
  const { written, stream } = recorder(false);
  const view = await progressView('bar', stream);
  for (const done of [0, 9, 10, 11, 35, 39, 40, 100]) {
    view.update({ done, total: 100 });
  }
  view.end();
  expect(written).toEqual(['vdconv: 10%\n', 'vdconv: 35%\n', 'vdconv: 40%\n', 'vdconv: 100%\n']);
});

it('writes an object a line for programs', async () => {
  const { written, stream } = recorder(true);
  const view = await progressView('json', stream);
  view.update({ done: 1, total: 2 });
  view.end();
  expect(written).toEqual(['{"done":1,"total":2}\n']);
});

it('writes nothing when none is wanted, nor a bar for an empty disk', async () => {
  const { written, stream } = recorder(true);
  for (const style of ['none', 'bar'] as const) {
    const view = await progressView(style, stream);
    view.update({ done: 0, total: 0 });
    view.end();
  }
  expect(written).toEqual([]);
});
