//! One attempt: a command, taken to whichever member does it.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use super::super::configuration::Cluster;
use super::super::remote::{Remote, RemoteError};
use super::super::resp::{Value, Version};
use super::super::std;
use super::{Ask, Told, locked};
use crate::machine::NodeId;
use crate::service::RetryLimits;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

/// How long all members are left alone that just did not do it.
const PAUSE: Duration = Duration::from_millis(15);
/// How many connections to each member are kept for the next attempt.
const SPARE_MAX: usize = 64;

/// What all attempts at one cluster share.
#[derive(Debug)]
pub(super) struct Errands {
    members: BTreeMap<NodeId, SocketAddr>,
    /// How long an attempt goes from member to member at most.
    roams: Duration,
    /// How long it waits for one of them at most.
    longest: Duration,
    /// Who did the last thing, or was said to lead.
    leader: AtomicU64,
    spare: Mutex<BTreeMap<NodeId, Vec<Remote>>>,
    last_refusal: Mutex<String>,
}

/// How an attempt ends.
pub(super) enum Ending {
    /// A member did it, or refused it for good.
    Told(Told),
    /// No member did it.
    NotDone,
    /// Nobody knows.
    Lost,
}

/// What became of a command at one member.
enum Then {
    /// It was done, or refused for good.
    Told(Told),
    /// This member did not do it. Another may; this one, if it is known.
    Elsewhere(Option<NodeId>, String),
    /// Nobody knows.
    Lost,
}

impl Errands {
    /// An attempt that nobody does is over before its alarm rings, so that it is known by then that it was
    /// not done. One that a member has is waited for as long as anyone is interested.
    pub(super) fn new(cluster: &Cluster, retry: RetryLimits) -> Self {
        let members = cluster.clients.clone();
        let first = members.keys().next().map_or(0, |node| node.0);
        Self {
            members,
            roams: Duration::from_millis(retry.wait_ms),
            longest: Duration::from_millis(retry.wait_ms_max.saturating_mul(2)),
            leader: AtomicU64::new(first),
            spare: Mutex::default(),
            last_refusal: Mutex::new("no member was asked".into()),
        }
    }

    pub(super) fn last_refusal(&self) -> String {
        locked(&self.last_refusal).clone()
    }

    /// Takes it from member to member until one does it, but not for ever. A member that did not do it, and
    /// said so, has not; of one that said nothing nobody knows, and the attempt is over.
    pub(super) fn run(&self, ask: &Ask) -> Ending {
        let started = Instant::now();
        loop {
            let mut next = Some(NodeId(self.leader.load(Ordering::Relaxed)));
            let mut left: Vec<NodeId> = self.members.keys().copied().collect();
            while let Some(node) = next
                .filter(|node| left.contains(node))
                .or(left.first().copied())
            {
                left.retain(|other| *other != node);
                match self.ask(node, ask) {
                    Then::Told(told) => {
                        self.leader.store(node.0, Ordering::Relaxed);
                        return Ending::Told(told);
                    }
                    Then::Lost => return Ending::Lost,
                    Then::Elsewhere(leader, why) => {
                        *locked(&self.last_refusal) = why;
                        next = leader;
                    }
                }
                if started.elapsed() + PAUSE >= self.roams {
                    return Ending::NotDone;
                }
            }
            if self.members.is_empty() {
                return Ending::NotDone;
            }
            thread::sleep(PAUSE);
        }
    }

    fn ask(&self, node: NodeId, ask: &Ask) -> Then {
        let Some(address) = self.members.get(&node) else {
            return Then::Elsewhere(None, "there is no such member".into());
        };
        let is_new_name = ask.words.first().is_some_and(|word| word == "SESSION");
        // What carries no name may have been done when its connection breaks: a new one is not broken yet.
        // And who wants a name of its own must not get that of who had the connection before.
        let spare = if ask.carried.is_some() && !is_new_name {
            let mut spare = locked(&self.spare);
            spare.get_mut(&node).and_then(Vec::pop)
        } else {
            None
        };
        let connected = match spare {
            Some(remote) => Ok(remote),
            None => Remote::connect(*address, self.longest),
        };
        let mut remote = match connected {
            Ok(remote) => remote,
            Err(error) => return Then::Elsewhere(None, error.to_string()),
        };
        if let Some(carried) = &ask.carried {
            match remote.ask(&["SESSION", carried]) {
                Ok(Value::Simple(_)) => {}
                // Nothing was asked yet.
                Ok(other) => return Then::Elsewhere(None, super::super::remote::shown(&other)),
                Err(error) => return Then::Elsewhere(None, error.to_string()),
            }
        }
        let then = Self::command(&mut remote, ask);
        if let (Then::Told(_) | Then::Elsewhere(..), true) = (&then, ask.carried.is_some()) {
            let mut spare = locked(&self.spare);
            let spare = spare.entry(node).or_default();
            if spare.len() < SPARE_MAX {
                spare.push(remote);
            }
        }
        then
    }

    fn command(remote: &mut Remote, ask: &Ask) -> Then {
        let words: Vec<&str> = ask.words.iter().map(String::as_str).collect();
        let value = match remote.ask(&words) {
            Ok(Value::Error(error)) => match is_elsewhere(&error) {
                Some(leader) => return Then::Elsewhere(leader, error),
                None if error.starts_with("UNKNOWN") => return Then::Lost,
                None => Value::Error(error),
            },
            Ok(value) => value,
            Err(
                RemoteError::Unreachable(..) | RemoteError::Lost(_) | RemoteError::Malformed(_),
            ) => {
                return Then::Lost;
            }
        };
        let carried = match (&ask.carried, &value) {
            (None, Value::Bulk(name)) if words == ["SESSION"] => Some(name.clone()),
            (None, _) => None,
            (Some(_), _) => match remote.ask(&["SESSION"]) {
                Ok(Value::Bulk(name)) => Some(name),
                // It is done, but what the client is to carry on is not known: it asks again.
                Ok(_) | Err(_) => return Then::Lost,
            },
        };
        let mut reply = Vec::new();
        value.write(Version::Two, &mut reply);
        Then::Told(Told { reply, carried })
    }
}

/// If this member did nothing, and another might: who, if it said so.
fn is_elsewhere(error: &str) -> Option<Option<NodeId>> {
    let mut words = error.split(' ');
    match words.next() {
        Some("NOTLEADER") => {
            let name = words.next().and_then(|name| name.strip_prefix('n'));
            Some(name.and_then(|number| number.parse().ok()).map(NodeId))
        }
        Some("BUSY" | "UNANSWERED") => Some(None),
        Some(_) | None => None,
    }
}
