/** Which engine runs, and what is said of it. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { Engine } from './contract.ts';

const nativeEngine = vi.hoisted(() => vi.fn<() => Partial<Engine>>());
vi.mock('./native.ts', () => ({ nativeEngine }));

beforeEach(() => {
  nativeEngine.mockReset().mockReturnValue({ name: 'native' });
});
afterEach(() => vi.unstubAllEnvs());

/** As a new process with this environment would choose. */
async function choice(asked: string | undefined) {
  vi.stubEnv('VDCONV_ENGINE', asked);
  vi.resetModules();
  const { loadEngine } = await import('./engine.ts');
  const { engine, why } = loadEngine();
  expect(loadEngine().engine, 'one engine a process').toBe(engine);
  return `${engine.name}: ${why}`;
}

const notBuilt = Object.assign(new Error("Cannot find module '../../x'\nRequire stack: y"), {
  code: 'MODULE_NOT_FOUND',
});

it('is the native one where the addon loads', async () => {
  expect(await choice(undefined)).toBe('native: the addon is built for this machine');
  expect(await choice('native')).toBe('native: VDCONV_ENGINE asks for it');
});

it.each([
  ['is not built', notBuilt, 'portable: the native addon is not built (install Rust and run `make build`)'],
  [
    'does not load',
    new Error('libc.so: no such\nversion'),
    'portable: the native addon does not load: libc.so: no such',
  ],
])('is the portable one where the addon %s, and says why', async (_what, error, text) => {
  nativeEngine.mockImplementation(() => {
    throw error;
  });
  expect(await choice(undefined)).toBe(text);
});

it('is the portable one where it was asked for, and the addon is left alone', async () => {
  expect(await choice('portable')).toBe('portable: VDCONV_ENGINE asks for it');
  expect(nativeEngine).not.toHaveBeenCalled();
});

it('is refused where the one that was asked for is not there', async () => {
  nativeEngine.mockImplementation(() => {
    throw notBuilt;
  });
  await expect(choice('native')).rejects.toMatchObject({
    code: 'unsupported',
    message:
      'the native addon is not built (install Rust and run `make build`); set VDCONV_ENGINE=portable to do without it',
  });
});

it('is refused where the environment names none', async () => {
  await expect(choice('turbo')).rejects.toMatchObject({
    code: 'usage',
    message: 'VDCONV_ENGINE=turbo: must be native or portable',
  });
});
