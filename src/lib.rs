//! quorate
#![no_std]

extern crate alloc;

pub mod data;
pub mod machine;
pub mod quorum;
pub mod register;
