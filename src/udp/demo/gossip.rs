//! Gossip: both sides of a cut are written, and when it heals everybody has everything.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::{DemoError, Stage, said, within};
use crate::data::NodeSet;
use crate::machine::NodeId;
use crate::udp::remote::shown;
use crate::udp::resp::Value;
use crate::udp::serve::say;
use crate::udp::std::time::Instant;

const ALONE: NodeId = NodeId(0);
const OTHER: NodeId = NodeId(1);
const THIRD: NodeId = NodeId(2);
/// Each pair compares notes every few seconds at the latest, and it takes a few times until everyone knows
/// what everyone has seen.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many keys each side writes while they are apart.
const EACH: usize = 20;

pub(super) fn show(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    say(&format!(
        "Three processes, each with a journal of its own in {}. Each answers at once, from what it has, and tells the others later.",
        stage.directory.display()
    ));
    stage.start_all()?;
    stage.expect(OTHER, &["SET", "colour", "green"], "OK")?;
    stage.expect(OTHER, &["SET", "shape", "round"], "OK")?;
    agree(stage)?;

    say("\nn0 is cut off from the others. Both sides are written, and neither waits.");
    stage.cut([ALONE].into_iter().collect::<NodeSet>())?;
    stage.expect(ALONE, &["SET", "colour", "red"], "OK")?;
    stage.expect(OTHER, &["SET", "colour", "blue"], "OK")?;
    stage.expect(OTHER, &["DEL", "shape"], "1")?;
    for (node, side) in [(ALONE, "here"), (OTHER, "there")] {
        write(stage, node, side)?;
    }
    stage.expect(ALONE, &["GET", "shape"], "round")?;
    let (line, is_one) = digests(stage)?;
    said(Instant::now(), &line);
    if is_one {
        return Err(DemoError::Replied {
            asked: "every node: INFO".into(),
            promised: "with different digests".into(),
            reply: line,
        });
    }

    say("\nThe links are mended. Whoever lacks a write is given it, until the digests agree.");
    stage.heal()?;
    agree(stage)?;
    for node in stage.nodes() {
        let started = Instant::now();
        for side in ["here", "there"] {
            count(stage, node, side)?;
        }
        said(
            started,
            &format!("{node} has all {} keys of both sides", 2 * EACH),
        );
    }

    say(
        "\nWhat was deleted stays deleted. The two colours were written without knowledge of each other, so both",
    );
    say("stand; who has read both writes one in their place.");
    for node in stage.nodes() {
        stage.expect(node, &["GET", "shape"], "(nothing)")?;
        both_colours(stage, node)?;
    }
    stage.expect(THIRD, &["SET", "colour", "violet"], "OK")?;
    agree(stage)?;

    say("\nn1 is killed (SIGKILL), misses a write, and comes back.");
    stage.kill(OTHER)?;
    stage.expect(THIRD, &["SET", "size", "large"], "OK")?;
    stage.start(OTHER, None)?;
    agree(stage)?;
    for node in stage.nodes() {
        stage.expect(node, &["GET", "colour"], "violet")?;
        stage.expect(node, &["GET", "size"], "large")?;
        count(stage, node, "here")?;
    }
    stage.terminate_all()
}

fn write(stage: &Stage<'_>, node: NodeId, side: &str) -> Result<(), DemoError> {
    let started = Instant::now();
    for number in 0..EACH {
        let key = format!("{side}-{number}");
        let reply = shown(&stage.ask(node, &["SET", &key, side])?);
        if reply != "OK" {
            return Err(DemoError::Replied {
                asked: format!("{node}: SET {key} {side}"),
                promised: "OK".into(),
                reply,
            });
        }
    }
    said(
        started,
        &format!("{node}: SET {side}-0 to {side}-{} -> OK, each", EACH - 1),
    );
    Ok(())
}

/// The node has every key that this side wrote.
fn count(stage: &Stage<'_>, node: NodeId, side: &str) -> Result<(), DemoError> {
    let keys: Vec<String> = (0..EACH).map(|number| format!("{side}-{number}")).collect();
    let mut words = alloc::vec!["MGET"];
    words.extend(keys.iter().map(String::as_str));
    let values = match stage.ask(node, &words)? {
        Value::Array(values) => values,
        one @ (Value::Simple(_)
        | Value::Error(_)
        | Value::Number(_)
        | Value::Bulk(_)
        | Value::Nil
        | Value::Map(_)) => alloc::vec![one],
    };
    let there = values.iter().filter(|value| shown(value) == side);
    match there.count() {
        EACH => Ok(()),
        counted => Err(DemoError::Counted {
            what: format!("the keys at {node} that were written at the side called {side}"),
            promised: EACH,
            counted,
        }),
    }
}

/// Red and blue, in whatever order.
fn both_colours(stage: &Stage<'_>, node: NodeId) -> Result<(), DemoError> {
    let started = Instant::now();
    let reply = shown(&stage.ask(node, &["GET", "colour"])?);
    let mut colours: Vec<&str> = reply.lines().collect();
    colours.sort_unstable();
    if colours != ["blue", "red"] {
        return Err(DemoError::Replied {
            asked: format!("{node}: GET colour"),
            promised: "blue and red".into(),
            reply,
        });
    }
    said(started, &format!("{node}: GET colour -> blue and red"));
    Ok(())
}

/// What each node has seen, and whether that is the same everywhere: of each node, up to which time its
/// writes were seen.
fn digests(stage: &Stage<'_>) -> Result<(String, bool), DemoError> {
    let told = (stage.nodes().into_iter()).map(|node| stage.told(node, "digest"));
    let told: Vec<String> = told.collect::<Result<_, DemoError>>()?;
    let nodes = stage.nodes();
    let line = (nodes.iter().zip(&told)).map(|(node, digest)| format!("{node} ({digest})"));
    let line: Vec<String> = line.collect();
    let is_one = told.iter().all(|digest| *digest == told[0]);
    Ok((format!("seen up to: {}", line.join(", ")), is_one))
}

/// All come to have one digest. Each time that one changes it is said.
fn agree(stage: &Stage<'_>) -> Result<(), DemoError> {
    let started = Instant::now();
    let mut last = String::new();
    within(PATIENCE, "every node: INFO", "with one digest", || {
        let (line, is_one) = digests(stage)?;
        if line != last {
            said(started, &line);
            last.clone_from(&line);
        }
        Ok(if is_one { Ok(()) } else { Err(line) })
    })?;
    said(started, "all digests agree");
    Ok(())
}
