//! The second half of the database: its ring changes. A sixth member joins five that are written to, one of
//! them leaves while another is killed, and nothing that was acknowledged is lost.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use super::std::time::{Duration, Instant};
use super::{DemoError, Stage, TIMEOUT, said, std, within};
use crate::machine::NodeId;
use crate::udp::remote::{Remote, shown};
use crate::udp::serve::say;
use std::net::SocketAddr;
use std::thread;

/// How many keys are written before anything changes.
const KEYS: usize = 1_000;
/// How long a change may take.
const CHANGE: Duration = Duration::from_secs(20);

pub(super) fn show(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    say("\nNow the ring itself changes, and the database goes on.");
    let nodes = stage.nodes();
    let (ring, joins) = (&nodes[..5], nodes[5]);
    let started = Instant::now();
    let mut written: Vec<String> = Vec::new();
    for (number, node) in (0..KEYS).zip(ring.iter().cycle()) {
        let key = format!("key-{number}");
        let reply = shown(&stage.ask(*node, &["SET", &key, &key])?);
        check(*node, &key, "OK", reply)?;
        written.push(key);
    }
    said(started, &format!("{KEYS} writes, all acknowledged"));

    say(&format!(
        "\n{joins} joins, while others write. It is announced, it gets what it is to have from a quorum of \
         those who have it, reads switch, and the ring is settled: in this order, at every member."
    ));
    let before = info(stage, joins, "keys")?;
    let meanwhile = writing(stage, ring, || {
        let id = joins.0.to_string();
        stage.expect(ring[0], &["MEMBERS", "ADD", &id], "OK")?;
        settled(stage, &nodes, 1)
    })?;
    written.extend(meanwhile);
    said_keys(stage, joins, before)?;
    all_read(stage, &nodes, &written)?;

    let leaves = ring[1];
    say(&format!(
        "\n{leaves} leaves, and {} is killed meanwhile (SIGKILL: no goodbye) and comes back. The change waits \
         for who is to have keys; writes and reads do not.",
        ring[2]
    ));
    stage.kill(ring[2])?;
    let up: Vec<NodeId> = [ring[0], ring[3], ring[4], joins].to_vec();
    let id = leaves.0.to_string();
    stage.expect(ring[0], &["MEMBERS", "REMOVE", &id], "OK")?;
    let meanwhile = writing(stage, &up, || {
        thread::sleep(Duration::from_secs(1));
        Ok(())
    })?;
    written.extend(meanwhile);
    stage.start(ring[2], None)?;
    settled(stage, &nodes, 2)?;
    let rest: Vec<NodeId> = nodes[..6]
        .iter()
        .copied()
        .filter(|node| *node != leaves)
        .collect();
    let started = Instant::now();
    within(CHANGE, &format!("{leaves}: INFO, keys"), "0", || {
        let keys = info(stage, leaves, "keys")?;
        Ok(if keys == "0" { Ok(()) } else { Err(keys) })
    })?;
    said(
        started,
        &format!("{leaves} has handed over what it had, and keeps nothing"),
    );
    all_read(stage, &rest, &written)?;
    stage.terminate_all()
}

fn check(node: NodeId, key: &str, promised: &str, reply: String) -> Result<(), DemoError> {
    if reply == promised {
        return Ok(());
    }
    Err(DemoError::Replied {
        asked: format!("{node}: {key}"),
        promised: promised.into(),
        reply,
    })
}

/// Writes at these members until the deed is done, and gives the keys of all writes that were acknowledged.
fn writing(
    stage: &Stage<'_>,
    nodes: &[NodeId],
    deed: impl FnOnce() -> Result<(), DemoError>,
) -> Result<Vec<String>, DemoError> {
    let doors: Vec<(NodeId, SocketAddr)> = nodes
        .iter()
        .filter_map(|node| Some((*node, *stage.cluster.clients.get(node)?)))
        .collect();
    let (over, started) = (AtomicBool::new(false), Instant::now());
    let (done, acknowledged) = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut acknowledged = Vec::new();
            for (number, (node, door)) in (0..).zip(doors.iter().cycle()) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let key = format!("{node}-{number}-{}", started.elapsed().as_micros());
                let asked = Remote::connect(*door, TIMEOUT)
                    .and_then(|mut remote| remote.ask(&["SET", &key, &key]));
                if asked.is_ok_and(|reply| shown(&reply) == "OK") {
                    acknowledged.push(key);
                }
            }
            acknowledged
        });
        let done = deed();
        over.store(true, Ordering::Relaxed);
        (done, writer.join().unwrap_or_default())
    });
    done?;
    said(
        started,
        &format!("{} writes acknowledged meanwhile", acknowledged.len()),
    );
    Ok(acknowledged)
}

/// Waits until all of these know that so many changes are over.
fn settled(stage: &Stage<'_>, nodes: &[NodeId], changes: u64) -> Result<(), DemoError> {
    let started = Instant::now();
    // The first ring is that of epoch 1.
    let epoch = changes + 1;
    let promised = format!("e{epoch} settled");
    for node in nodes {
        within(CHANGE, &format!("{node}: INFO"), &promised, || {
            let ring = info(stage, *node, "ring")?;
            Ok(if ring == promised { Ok(()) } else { Err(ring) })
        })?;
    }
    let members = info(stage, nodes[0], "members")?;
    said(
        started,
        &format!("all know the ring of epoch {epoch}: {members}"),
    );
    Ok(())
}

/// A line of a member's INFO; nothing, if there is none.
fn info(stage: &Stage<'_>, node: NodeId, name: &str) -> Result<String, DemoError> {
    let info = shown(&stage.ask(node, &["INFO"])?);
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.unwrap_or_default().trim().into())
}

fn said_keys(stage: &Stage<'_>, node: NodeId, before: String) -> Result<(), DemoError> {
    let started = Instant::now();
    let now = info(stage, node, "keys")?;
    if now == before {
        return Err(DemoError::Replied {
            asked: format!("{node}: INFO, keys"),
            promised: "by more".into(),
            reply: now,
        });
    }
    said(started, &format!("{node} had {before} keys, and has {now}"));
    Ok(())
}

fn all_read(stage: &Stage<'_>, nodes: &[NodeId], written: &[String]) -> Result<(), DemoError> {
    let started = Instant::now();
    for (key, node) in written.iter().zip(nodes.iter().cycle()) {
        let reply = shown(&stage.ask(*node, &["GET", key])?);
        check(*node, &format!("GET {key}"), key, reply)?;
    }
    let count = written.len();
    said(
        started,
        &format!("{count} writes acknowledged, {count} read at every member in turn, 0 lost"),
    );
    Ok(())
}
