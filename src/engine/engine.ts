/** Chooses the engine. */
import { VdconvError } from '../base/errors.ts';
import type { Engine } from './contract.ts';
import { nativeEngine } from './native.ts';

export interface EngineChoice {
  engine: Engine;
  /** One clause for `--version --verbose`: why this engine and not the other. */
  why: string;
}

let chosen: EngineChoice | undefined;

/** The engine of this process, loaded at the first call. */
export function loadEngine(): EngineChoice {
  chosen ??= choose();
  return chosen;
}

function choose(): EngineChoice {
  try {
    return { engine: nativeEngine(), why: 'the addon is built for this machine' };
  } catch (error) {
    throw notBuilt(error);
  }
}

function notBuilt(cause: unknown): VdconvError {
  const hint = 'install Rust and run `make build`';
  return new VdconvError('unsupported', 'the native engine is not built', { hint, cause });
}
