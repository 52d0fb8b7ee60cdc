//! The copy engine: moves guest data from where a block map says it is to where a layout puts it.
//!
//! One pipeline for every pair of formats. Workers take *units* (chunks of the virtual disk that hold data) from the
//! [`dispenser`], read or decode them, find zeros, compress; then each waits for its turn in virtual order, *places* what
//! it has ([`placement`]), passes the turn on and writes outside it. What was placed goes to a [`log`](mod@log), from
//! which a writer in TypeScript makes tables. Nothing here knows a disk format or N-API.

pub mod beneath;
mod chunk;
pub mod codec;
pub mod compare;
pub mod config;
pub mod digest;
pub mod dispenser;
pub mod error;
pub mod extent;
pub mod fingerprint;
pub mod holes;
pub mod job;
pub mod layout;
pub mod locks;
pub mod log;
mod ops;
pub mod placement;
pub mod replay;
pub mod ring;
pub mod sequencer;
mod shared;
pub mod sink;
pub mod source;
mod sync;
mod worker;
pub mod zero;
mod zstd;

pub use config::Config;
pub use error::{Error, ErrorKind, Result};
pub use extent::{Extent, Kind};
pub use job::{Job, Outcome};
pub use layout::Layout;
pub use log::Log;
