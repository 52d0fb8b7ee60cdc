//! The N-API binding of the copy engine. It converts types and turns blocking calls into promises; the engine is
//! vdconv-core. src/engine/native.ts is the only caller.

// Only Node calls these functions; in a test build nothing does.
#![cfg_attr(test, allow(dead_code))]

mod compare;
mod config;
mod job;
mod tools;
