//! Ring change: nothing that was acknowledged is lost and nothing goes back, at exactly one of the
//! corners of what a change can leave out.

use quorate_models::rebalance::corners::{Corner, Safeguard, Safeguards, corner, corners};
use quorate_models::rebalance::{CALLS_RETURN, ENDS, FORWARD, IN_ORDER, READ};
use quorate_models::testing::{audits, holds, refutes};

#[test]
fn promises_hold_while_a_node_joins() {
    holds("rebalance", "join", 0);
}

#[test]
fn promises_hold_while_a_node_leaves() {
    holds("rebalance", "leave", 0);
}

#[test]
fn promises_hold_when_a_write_counts_one_more_for_each_pending_replica() {
    holds("rebalance", "pending-too", 0);
}
