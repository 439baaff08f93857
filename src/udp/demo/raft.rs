//! Raft: the leader killed while it is written to, and nothing that was acknowledged lost.

use alloc::format;
use alloc::string::ToString;

use super::{DemoError, Stage, eventually, said};
use crate::data::NodeSet;
use crate::machine::NodeId;
use crate::udp::remote::shown;
use crate::udp::resp::Value;
use crate::udp::serve::say;
use crate::udp::std::time::Instant;

const INCREMENTS: i64 = 100;

pub(super) fn show(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    say(&format!(
        "Three processes, each with a journal of its own in {}. Two of them elect, and commit.",
        stage.directory.display()
    ));
    stage.start_all()?;

    say("\nThey elect a leader. It takes commands; the others say who leads.");
    let first = leader(stage)?;
    stage.expect(first, &["SET", "colour", "green"], "OK")?;
    stage.expect(first, &["CAS", "colour", "green", "blue"], "1")?;
    let follower = stage.nodes().into_iter().find(|node| *node != first);
    let follower = follower.unwrap_or(first);
    stage.expect(follower, &["GET", "colour"], "NOTLEADER")?;
    count(stage, first, 0)?;

    say(
        "\nThe leader is killed (SIGKILL: no goodbye). The other two elect another, which goes on.",
    );
    stage.kill(first)?;
    let second = leader(stage)?;
    stage.expect(second, &["GET", "colour"], "blue")?;
    count(stage, second, INCREMENTS)?;

    say("\nThe first comes back, and has from its journal what it had; the rest it is sent.");
    stage.start(first, None)?;

    say(
        "\nThe second is cut off. It cannot reach a majority, so that it ceases to lead, and the others go on.",
    );
    stage.cut([second].into_iter().collect::<NodeSet>())?;
    let third = leader_but(stage, Some(second))?;
    count(stage, third, 2 * INCREMENTS)?;
    stage.await_error(second, &["GET", "n"], "NOTLEADER")?;

    say("\nThe links are mended. All three apply the same entries.");
    stage.heal()?;
    let fourth = leader(stage)?;
    count(stage, fourth, 3 * INCREMENTS)?;
    stage.expect(fourth, &["GET", "colour"], "blue")?;
    stage.terminate_all()
}

/// Who leads, once someone does.
pub(super) fn leader(stage: &Stage<'_>) -> Result<NodeId, DemoError> {
    leader_but(stage, None)
}

/// Who leads, and can: it answers a read, for which it asks a majority.
pub(super) fn leader_but(stage: &Stage<'_>, not: Option<NodeId>) -> Result<NodeId, DemoError> {
    let started = Instant::now();
    let leader = eventually("every member", "by one that leads", || {
        for node in stage.members.keys().filter(|node| Some(**node) != not) {
            if !matches!(stage.ask(*node, &["GET", "n"])?, Value::Error(_)) {
                return Ok(Ok(*node));
            }
        }
        Ok(Err("by none".into()))
    })?;
    said(started, &format!("{leader} leads"));
    Ok(leader)
}

/// Counts on, each increment done once.
fn count(stage: &Stage<'_>, leader: NodeId, from: i64) -> Result<(), DemoError> {
    let started = Instant::now();
    for number in from + 1..=from + INCREMENTS {
        let reply = stage.ask(leader, &["INCR", "n"])?;
        if reply != Value::Number(number) {
            return Err(DemoError::Replied {
                asked: format!("{leader}: INCR n"),
                promised: number.to_string(),
                reply: shown(&reply),
            });
        }
    }
    let what = format!(
        "{leader}: INCR n, {INCREMENTS} times -> {}",
        from + INCREMENTS
    );
    said(started, &what);
    Ok(())
}
