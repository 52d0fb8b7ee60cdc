import { describe, expect, it } from 'vitest';
import { VdconvError } from '../index.ts';
import { errorLine, exitStatus, type StopSignal } from './exit.ts';

describe('exitStatus', () => {
  // The statuses that the design names, typed in by hand.
  const documented: [VdconvError['code'], number][] = [
    ['internal', 1],
    ['usage', 2],
    ['exists', 2],
    ['wrong-format', 3],
    ['corrupt', 3],
    ['truncated', 3],
    ['unsupported', 3],
    ['read', 3],
    ['write', 4],
    ['refused', 5],
    ['changed', 6],
    ['locked', 7],
    ['limit', 8],
  ];
  it.each(documented)('%s is %i', (code, status) => {
    expect(exitStatus(new VdconvError(code, 'x'))).toBe(status);
  });

  const signals: [StopSignal, number][] = [
    ['SIGHUP', 129],
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ];
  it.each(signals)('aborted by %s is %i', (signal, status) => {
    expect(exitStatus(new VdconvError('aborted', 'x'), signal)).toBe(status);
  });

  it('keeps the reason of a failure that came before the signal had an effect', () => {
    expect(exitStatus(new VdconvError('write', 'x'), 'SIGINT')).toBe(4);
  });

  it('is 1 for a defect', () => {
    expect(exitStatus(new TypeError('x is not a function'))).toBe(1);
    expect(exitStatus('thrown text')).toBe(1);
  });
});

describe('errorLine', () => {
  it('is one line', () => {
    const error = new VdconvError('corrupt', 'bad magic', { file: 'a\nb.img' });
    expect(errorLine(error, false)).toBe('vdconv: a\\x0ab.img: bad magic\n');
  });

  it('says that a defect is to be reported', () => {
    expect(errorLine(new TypeError('x is not a function\nat y'), false)).toBe(
      'vdconv: internal error: x is not a function\\x0aat y; please report it with the output of VDCONV_DEBUG=1\n',
    );
  });

  it('has the stacks of the error and its cause when asked for', () => {
    const cause = new Error('below');
    const [first, ...stack] = errorLine(new VdconvError('read', 'above', { cause }), true).split('\n');
    expect(first).toBe('vdconv: above');
    expect(stack.join('\n')).toContain('exit.test.ts');
    expect(stack.join('\n')).toContain('caused by Error: below');
  });
});
