//! The database: five members, three replicas of each key, one member killed while it is written to, and
//! nothing that was acknowledged lost.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{DemoError, Stage, eventually, said};
use crate::machine::NodeId;
use crate::rebalance::Rebalance;
use crate::udp::remote::shown;
use crate::udp::serve::say;
use crate::udp::served::Served as _;
use crate::udp::std::time::Instant;

/// How many keys are written at a time.
const KEYS: usize = 100;

pub(super) fn show(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    say(&format!(
        "Six processes, each with a journal of its own in {}. Five are the ring, which gives each key three of \
         them; the sixth has nothing yet.",
        stage.directory.display()
    ));
    stage.start_all()?;
    let mut nodes = stage.nodes();
    nodes.pop();
    let (first, last) = (nodes[0], nodes[nodes.len() - 1]);

    say("\nAny member takes a call. A write at ALL waits for all three; a read at ONE asks any.");
    stage.expect(first, &["SET", "colour@ALL", "green"], "OK")?;
    stage.expect(last, &["GET", "colour@ONE"], "green")?;
    stage.expect(last, &["CAS", "colour", "green", "blue"], "1")?;
    stage.expect(first, &["GET", "colour@QUORUM"], "blue")?;
    stage.expect(
        first,
        &["GET", "colour@QOURUM"],
        "REFUSED there is no consistency level",
    )?;
    let mut written = Vec::new();
    write(stage, &nodes, "before", &mut written)?;

    say(&format!(
        "\n{last} is killed (SIGKILL: no goodbye). A quorum is two of three replicas, whoever is there: so \
         every write at QUORUM is acknowledged, and one at ALL is not if {last} is a replica."
    ));
    stage.kill(last)?;
    write(stage, &nodes[..nodes.len() - 1], "after", &mut written)?;
    let of_last = written
        .iter()
        .rev()
        .find(|key| replicas(stage, key).contains(&last));
    let of_last = of_last.cloned().unwrap_or_default();
    let at_all = format!("{of_last}@ALL");
    stage.expect(first, &["SET", &at_all, &of_last], "UNKNOWN")?;

    say(&format!(
        "\n{last} comes back. What it missed was kept as hints, and comes to it though nobody asks."
    ));
    stage.start(last, None)?;
    caught_up(stage, last, &written)?;

    say("\nEverything that was acknowledged is read at QUORUM, at every member in turn.");
    let started = Instant::now();
    for (place, key) in written.iter().enumerate() {
        let node = nodes[place % nodes.len()];
        let reply = shown(&stage.ask(node, &["GET", key])?);
        if reply != *key {
            return Err(DemoError::Wrong {
                key: key.clone(),
                written: key.clone(),
                read: Some(reply),
            });
        }
    }
    said(
        started,
        &format!(
            "{} writes acknowledged, {} read, 0 lost",
            written.len(),
            written.len()
        ),
    );
    Ok(())
}

fn replicas(stage: &Stage<'_>, key: &str) -> Vec<NodeId> {
    let machine = Rebalance::machine(&stage.cluster, NodeId(0));
    machine.database.placement.replicas(key).iter().collect()
}

/// Writes keys at QUORUM, each with its own name as the value, at these members in turn.
fn write(
    stage: &Stage<'_>,
    nodes: &[NodeId],
    name: &str,
    written: &mut Vec<String>,
) -> Result<(), DemoError> {
    let started = Instant::now();
    for (number, node) in (0..KEYS).zip(nodes.iter().cycle()) {
        let key = format!("{name}-{number}");
        let reply = shown(&stage.ask(*node, &["SET", &key, &key])?);
        if reply != "OK" {
            return Err(DemoError::Replied {
                asked: format!("{node}: SET {key} {key}"),
                promised: "OK".into(),
                reply,
            });
        }
        written.push(key);
    }
    said(
        started,
        &format!("{KEYS} writes at QUORUM, all acknowledged"),
    );
    Ok(())
}

/// Waits until the member itself has all keys that it is a replica of: of those, it answers a read at ONE
/// from what it has.
fn caught_up(stage: &Stage<'_>, node: NodeId, written: &[String]) -> Result<(), DemoError> {
    let started = Instant::now();
    let its = written
        .iter()
        .filter(|key| replicas(stage, key).contains(&node));
    let mut count = 0;
    for key in its {
        let at_one = format!("{key}@ONE");
        eventually(&format!("{node}: GET {at_one}"), key, || {
            let reply = shown(&stage.ask(node, &["GET", &at_one])?);
            Ok(if reply == *key { Ok(()) } else { Err(reply) })
        })?;
        count += 1;
    }
    said(
        started,
        &format!("{node} has all {count} keys that it is a replica of"),
    );
    Ok(())
}
