/** Both engines, for tests that hold for either. */
import type { Engine } from '../engine/contract.ts';
import { nativeEngine } from '../engine/native.ts';
import { portableEngine } from '../engine/portable.ts';

export const ENGINES = ['native', 'portable'] as const;
export type EngineName = (typeof ENGINES)[number];

/** The engine, or the end of this test as skipped where the addon is not built. */
export function needEngine(ctx: { skip(note?: string): never }, name: EngineName): Engine {
  if (name === 'portable') {
    return portableEngine();
  }
  try {
    return nativeEngine();
  } catch {
    return ctx.skip('the native addon is not built');
  }
}
