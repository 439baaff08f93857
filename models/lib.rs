//! What is claimed of quorate, and the checker that checks it.
//!
//! Read [`world`] first, then [`engine`], then a protocol: [`register`].
pub mod action;
pub mod audit;
pub mod calm;
pub mod catalogue;
pub mod clock;
pub mod commit;
pub mod diagram;
pub mod engine;
pub mod flaw;
pub mod ghost;
pub mod gossip;
pub mod history;
pub mod kv;
pub mod laws;
mod memory;
pub mod merkle;
pub mod path;
pub mod pbft;
pub mod promise;
pub mod purge;
pub mod raft;
pub mod register;
pub mod service;
pub mod shared;
pub mod simulate;
pub mod snapshot;
pub mod story;
pub mod symmetry;
pub mod sync;
pub mod testing;
pub mod world;
pub mod yardstick;
