//! Membership, served: whoever runs the service writes, and everybody says who is there.
//!
//! Of the members the last is the resource and the last but one the authority; the others may run the
//! service. What is written is one line, `key=value`, and the resource keeps the last; its status shows it.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Answer, Command, Served, lacks};
use crate::data::NodeSet;
use crate::lease::{self, Ending, Epoch, Lease, VALUE_BYTES_MAX};
use crate::machine::{NodeId, State};
use crate::membership::{Call, Event, Membership};
use crate::singleton::{self, Role, Singleton};
use crate::split_brain::Strategy;
use crate::swim::{Status, Swim};
use crate::udp::configuration::Cluster;

impl Served for Membership {
    const NAME: &'static str = "membership";
    const VERSION: &'static str = "membership/1";
    type Terms = NodeSet;
    type Session = ();

    fn terms(cluster: &Cluster) -> NodeSet {
        cluster.quorums.members()
    }

    fn machine(cluster: &Cluster, me: NodeId) -> Self {
        let mut members: Vec<NodeId> = cluster.quorums.members().iter().collect();
        // A cluster of this protocol has three members at least.
        let resource = members.pop().unwrap_or(me);
        let authority = members.pop().unwrap_or(me);
        let workers: NodeSet = members.into_iter().collect();
        let nobody = NodeSet::EMPTY;
        Self {
            swim: Swim {
                me,
                members: if workers.contains(me) {
                    workers
                } else {
                    nobody
                },
                seeds: nobody,
                helpers: 2,
                news_max: 8,
                news_pings: 6,
                health_max: 2,
                period_ms: 200,
                suspicion_periods: 8,
                greeting_periods: 5,
            },
            singleton: Singleton {
                lease: Lease {
                    me,
                    authority,
                    resource,
                    holders: workers,
                    term_ms: 1_000,
                    drift_ms: 100,
                    attempts: 1,
                },
                strategy: Strategy::KeepMajority,
                settle_ms: 400,
                turn_ms: 1_000,
                asks: singleton::ASKS_UNBOUNDED,
            },
        }
    }

    fn session(_: u64) {}

    fn call(&self, ticket: u64, (): &mut (), command: Command) -> Result<Call, Answer> {
        match command {
            Command::Set { key, value } => {
                let value = format!("{key}={value}");
                Ok(Call::Write { ticket, value })
            }
            Command::Get { .. }
            | Command::Delete { .. }
            | Command::CompareAndSwap { .. }
            | Command::Add { .. } => Err(lacks::<Self>(
                &command,
                "whoever runs the service sets, and INFO at the resource shows what was set last",
            )),
            Command::Members(_) | Command::HandOver(_) => Err(lacks::<Self>(&command, "raft has")),
        }
    }

    fn ticket(event: &Event) -> Option<u64> {
        match event {
            Event::Singleton(singleton::Event::Lease(lease::Event::Done { ticket, .. })) => {
                Some(*ticket)
            }
            Event::Singleton(_) | Event::Swim(_) => None,
        }
    }

    fn answer(event: Event, (): &mut (), state: &State<Self>) -> Answer {
        let Event::Singleton(singleton::Event::Lease(lease::Event::Done { ending, .. })) = event
        else {
            return Answer::Unknown;
        };
        match ending {
            Ending::Written => Answer::Done,
            Ending::NotHolding => Answer::NotLeader(runner(state)),
            Ending::Busy => Answer::Busy,
            Ending::TooLong => Answer::Refused(format!(
                "key and value have at most {} bytes together",
                VALUE_BYTES_MAX - 1
            )),
            Ending::NoHolder => Answer::Refused("this node runs no service: ask another".into()),
            // An earlier sending of it may have been accepted.
            Ending::Fenced
            | Ending::Unknown
            | Ending::Acquired(_)
            | Ending::Renewed
            | Ending::GaveUp => Answer::Unknown,
        }
    }

    fn status(state: &State<Self>) -> Vec<(&'static str, String)> {
        let (swim, service) = (&state.volatile.swim, &state.volatile.singleton);
        let lease = &state.durable.lease;
        if swim.view.is_empty() {
            let grant = lease.authority.grant.as_ref();
            let granted = grant.map_or_else(|| "nobody".to_string(), |grant| grant.to.to_string());
            let token = lease.authority.epoch.max(lease.resource.epoch);
            return alloc::vec![
                ("token", token.0.to_string()),
                ("granted", granted),
                ("written", lease.resource.value.clone()),
            ];
        }
        let role = match service.role {
            Role::Aside => "aside",
            Role::Second => "second",
            Role::Runs => "runs",
        };
        let holding = service.lease.holding.as_ref();
        let token = holding.map_or_else(
            || "none".to_string(),
            |holding| {
                let Epoch(number) = holding.epoch;
                number.to_string()
            },
        );
        let view: Vec<String> = (swim.view.iter())
            .map(|(node, standing)| {
                let status = match standing.status {
                    Status::Alive => "alive",
                    Status::Suspect => "suspect",
                    Status::Dead => "dead",
                    Status::Left => "left",
                };
                format!("{node} {status} {}", standing.incarnation)
            })
            .collect();
        alloc::vec![
            ("role", role.into()),
            ("token", token),
            ("view", view.join("; ")),
        ]
    }
}

/// Who runs the service, as far as this node knows: the lowest of those that it sees, if that is not itself.
fn runner(state: &State<Membership>) -> Option<NodeId> {
    let view = state.volatile.swim.view.iter();
    let mut seen = view.filter(|(_, standing)| standing.is_live());
    let lowest = seen.next().map(|(node, _)| *node);
    let is_aside = state.volatile.singleton.role == Role::Aside;
    lowest.filter(|_| is_aside)
}
