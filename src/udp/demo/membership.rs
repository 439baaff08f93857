//! Membership: five who watch each other, of whom one is stopped, one killed and two cut off; and a
//! service that always runs on one of those that are left.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::{DemoError, Stage, said, time, within};
use crate::data::NodeSet;
use crate::machine::NodeId;
use crate::membership::Membership;
use crate::udp::remote::shown;
use crate::udp::serve::say;
use crate::udp::served::Served as _;
use crate::udp::std::time::Instant;

/// Those that may run the service.
const WORKERS: u64 = 5;
const RESOURCE: NodeId = NodeId(6);
const STOPPED: NodeId = NodeId(3);
const KILLED: NodeId = NodeId(4);
/// How often each side is asked to write during the cut.
const ATTEMPTS: usize = 50;

pub(super) fn show(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    say(
        "Seven processes: five that may run a service, one that grants leases, and one that the service writes",
    );
    say(
        "to. The five ping each other, and what each finds out decides whether it runs the service.",
    );
    stage.start_all()?;
    let bound = bound(stage);
    all_alive(stage, bound)?;
    await_runner(stage, NodeId(0), bound)?;
    stage.expect(NodeId(0), &["SET", "colour", "green"], "OK")?;
    stage.expect(NodeId(1), &["SET", "colour", "red"], "NOTLEADER n0")?;
    show_view(stage, NodeId(1))?;

    say(
        "\nn3 is stopped (SIGSTOP) until somebody suspects it. When it goes on (SIGCONT) it hears of that, and",
    );
    say("refutes it: it begins a new incarnation.");
    suspect_and_refute(stage, bound)?;

    say(&format!(
        "\nn4 is killed (SIGKILL: no goodbye). Each of the others must hold it dead within {}, which is the",
        time(bound)
    ));
    say("longest that their alarms allow.");
    kill_and_detect(stage, bound)?;

    say("\nn4 starts again, in a later incarnation.");
    stage.start(KILLED, None)?;
    all_alive(stage, bound)?;

    say(
        "\nn0 and n1 are cut off from n2, n3 and n4. Both sides reach what grants and what is written to. The",
    );
    say("majority goes on, and its lowest runs the service; the others step aside.");
    cut(stage, bound)?;

    say(
        "\nThe links are mended. The dead are greeted, refute, and the lowest runs the service again.",
    );
    stage.heal()?;
    all_alive(stage, bound)?;
    await_runner(stage, NodeId(0), bound)?;
    stage.expect(NodeId(0), &["SET", "colour", "violet"], "OK")?;
    let started = Instant::now();
    let written = stage.told(RESOURCE, "written")?;
    if written != "colour=violet" {
        return Err(DemoError::Wrong {
            key: "colour".into(),
            written: "violet".into(),
            read: Some(written),
        });
    }
    said(
        started,
        &format!(
            "{RESOURCE}: written {written}, by token {}",
            stage.told(RESOURCE, "token")?
        ),
    );
    stage.terminate_all()
}

fn workers() -> NodeSet {
    NodeSet::first(usize::try_from(WORKERS).unwrap_or_default())
}

/// Within how long the machine detects.
fn bound(stage: &Stage<'_>) -> Duration {
    let machine = Membership::machine(&stage.cluster, NodeId(0));
    Duration::from_millis(machine.swim.detection_ms_max(WORKERS - 1))
}

/// How each node holds the others: alive, suspect or dead, and in which incarnation.
type View = BTreeMap<NodeId, (String, u64)>;

fn view(stage: &Stage<'_>, node: NodeId) -> Result<View, DemoError> {
    let told = stage.told(node, "view")?;
    let pieces = told.split("; ").filter_map(|piece| {
        let mut words = piece.split(' ');
        let node = words.next()?.strip_prefix('n')?.parse().ok().map(NodeId)?;
        let status = words.next()?.into();
        Some((node, (status, words.next()?.parse().ok()?)))
    });
    Ok(pieces.collect())
}

/// Each of `watchers` comes to hold `node` so; gives the latest incarnation of which it does.
fn await_held(
    stage: &Stage<'_>,
    watchers: NodeSet,
    node: NodeId,
    status: &str,
    limit: Duration,
) -> Result<u64, DemoError> {
    let asked = format!("each of {watchers}: INFO");
    let promised = format!("that {node} is {status}");
    within(limit, &asked, &promised, || {
        let mut latest = 0;
        for watcher in watchers {
            let held = view(stage, watcher)?.remove(&node);
            let Some((held, incarnation)) = held else {
                return Ok(Err(format!("{watcher} does not know {node}")));
            };
            if held != status {
                return Ok(Err(format!("{watcher} holds {node} {held}")));
            }
            latest = incarnation.max(latest);
        }
        Ok(Ok(latest))
    })
}

/// Everybody comes to hold everybody alive.
fn all_alive(stage: &Stage<'_>, limit: Duration) -> Result<(), DemoError> {
    let started = Instant::now();
    for node in workers() {
        await_held(stage, workers(), node, "alive", limit)?;
    }
    said(started, "each of the five holds all five alive");
    Ok(())
}

/// This one comes to run the service.
fn await_runner(stage: &Stage<'_>, node: NodeId, limit: Duration) -> Result<(), DemoError> {
    let started = Instant::now();
    let asked = format!("{node}: INFO");
    let token = within(limit, &asked, "that it runs, with a token", || {
        let (role, token) = (stage.told(node, "role")?, stage.told(node, "token")?);
        let runs = role == "runs" && token != "none";
        Ok(if runs { Ok(token) } else { Err(role) })
    })?;
    said(
        started,
        &format!("{node} runs the service, by token {token}"),
    );
    Ok(())
}

fn show_view(stage: &Stage<'_>, node: NodeId) -> Result<(), DemoError> {
    let started = Instant::now();
    said(
        started,
        &format!("{node} sees: {}", stage.told(node, "view")?),
    );
    Ok(())
}

fn suspect_and_refute(stage: &Stage<'_>, bound: Duration) -> Result<(), DemoError> {
    let mut others = workers();
    others.remove(STOPPED);
    let before = await_held(stage, others, STOPPED, "alive", bound)?;
    stage.signal(STOPPED, "STOP")?;
    let started = Instant::now();
    let asked = format!("one of {others}: INFO");
    let who = within(bound, &asked, "that n3 is suspect", || {
        for node in others {
            let held = view(stage, node)?.remove(&STOPPED);
            if held.is_some_and(|(status, _)| status == "suspect") {
                return Ok(Ok(node));
            }
        }
        Ok(Err("nobody suspects it".into()))
    })?;
    said(started, &format!("{who} suspects {STOPPED}"));
    show_view(stage, who)?;
    stage.signal(STOPPED, "CONT")?;
    let started = Instant::now();
    let asked = format!("each of {others}: INFO");
    let later = within(
        bound,
        &asked,
        "that n3 is alive in a later incarnation",
        || {
            let mut latest = u64::MAX;
            for node in others {
                let Some((status, incarnation)) = view(stage, node)?.remove(&STOPPED) else {
                    return Ok(Err("nothing of it".into()));
                };
                if status != "alive" || incarnation <= before {
                    return Ok(Err(format!("{status} {incarnation}")));
                }
                latest = incarnation.min(latest);
            }
            Ok(Ok(latest))
        },
    )?;
    said(
        started,
        &format!("everybody holds {STOPPED} alive, in incarnation {later} after {before}"),
    );
    Ok(())
}

fn kill_and_detect(stage: &mut Stage<'_>, bound: Duration) -> Result<(), DemoError> {
    let mut others = workers();
    others.remove(KILLED);
    stage.kill(KILLED)?;
    let started = Instant::now();
    let mut unaware: Vec<NodeId> = others.iter().collect();
    within(bound, "each of the others: INFO", "that n4 is dead", || {
        let mut aware = Vec::new();
        for node in &unaware {
            let held = view(stage, *node)?.remove(&KILLED);
            if held.is_some_and(|(status, _)| status == "dead") {
                aware.push(*node);
                said(started, &format!("{node} holds {KILLED} dead"));
            }
        }
        unaware.retain(|node| !aware.contains(node));
        Ok(match unaware.as_slice() {
            [] => Ok(()),
            [first, ..] => Err(format!("{first} does not hold it dead")),
        })
    })
}

fn cut(stage: &Stage<'_>, bound: Duration) -> Result<(), DemoError> {
    let minority = NodeSet::first(2);
    let majority = workers().difference(minority);
    let heir = NodeId(2);
    stage.part(minority, majority)?;
    let started = Instant::now();
    for node in minority {
        let asked = format!("{node}: INFO");
        within(bound * 2, &asked, "that it is aside", || {
            let role = stage.told(node, "role")?;
            Ok(if role == "aside" { Ok(()) } else { Err(role) })
        })?;
        said(started, &format!("{node} is aside"));
    }
    await_runner(stage, heir, bound * 2)?;
    let started = Instant::now();
    let mut done: BTreeMap<NodeId, usize> = BTreeMap::new();
    for attempt in 0..ATTEMPTS {
        for node in workers() {
            let value = format!("{node}-{attempt}");
            let reply = shown(&stage.ask(node, &["SET", "writer", &value])?);
            *done.entry(node).or_default() += usize::from(reply == "OK");
        }
    }
    let accepted = done.remove(&heir).unwrap_or_default();
    let others: usize = done.values().sum();
    if accepted == 0 || others > 0 {
        return Err(DemoError::Counted {
            what: format!(
                "the writes that were accepted of others than {heir}, of which {accepted} were,"
            ),
            promised: 0,
            counted: others,
        });
    }
    said(
        started,
        &format!(
            "each of the five is asked to write {ATTEMPTS} times: {accepted} writes of {heir} are accepted, \
             and none of the others"
        ),
    );
    show_view(stage, NodeId(0))?;
    show_view(stage, heir)
}
