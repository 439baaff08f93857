//! The strong store: the leader killed and cut off, and nothing that was acknowledged lost.

use alloc::format;

use super::raft::{leader, leader_but};
use super::{DemoError, Stage};
use crate::data::NodeSet;
use crate::udp::serve::say;

pub(super) fn show(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    say(&format!(
        "Three processes, each with a journal of its own in {}. Two of them elect, and decide.",
        stage.directory.display()
    ));
    stage.start_all()?;

    say("\nThey elect a leader. It writes in two phases; the others say who leads.");
    let first = leader(stage)?;
    stage.expect(first, &["SET", "colour", "green"], "OK")?;
    stage.expect(first, &["CAS", "colour", "green", "blue"], "1")?;
    stage.expect(first, &["CAS", "colour", "green", "red"], "0")?;
    let follower = stage.nodes().into_iter().find(|node| *node != first);
    stage.expect(follower.unwrap_or(first), &["GET", "colour"], "NOTLEADER")?;

    say(
        "\nThe leader is killed (SIGKILL: no goodbye). The other two elect another, which asks both what they have.",
    );
    stage.kill(first)?;
    let second = leader(stage)?;
    stage.expect(second, &["GET", "colour"], "blue")?;
    stage.expect(second, &["SET", "colour", "yellow"], "OK")?;

    say(
        "\nThe first comes back. The second is cut off: it reaches no majority, so it serves nothing.",
    );
    stage.start(first, None)?;
    stage.cut([second].into_iter().collect::<NodeSet>())?;
    let third = leader_but(stage, Some(second))?;
    stage.expect(third, &["GET", "colour"], "yellow")?;
    stage.expect(third, &["CAS", "colour", "yellow", "violet"], "1")?;

    say("\nThe links are mended. The term of the second is over, whatever it believed.");
    stage.heal()?;
    let fourth = leader(stage)?;
    stage.expect(fourth, &["GET", "colour"], "violet")?;
    stage.terminate_all()
}
