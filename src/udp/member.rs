//! A member that serves clients: the loop and the desk, on whatever socket and disk.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::configuration::Cluster;
use super::cycle::{Cycle, Ground, Stop};
use super::desk::{Ask, Desk, Request, Told};
use super::flush::Flush;
use super::front::REQUESTS_MAX;
use super::metrics::{Histogram, Page};
use super::port::Socket;
use super::resp::Value;
use super::served::{Command, Served};
use super::std;
use crate::data::NodeSet;
use crate::machine::{NodeId, State};
use std::sync::mpsc::SyncSender;

/// A member of a cluster.
pub struct Member<M: Served, F, S> {
    cycle: Cycle<M, F, S>,
    desk: Desk<M>,
    turns: Histogram,
}

/// What a member's chances rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Luck {
    /// What the delays of its alarms are drawn from.
    pub seed: u64,
    /// A number that no other boot of any member has: its clients are numbered from there.
    pub unique: u64,
}

impl<M: Served, F: Flush<M>, S: Socket> Member<M, F, S> {
    /// Boots the member `node` from `durable`, which is what its disk holds, at time zero.
    ///
    /// # Errors
    ///
    /// If it must stop at once.
    pub fn boot(
        cluster: &Cluster,
        node: NodeId,
        durable: M::Durable,
        ground: Ground<F, S>,
        luck: Luck,
    ) -> Result<Self, Stop> {
        let machine = M::machine(cluster, node);
        Ok(Self {
            cycle: Cycle::boot(machine, node, durable, ground, luck.seed)?,
            desk: Desk::new(luck.unique),
            turns: Histogram::default(),
        })
    }

    /// One turn, which waits for nothing. While too much waits for the disk, no request is taken.
    /// Gives the links that a client asked to be cut, if one did.
    ///
    /// # Errors
    ///
    /// If the node must stop. It is not to be asked for another turn.
    pub fn turn(
        &mut self,
        now: Duration,
        requests: impl Iterator<Item = Request>,
    ) -> Result<Option<NodeSet>, Stop> {
        let mut calls = Vec::new();
        let mut cut = None;
        if self.cycle.has_room() {
            for request in requests.take(REQUESTS_MAX) {
                if let Ask::Cut(others) = &request.ask {
                    cut = Some(*others);
                }
                calls.extend(self.heed(now, request)?);
            }
        }
        let events = self.cycle.turn(now, calls)?;
        self.answer(now, events)?;
        Ok(cut)
    }

    /// Says what has become durable, and takes nothing new. True once nothing waits for the disk.
    ///
    /// # Errors
    ///
    /// If the node must stop.
    pub fn settle(&mut self, now: Duration) -> Result<bool, Stop> {
        let events = self.cycle.release(now)?;
        self.answer(now, events)?;
        Ok(self.cycle.ground().flush.in_flight() == 0)
    }

    fn answer(&mut self, now: Duration, events: Vec<M::Event>) -> Result<(), Stop> {
        for event in events {
            let Some(due) = self.desk.event(event, self.cycle.state()) else {
                continue;
            };
            if let Some(recorder) = &mut self.cycle.ground_mut().recorder {
                (recorder.answers::<M>(now, due.ticket, due.answer.clone()))
                    .map_err(Stop::Recording)?;
            }
            due.tell();
        }
        Ok(())
    }

    /// Notes how long a turn took: here is no clock.
    pub fn took(&mut self, time: Duration) {
        self.turns.time(time);
    }

    /// The loop.
    pub fn cycle(&self) -> &Cycle<M, F, S> {
        &self.cycle
    }

    /// The loop, to be changed.
    pub fn cycle_mut(&mut self) -> &mut Cycle<M, F, S> {
        &mut self.cycle
    }

    /// The state in memory.
    pub fn state(&self) -> &State<M> {
        self.cycle.state()
    }

    /// What is asked: a call, or answered at once.
    fn heed(&mut self, now: Duration, request: Request) -> Result<Option<M::Call>, Stop> {
        let Request {
            connection,
            ask,
            answer,
        } = request;
        let value = match ask {
            Ask::Command(command) => return self.call(now, connection, command, answer),
            Ask::Left => {
                self.desk.left(connection);
                return Ok(None);
            }
            Ask::Session => Value::Bulk(self.desk.token(connection)),
            Ask::Resume(token) => match self.desk.resume(connection, &token) {
                Ok(()) => Value::Simple("OK".into()),
                Err(why) => Value::Error(format!("ERR {why}")),
            },
            Ask::Status => Value::Bulk(self.status()),
            Ask::Metrics => Value::Bulk(self.metrics()),
            Ask::Ready => Value::Bulk("ready".into()),
            Ask::Cut(others) => {
                self.cycle.ground_mut().port.cut(others);
                Value::Simple("OK".into())
            }
        };
        // That nobody listens any more is no harm.
        let _ = answer.try_send(Told::Value(value));
        Ok(None)
    }

    fn call(
        &mut self,
        now: Duration,
        connection: u64,
        command: Command,
        answer: SyncSender<Told>,
    ) -> Result<Option<M::Call>, Stop> {
        let recorded = self.cycle.ground().recorder.is_some();
        let asked = recorded.then(|| command.clone());
        let machine = self.cycle.machine();
        let call = self.desk.ask(machine, now, connection, command, answer);
        let recorder = self.cycle.ground_mut().recorder.as_mut();
        if let (Some(recorder), Some(command), Some(_)) = (recorder, asked, &call) {
            (recorder.asks::<M>(now, self.desk.last_ticket(), command)).map_err(Stop::Recording)?;
        }
        Ok(call)
    }

    /// As Prometheus reads it: see [`super::metrics`].
    fn metrics(&self) -> String {
        let mut page = Page::default();
        let node = self.cycle.node().0.to_string();
        let labels = [
            ("protocol", M::NAME),
            ("version", env!("CARGO_PKG_VERSION")),
            ("node", &node),
        ];
        page.value("quorate_info", "gauge", &labels, 1);
        let Ground { port, flush, .. } = self.cycle.ground();
        port.counters.metrics(&mut page);
        page.times("quorate_turn_seconds", &self.turns);
        page.times("quorate_alarm_lateness_seconds", self.cycle.lateness());
        flush.metrics(&mut page);
        page.value("quorate_calls_waiting", "gauge", &[], self.desk.waiting());
        let (numbers, words): (Vec<_>, Vec<_>) = (M::status(self.state()).into_iter())
            .partition(|(_, value)| value.parse::<u64>().is_ok());
        for (what, value) in numbers {
            page.value("quorate_state", "gauge", &[("what", what)], value);
        }
        for (what, value) in words {
            let labels = [("what", what), ("value", value.as_str())];
            page.value("quorate_state_info", "gauge", &labels, 1);
        }
        page.finish()
    }

    /// As Redis's `INFO` has it: a setting a line.
    fn status(&self) -> String {
        let Ground { port, flush, .. } = self.cycle.ground();
        let counters = &port.counters;
        let counts = [
            ("messages_in", counters.messages_in),
            ("messages_out", counters.messages_out),
            ("messages_cut", counters.messages_cut),
            ("turns", counters.turns),
        ];
        let counts = flush.status().into_iter().chain(counts);
        let counts = counts.map(|(what, count)| (what, count.to_string()));
        let settings = M::status(self.state()).into_iter().chain(counts);
        let lines = settings.map(|(what, value)| format!("{what}:{value}\r\n"));
        format!("# {}\r\n", M::NAME) + &lines.collect::<String>()
    }
}
