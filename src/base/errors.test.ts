import { describe, expect, test } from 'vitest';
import { escapeText, showNumber, VdconvError } from './errors.ts';

describe('escapeText', () => {
  test.each([
    ['ESC, as in a colour sequence', '\u001b[31mred', '\\x1b[31mred'],
    ['newline, which would forge a line', 'a\nvdconv: done', 'a\\x0avdconv: done'],
    ['carriage return and backspace', 'a\rb\bc', 'a\\x0db\\x08c'],
    ['NUL and DEL', '\u0000\u007f', '\\x00\\x7f'],
    ['C1: a CSI in one character', '\u009b2J', '\\x9b2J'],
    ['the ends of C1', '\u0080\u009f', '\\x80\\x9f'],
    ['line and paragraph separators', '\u2028\u2029', '\\u{2028}\\u{2029}'],
    ['right-to-left override, which reverses a name', 'gpj.\u202eexe', 'gpj.\\u{202e}exe'],
    ['isolates and marks', '\u2066\u2069\u200e\u200f', '\\u{2066}\\u{2069}\\u{200e}\\u{200f}'],
    ['Arabic letter mark', '\u061c', '\\u{61c}'],
    ['byte order mark', '\ufeffa', '\\u{feff}a'],
  ])('%s', (_, text, escaped) => {
    expect(escapeText(text)).toBe(escaped);
  });

  test('leaves letters of any script alone', () => {
    expect(escapeText(' ~\u00a0Größe диск 磁盘 💾')).toBe(' ~\u00a0Größe диск 磁盘 💾');
  });
});

describe('VdconvError', () => {
  test('the message is file, fault and what to do next', () => {
    const error = new VdconvError('refused', "the backing file 'b.qcow2' is not followed", {
      file: 'a.qcow2',
      hint: 'add --allow-references',
    });
    expect(error.message).toBe("a.qcow2: the backing file 'b.qcow2' is not followed; add --allow-references");
  });

  test('the file name is escaped in the message and as it is in `file`', () => {
    const error = new VdconvError('read', 'not readable', { file: 'a\u001b[2J\n.img' });
    expect(error.message).toBe('a\\x1b[2J\\x0a.img: not readable');
    expect(error.file).toBe('a\u001b[2J\n.img');
  });

  test('without details the message is the fault alone', () => {
    const error = new VdconvError('usage', 'no such format');
    expect(error.message).toBe('no such format');
    expect('cause' in error).toBe(false);
  });

  test('it carries what programs ask for', () => {
    const cause = new Error('EIO');
    const details = { file: 'f', format: 'vhdx', field: 'BAT', offset: 4096, hint: 'h', cause };
    const error = new VdconvError('corrupt', 'w', details);
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ name: 'VdconvError', code: 'corrupt', ...details });
  });
});

test('numbers are shown in decimal, from 1024 up in hexadecimal too', () => {
  expect(showNumber(0)).toBe('0');
  expect(showNumber(1023)).toBe('1023');
  expect(showNumber(65536)).toBe('65536 (0x10000)');
  expect(showNumber(0xffff_ffff_ffff_ffffn)).toBe('18446744073709551615 (0xffffffffffffffff)');
});
