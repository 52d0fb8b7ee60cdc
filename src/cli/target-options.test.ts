import { expect, it } from 'vitest';
import { parseTargetOptions } from './target-options.ts';

it.each([
  [['cluster_size=64k'], { cluster_size: '64k' }],
  [['cluster_size=64k,compat=1.1'], { cluster_size: '64k', compat: '1.1' }],
  [['a=1', 'b=2,c=3'], { a: '1', b: '2', c: '3' }],
  [['a=1,a=2', 'a=3'], { a: '3' }],
  [['name=one,,two,b=2'], { name: 'one,two', b: '2' }],
  [['name=,,'], { name: ',' }],
  [['name=one,,,b=2'], { name: 'one,', b: '2' }],
  [['compat6,subformat=monolithicFlat'], { compat6: 'on', subformat: 'monolithicFlat' }],
  [['name=x=y'], { name: 'x=y' }],
  [['name='], { name: '' }],
  [[' a=1, b=2'], { a: '1', b: '2' }],
  [[], {}],
])('%j', (texts, options) => {
  expect(parseTargetOptions(texts)).toEqual(options);
});

it('takes a key for a key, whatever JavaScript calls its objects', () => {
  const options = parseTargetOptions(['__proto__=1,constructor=2']);
  expect(Object.entries(options)).toEqual([
    ['__proto__', '1'],
    ['constructor', '2'],
  ]);
});

it.each(['', '=1', 'a=1,', ',a=1', 'a=1, ,b=2'])('refuses %j', (text) => {
  expect(() => parseTargetOptions([text])).toThrow(`-o ${text}: write key=value[,key=value]`);
});
