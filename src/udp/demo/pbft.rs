//! PBFT: the first primary is a traitor; clients go on, it is replaced, and the others agree.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::traitor::Traitor;
use super::{DemoError, Stage, eventually, said};
use crate::machine::NodeId;
use crate::udp::keys::SecretKey;
use crate::udp::remote::shown;
use crate::udp::resp::Value;
use crate::udp::serve::say;
use crate::udp::std::time::Instant;

const TRAITOR: NodeId = NodeId(0);
const INCREMENTS: i64 = 60;

pub(super) fn show(stage: &mut Stage<'_>, secret: SecretKey) -> Result<(), DemoError> {
    say(&format!(
        "Three processes, each with a journal and a secret key of its own in {}. The fourth member is a \
         traitor.",
        stage.directory.display()
    ));
    let started = Instant::now();
    let lied = |error| DemoError::System(format!("start {TRAITOR}"), error);
    let traitor = Traitor::start(&stage.cluster, TRAITOR, secret).map_err(lied)?;
    said(
        started,
        &format!("{TRAITOR} lies, with its own key: it is the first primary"),
    );
    let honest: Vec<NodeId> = stage
        .nodes()
        .into_iter()
        .filter(|node| *node != TRAITOR)
        .collect();
    for node in &honest {
        stage.start(*node, Some("--bootstrap"))?;
    }

    say(
        "\nThe primary orders different things for different members. Each member believes an answer that \
         two sign alike, and a read that three do.",
    );
    let Some(first) = honest.first().copied() else {
        return Ok(());
    };
    stage.expect(first, &["SET", "colour", "green"], "OK")?;
    stage.expect(first, &["CAS", "colour", "green", "blue"], "1")?;
    count(stage, &honest, 0)?;
    for node in &honest {
        stage.expect(*node, &["GET", "colour"], "blue")?;
    }

    let view = replaced(stage, &honest, &traitor)?;

    say(
        "\nThe new primary is killed (SIGKILL). It takes three of four, and the traitor makes no third: \
         nobody is answered until it is back. From its journal it has all that it promised.",
    );
    let primary = honest.iter().find(|node| node.0 == view % 4);
    let primary = primary.copied().unwrap_or(first);
    stage.kill(primary)?;
    stage.start(primary, None)?;
    count(stage, &honest, INCREMENTS)?;

    say(
        "\nThe three have done the same, in the same order; and the traitor was at it all the time.",
    );
    agree(stage, &honest)?;
    said(
        Instant::now(),
        &format!("{TRAITOR}: {}", traitor.lies().told()),
    );
    drop(traitor);
    stage.terminate_all()
}

/// Says which view they are in now, and what came of the lies.
fn replaced(stage: &Stage<'_>, honest: &[NodeId], traitor: &Traitor) -> Result<u64, DemoError> {
    say("\nIt was replaced: those that waited in vain left its view.");
    let Some(first) = honest.first() else {
        return Ok(0);
    };
    let view = number(stage, *first, "view")?;
    said(
        Instant::now(),
        &format!("{first} is in view {view}, whose primary is n{}", view % 4),
    );
    said(
        Instant::now(),
        &format!("{TRAITOR}: {}", traitor.lies().told()),
    );
    for node in honest {
        let refused = number(stage, *node, "signatures_refused")?;
        said(
            Instant::now(),
            &format!("{node} refused {refused} signatures"),
        );
    }
    Ok(view)
}

/// Counts on, each time at another of the honest members: each increment is done once, and after all
/// those that were answered before.
fn count(stage: &Stage<'_>, honest: &[NodeId], from: i64) -> Result<(), DemoError> {
    let started = Instant::now();
    for (number, node) in (from + 1..=from + INCREMENTS).zip(honest.iter().cycle()) {
        let reply = stage.ask(*node, &["INCR", "n"])?;
        if reply != Value::Number(number) {
            return Err(DemoError::Replied {
                asked: format!("{node}: INCR n"),
                promised: number.to_string(),
                reply: shown(&reply),
            });
        }
    }
    let what = format!(
        "at each in turn: INCR n, {INCREMENTS} times -> {}",
        from + INCREMENTS
    );
    said(started, &what);
    Ok(())
}

/// Waits until all have executed equally much and vouch for one state.
fn agree(stage: &Stage<'_>, honest: &[NodeId]) -> Result<(), DemoError> {
    let started = Instant::now();
    let what = "every honest member: INFO";
    let agreed = eventually(what, "with one state", || {
        let mut told = Vec::new();
        for node in honest {
            let of = |name| setting(stage, *node, name);
            told.push((of("executed")?, of("stable")?, of("stable_digest")?));
        }
        let first = told.first().cloned().unwrap_or_default();
        Ok(if told.iter().all(|one| *one == first) {
            Ok(first)
        } else {
            Err(format!("{told:?}"))
        })
    })?;
    let (executed, stable, digest) = agreed;
    let digest: String = digest.chars().take(16).collect();
    let what = format!(
        "all executed {executed} batches; the state after {stable} has the digest {digest}…"
    );
    said(started, &what);
    for node in honest {
        stage.expect(*node, &["GET", "n"], &(2 * INCREMENTS).to_string())?;
    }
    Ok(())
}

/// A line of a member's INFO.
fn setting(stage: &Stage<'_>, node: NodeId, name: &str) -> Result<String, DemoError> {
    let info = shown(&stage.ask(node, &["INFO"])?);
    let found = info
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let missing = || DemoError::Replied {
        asked: format!("{node}: INFO"),
        promised: format!("with a line for {name}"),
        reply: info.clone(),
    };
    found.map(Into::into).ok_or_else(missing)
}

fn number(stage: &Stage<'_>, node: NodeId, name: &str) -> Result<u64, DemoError> {
    let text = setting(stage, node, name)?;
    text.parse().map_err(|_| DemoError::Replied {
        asked: format!("{node}: INFO"),
        promised: format!("with a number as {name}"),
        reply: text,
    })
}
