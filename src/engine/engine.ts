/** Chooses the engine. */
import { escapeText, VdconvError } from '../base/errors.ts';
import type { Engine } from './contract.ts';
import { nativeEngine } from './native.ts';
import { portableEngine } from './portable.ts';

export interface EngineChoice {
  engine: Engine;
  /** One clause for `--version --verbose`: why this engine and not the other. */
  why: string;
}

/** The environment variable that chooses: `native` or `portable`. */
const VARIABLE = 'VDCONV_ENGINE';

let chosen: EngineChoice | undefined;

/**
 * The engine of this process, loaded at the first call. Throws `usage` where the environment names no engine,
 * `unsupported` where it names one that is not there.
 */
export function loadEngine(): EngineChoice {
  chosen ??= choose(process.env[VARIABLE]);
  return chosen;
}

function choose(asked: string | undefined): EngineChoice {
  switch (asked) {
    case undefined:
    case '':
      return nativeIfBuilt();
    case 'native':
      return { engine: nativeOrRefused(), why: `${VARIABLE} asks for it` };
    case 'portable':
      return { engine: portableEngine(), why: `${VARIABLE} asks for it` };
    default:
      throw new VdconvError('usage', `${VARIABLE}=${escapeText(asked)}: must be native or portable`);
  }
}

function nativeIfBuilt(): EngineChoice {
  try {
    return { engine: nativeEngine(), why: 'the addon is built for this machine' };
  } catch (error) {
    return { engine: portableEngine(), why: `the native addon ${whyNot(error)}` };
  }
}

function nativeOrRefused(): Engine {
  try {
    return nativeEngine();
  } catch (error) {
    throw notThere(error);
  }
}

function notThere(cause: unknown): VdconvError {
  const hint = `set ${VARIABLE}=portable to do without it`;
  return new VdconvError('unsupported', `the native addon ${whyNot(cause)}`, { hint, cause });
}

function whyNot(error: unknown): string {
  if ((error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND') {
    return 'is not built (install Rust and run `make build`)';
  }
  const first = (error instanceof Error ? error.message : String(error)).split('\n', 1)[0] as string;
  return `does not load: ${escapeText(first)}`;
}
