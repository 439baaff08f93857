//! The classic protocols of distributed systems as pure state machines.
//!
//! Each protocol is one [`machine::Machine`]: a function `(state, input) -> (state, outputs)` that
//! runs unchanged in a model checker and on a network. This crate is what ships; what is claimed of
//! it, and checked exhaustively, is in the workspace's `models` crate, which this one never sees.
//!
//! Read in this order: [`machine`], the one framework file; [`quorum`] and [`data`], what protocols
//! count and keep things with; then a protocol, of which [`register`] is the simplest.
//!
//! | to | there is |
//! |---|---|
//! | agree | [`raft`], among nodes that crash; [`pbft`], among nodes that lie. [`kv`] is what they store |
//! | commit, all or nothing | [`commit`], which blocks; [`paxos_commit`], which does not |
//! | store, at one end of CAP or at the other | [`cap`]; [`store`], with a leader and no log; [`database`] |
//! | converge | [`gossip`], [`causal`], [`sync`]; [`crdt`]: values that converge by themselves |
//! | know who is there | [`detector`], [`swim`] |
//! | stay one | [`split_brain`], [`lease`], [`singleton`]; [`membership`] is that with SWIM |
//! | call and be called | [`service`]: sessions, retries, breaker and bulkhead; [`batch`], [`cache`], [`backoff`] |
//!
//! [`clock`], [`merkle`] and [`ring`] are values that protocols are made of. The `udp` module, behind the feature
//! of that name, runs the same machines as processes.
//!
//! # What is absent
//!
//! The crate is `no_std`, so that no protocol can name a clock, a socket, a thread, a file, a source
//! of randomness or a randomly seeded map. Its core depends on serde and im alone. No state holds an
//! address, an instant or a random number. No output leaves before the disk has what it rests on.
#![no_std]

extern crate alloc;

pub mod backoff;
pub mod batch;
pub mod cache;
pub mod cap;
pub mod causal;
pub mod clock;
pub mod commit;
pub mod crdt;
pub mod data;
pub mod database;
pub mod detector;
pub mod gossip;
pub mod kv;
pub mod lease;
pub mod machine;
pub mod membership;
pub mod merkle;
pub mod paxos_commit;
pub mod pbft;
pub mod quorum;
pub mod raft;
pub mod register;
pub mod ring;
pub mod service;
pub mod singleton;
pub mod split_brain;
pub mod store;
pub mod swim;
pub mod sync;
#[cfg(feature = "udp")]
pub mod udp;
