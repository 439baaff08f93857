//! Stories: a path through a world as a page that a person can read.

use std::fmt::Write as _;

use quorate::machine::{Machine, NodeId};

use crate::action::Action;
use crate::diagram;
use crate::ghost::Ghost;
use crate::path::replay;
use crate::promise::Kind;
use crate::snapshot::{Fault, Snapshot};
use crate::world::World;

/// What happens, in a sentence without its full stop.
pub fn sentence<M: Machine, G: Ghost<M>>(world: &World<M, G>, action: &Action<M>) -> String {
    match action {
        Action::Call { client, node } => format!("client {client} makes its next call, at {node}"),
        Action::Deliver(letter) => {
            format!(
                "{} hears from {}: {:?}",
                letter.to, letter.from, letter.message
            )
        }
        Action::Ring { node, timer } => format!("{node}'s alarm rings: {timer:?}"),
        Action::Crash(node) => format!("{node} crashes"),
        Action::Restart { node, lost: 0 } => format!("{node} restarts from its disk"),
        Action::Restart { node, lost: 1 } => {
            format!("{node} restarts; the last write its disk acknowledged is gone")
        }
        Action::Restart { node, lost } => {
            format!("{node} restarts; the last {lost} writes its disk acknowledged are gone")
        }
        Action::Cut(cut) => match world.faults.cuts.get(*cut) {
            Some(cut) => format!("the network is cut: {cut}"),
            None => format!("the network is cut in way {cut}"),
        },
        Action::Heal => "the network heals".into(),
        Action::Lie(letter) => {
            format!(
                "{} lies to {}: {:?}",
                letter.from, letter.to, letter.message
            )
        }
    }
}

/// What happens in a known state: a call then says what is asked.
pub fn sentence_in<M: Machine, G: Ghost<M>>(
    world: &World<M, G>,
    last: &Snapshot<M, G>,
    action: &Action<M>,
) -> String {
    if let Action::Call { client, node } = action
        && let Some(call) = last
            .clients
            .get(*client)
            .and_then(|at| world.call(*client, *at))
    {
        return format!("client {client} asks {node}: {call:?}");
    }
    sentence(world, action)
}

/// What a step brought about: who told what, and what was sent for the first time.
pub fn consequences<M: Machine, G: Ghost<M>>(
    world: &World<M, G>,
    last: &Snapshot<M, G>,
    action: &Action<M>,
    next: &Snapshot<M, G>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (node, event) in world.events(last, action) {
        lines.push(format!("{node} tells: {event:?}"));
    }
    // Grouped by what is said: a broadcast is one line.
    let mut said: Vec<(NodeId, &M::Message, Vec<NodeId>)> = Vec::new();
    for letter in next.network.iter() {
        if last.network.binary_search(letter).is_ok() {
            continue;
        }
        let same = |(from, message, _): &&mut (NodeId, &M::Message, Vec<NodeId>)| {
            *from == letter.from && **message == letter.message
        };
        match said.iter_mut().find(same) {
            Some((_, _, to)) => to.push(letter.to),
            None => said.push((letter.from, &letter.message, vec![letter.to])),
        }
    }
    for (from, message, to) in said {
        let to: Vec<String> = to.iter().map(ToString::to_string).collect();
        lines.push(format!("{from} sends {}: {message:?}", to.join(", ")));
    }
    if let Some(broken) = &next.broken {
        lines.push(match &broken.fault {
            Fault::Panic(words) => format!("{} panics: {words}", broken.node),
            Fault::Invariant => format!("{} breaks its local invariant", broken.node),
        });
    }
    lines
}

/// The lines that a step took away and added, marked `-` and `+`.
pub fn difference<M: Machine, G: Ghost<M>>(
    _: &World<M, G>,
    last: &Snapshot<M, G>,
    next: &Snapshot<M, G>,
) -> String {
    let (old, new) = (format!("{last:?}"), format!("{next:?}"));
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let mut text = String::new();
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            i += 1;
            j += 1;
            continue;
        }
        // Sections keep their order, so the nearest line that both have is where they meet again.
        let meet = (i + j..old.len() + new.len()).find_map(|sum| {
            (i..old.len().min(sum.saturating_sub(j) + 1))
                .map(|a| (a, sum - a))
                .find(|(a, b)| j <= *b && *b < new.len() && old[*a] == new[*b])
        });
        let (a, b) = meet.unwrap_or((old.len(), new.len()));
        for line in &old[i..a] {
            let _ = writeln!(text, "- {line}");
        }
        for line in &new[j..b] {
            let _ = writeln!(text, "+ {line}");
        }
        (i, j) = (a, b);
    }
    text
}

/// Where a path comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An exhaustive search, level by level: it is a shortest one.
    Search,
    /// A random walk.
    Walk,
}

/// The page of a path that settles a promise: byte for byte the same in every run.
pub fn page<M: Machine, G: Ghost<M>>(
    world: &World<M, G>,
    promise: &str,
    kind: Kind,
    path: &[Action<M>],
    source: Source,
) -> String {
    let mut text = String::new();
    let outcome = match kind {
        Kind::Always => "refuted",
        Kind::Sometimes => "shown",
        Kind::Recovers { .. } => "refuted: from here even calm does not get there",
        Kind::Eventually => "refuted: here is a fair run that never gets there",
    };
    let steps = replay(world, path);
    let again = (kind == Kind::Eventually).then(|| again(&steps)).flatten();
    let count = match path.len() {
        1 => "1 step".to_owned(),
        count => format!("{count} steps"),
    };
    let least = match source {
        Source::Search if again.is_some() => "and no way into such a loop is shorter",
        Source::Search => "and none is shorter",
        Source::Walk => "all of them needed, but others may be shorter",
    };
    let _ = writeln!(text, "# {}", world.name());
    let _ = writeln!(text, "# {}", world.summary());
    let _ = writeln!(text, "# \"{promise}\" {outcome}; {count}, {least}\n");
    if let Some(assumption) = &world.assumption {
        let _ = writeln!(text, "It assumes that {}.\n", assumption.words);
    }
    if !world.before.is_empty() {
        let _ = writeln!(text, "It begins after: {}.\n", world.before.join("; "));
    }
    for (number, pair) in (1..).zip(steps.windows(2)) {
        let [(last, Some(action)), (next, _)] = pair else {
            continue;
        };
        if Some(number) == again {
            let _ = writeln!(text, "\nFrom here on, again and again:\n");
        }
        let _ = writeln!(text, "{number:>2}  {}", sentence_in(world, last, action));
        for line in consequences(world, last, action, next) {
            let _ = writeln!(text, "      {line}");
        }
    }
    let (end, _) = steps.last().expect("a path has at least its first state");
    match (kind, again) {
        (Kind::Eventually, Some(number)) => {
            let _ = writeln!(text, "\nThat is where step {number} began: {:?}", end.ghost);
        }
        (Kind::Eventually, None) => {
            let _ = writeln!(text, "\nNothing more is bound to happen: {:?}", end.ghost);
        }
        (Kind::Always | Kind::Sometimes | Kind::Recovers { .. }, _) => {
            let _ = writeln!(text, "\nThen: {:?}", end.ghost);
        }
    }
    text
}

/// The number of the step from which on a path leads back to where it was, if its end is where it was
/// before.
pub(crate) fn again<M: Machine, G: Ghost<M>>(steps: &diagram::Steps<M, G>) -> Option<usize> {
    let ((end, _), before) = steps.split_last()?;
    let at = before.iter().position(|(state, _)| state == end)?;
    Some(at + 1)
}
