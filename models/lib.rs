//! models
pub mod action;
pub mod calm;
pub mod catalogue;
pub mod diagram;
pub mod flaw;
pub mod ghost;
pub mod history;
mod memory;
pub mod promise;
pub mod register;
pub mod search;
pub mod shared;
pub mod snapshot;
pub mod story;
pub mod world;
