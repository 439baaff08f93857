//! The nodes of a simulated cluster: how they start, turn, speak and fall.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{io, iter};

use quorate::udp::configuration::Settings;
use quorate::udp::cycle::{Ground, Stop};
use quorate::udp::journal::{Journal, JournalError, Problem, Recovered};
use quorate::udp::member::{Luck, Member};
use quorate::udp::port::Port;
use quorate::udp::recording::Recorder;
use quorate::udp::served::Served;

use super::flush::SlowDisk;
use super::network::{Mailbox, flip, readdress, seal_anew};
use super::platter::Platter;
use super::sabotage::Sabotage;
use super::weather::{Fault, chance, within};
use super::{Happening, NODES, Running, Simulation, Violation, address, id};
use crate::shared::fingerprint;

/// A file in memory, that someone else reads later.
struct Shared(Arc<Mutex<Vec<u8>>>);

impl io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let held = self.0.lock();
        held.map_err(|_| io::Error::other("poisoned"))?
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<M: Served> Simulation<M> {
    /// Starts a node, unless it runs already or never will again.
    pub(super) fn start(&mut self, node: usize) {
        let place = &mut self.places[node];
        if place.running.is_some() || place.is_out {
            return;
        }
        place.boots += 1;
        let boots = place.boots;
        if boots > 1 && self.plan.sabotage == Some(Sabotage::NoJournal) {
            place.platter.wipe();
        }
        match self.open(node) {
            Ok((journal, durable)) => match self.boot(node, journal, durable) {
                Ok(running) => {
                    self.places[node].running = Some(running);
                    self.say(|| format!("n{node} starts, for the {boots}. time"));
                    self.settle(node);
                }
                Err(stop) => self.stops(node, stop),
            },
            Err(JournalError {
                problem: Problem::Damaged { offset, how },
                ..
            }) if self.places[node].rotten => {
                if self.plan.sabotage == Some(Sabotage::DamageCut) {
                    self.places[node].platter.cut(offset);
                    self.places[node].rotten = false;
                    return self.start(node);
                }
                self.say(|| format!("n{node} refuses its journal: {how}"));
                self.tally.count("damaged journals refused");
                self.places[node].is_out = true;
            }
            Err(
                error @ JournalError {
                    problem: Problem::Unwritable(_),
                    ..
                },
            ) => {
                self.say(|| format!("n{node} does not start: {error}"));
                self.tally.count("disk failures");
                self.places[node].platter.lose_power(&mut self.rng);
                self.starts_later(node);
            }
            Err(error) => self.violation = Some(Violation::Stopped(error.to_string())),
        }
    }

    fn open(&mut self, node: usize) -> Result<(Journal<Platter>, M::Durable), JournalError> {
        let platter = self.places[node].platter.clone();
        let identity = M::identity(&self.cluster, id(node));
        let path = format!("n{node}/journal").into();
        let is_new =
            self.places[node].boots == 1 || self.plan.sabotage == Some(Sabotage::NoJournal);
        let (mut journal, durable) = if is_new {
            let journal = Journal::create_on::<M::Durable>(platter, path, &identity)?;
            (journal, M::Durable::default())
        } else {
            let Recovered {
                journal,
                durable,
                torn_bytes,
            } = Journal::open_on::<M::Durable>(platter.clone(), path, &identity)?;
            platter.complete();
            self.tally
                .count_many("torn ends cut", u64::from(torn_bytes > 0));
            (journal, durable)
        };
        journal.set_growth(self.weather.growth);
        Ok((journal, durable))
    }

    fn boot(
        &mut self,
        node: usize,
        journal: Journal<Platter>,
        durable: M::Durable,
    ) -> Result<Running<M>, Stop> {
        let identity = M::identity(&self.cluster, id(node));
        let platter = self.places[node].platter.clone();
        let mut recorder = None;
        if self.plan.log {
            let bytes = Arc::new(Mutex::new(Vec::new()));
            self.recordings.push(Arc::clone(&bytes));
            let settings = Settings {
                id: Some(node as u64),
                ..self.settings.clone()
            };
            let booted_at = u64::try_from(self.now.as_micros()).unwrap_or(u64::MAX);
            let begun = Recorder::begin(Shared(bytes), &settings, booted_at);
            recorder = Some(begun.map_err(Stop::Recording)?);
        }
        let ground = Ground {
            port: Port::on(
                Mailbox::default(),
                &identity,
                self.cluster.members.clone(),
                0,
            ),
            flush: SlowDisk::new(journal, platter, self.plan.sabotage),
            recorder,
        };
        let luck = Luck {
            seed: self.rng.u64(..),
            unique: match self.plan.sabotage {
                Some(Sabotage::NamesReused) => 1_000 * node as u64,
                Some(_) | None => self.rng.u64(..),
            },
        };
        Ok(Running {
            member: Member::boot(&self.cluster, id(node), durable, ground, luck)?,
            booted: self.now,
            requests: VecDeque::new(),
            wakes: None,
            connections: 0,
        })
    }

    /// Lets a node do what there is to do.
    pub(super) fn turn(&mut self, node: usize) {
        let place = &mut self.places[node];
        if place.paused {
            return;
        }
        let Some(running) = &mut place.running else {
            return;
        };
        let now = self.now.saturating_sub(running.booted);
        let requests = &mut running.requests;
        let turned = (running.member).turn(now, iter::from_fn(|| requests.pop_front()));
        match turned {
            Ok(_) => self.settle(node),
            Err(stop) => self.stops(node, stop),
        }
    }

    /// What follows a turn: datagrams leave, the disk begins, an alarm is set, clients hear.
    fn settle(&mut self, node: usize) {
        let place = &mut self.places[node];
        let boot = place.boots;
        let Some(running) = &mut place.running else {
            return;
        };
        let cycle = running.member.cycle_mut();
        let begins = cycle.ground_mut().flush.begin();
        let hasty = begins && cycle.ground_mut().flush.is_hasty();
        let wakes = (cycle.has_room())
            .then(|| cycle.wakes_at())
            .flatten()
            .map(|due| (running.booted + due).max(self.now + Duration::from_micros(1)));
        let sent = cycle.ground_mut().port.socket_mut().take();
        let sets = wakes.filter(|at| running.wakes.is_none_or(|before| *at < before));
        if sets.is_some() {
            running.wakes = sets;
        }
        if begins {
            self.tally.count("flushes");
            let takes = if self.is_calm {
                Duration::from_micros(100)
            } else {
                self.weather.flushes(&mut self.rng)
            };
            self.later(takes, Happening::Flushed { node, boot });
            if !self.is_calm && chance(&mut self.rng, self.weather.flush_cut) {
                let within_it = within(&mut self.rng, takes);
                self.later(within_it, Happening::PowerFails { node, boot });
            }
        }
        if hasty {
            // What it says too early leaves at once, not at whatever its next turn is.
            self.later(Duration::from_micros(1), Happening::Wakes { node, boot });
        }
        if let Some(at) = sets {
            self.later(at.saturating_sub(self.now), Happening::Wakes { node, boot });
        }
        for (datagram, to) in sent {
            if let Some(to) = (0..NODES).find(|other| address(*other) == to) {
                self.sends(node, to, datagram);
            }
        }
        self.hear(node);
    }

    fn sends(&mut self, from: usize, to: usize, datagram: Vec<u8>) {
        self.tally.count("datagrams");
        let at = u64::try_from(self.now.as_nanos()).unwrap_or(u64::MAX);
        self.digest = fingerprint(&(self.digest, at, from as u64, to as u64, &datagram));
        let is_calm = self.is_calm;
        if self.cut.contains(&(from, to)) || !is_calm && chance(&mut self.rng, self.weather.loss) {
            self.tally.count("datagrams lost");
            return;
        }
        let copies = 1 + usize::from(!is_calm && chance(&mut self.rng, self.weather.repetition));
        for _ in 0..copies {
            let (mut to, mut datagram) = (to, datagram.clone());
            if !is_calm && chance(&mut self.rng, self.weather.corruption) {
                self.tally.count("datagrams corrupted");
                flip(&mut datagram, self.rng.usize(..));
                if self.plan.sabotage == Some(Sabotage::ChecksumUnchecked) {
                    seal_anew(&mut datagram);
                }
            }
            if !is_calm && chance(&mut self.rng, self.weather.misrouting) {
                self.tally.count("datagrams misrouted");
                to = self.rng.usize(..NODES);
                if self.plan.sabotage == Some(Sabotage::ReceiverUnchecked) {
                    readdress(&mut datagram, to as u64);
                }
            }
            let after = if is_calm {
                within(&mut self.rng, Duration::from_millis(1))
            } else {
                self.weather.under_way(&mut self.rng)
            };
            let whence = address(from);
            self.later(
                after,
                Happening::Arrives {
                    to,
                    whence,
                    datagram,
                },
            );
        }
    }

    pub(super) fn arrives(&mut self, to: usize, whence: SocketAddr, datagram: Vec<u8>) {
        let Some(running) = &mut self.places[to].running else {
            self.tally.count("datagrams lost");
            return;
        };
        let mailbox = running.member.cycle_mut().ground_mut().port.socket_mut();
        if !mailbox.arrives(datagram, whence) {
            self.tally.count("datagrams lost");
        }
        self.turn(to);
    }

    /// A node had to stop by itself.
    fn stops(&mut self, node: usize, stop: Stop) {
        match stop {
            Stop::Disk(error) => {
                self.say(|| format!("n{node} stops: {error}"));
                self.tally.count("disk failures");
                self.falls(node, Fall::Power);
            }
            Stop::Broken(_) | Stop::Socket(_) | Stop::Recording(_) => {
                self.violation = Some(Violation::Stopped(format!("n{node}: {stop}")));
            }
        }
    }

    /// The power fails while a node flushes: its own, or everyone's.
    pub(super) fn power_fails(&mut self, node: usize) {
        let of_all = self.rng.bool();
        for other in 0..NODES {
            if other == node || of_all {
                self.say(|| format!("n{other} loses power"));
                self.tally.count("power cuts");
                self.falls(other, Fall::Power);
            }
        }
    }

    /// A node is gone, and will be back.
    fn falls(&mut self, node: usize, fall: Fall) {
        let place = &mut self.places[node];
        if place.running.take().is_none() {
            return;
        }
        place.paused = false;
        match fall {
            Fall::Power => place.platter.lose_power(&mut self.rng),
            Fall::Killed => place.platter.write_back(),
        }
        self.hear(node);
        self.starts_later(node);
    }

    fn starts_later(&mut self, node: usize) {
        let down = within(&mut self.rng, self.weather.down);
        self.later(down, Happening::Starts { node });
    }

    pub(super) fn next_fault(&mut self) {
        let after = within(&mut self.rng, self.weather.calm * 2);
        self.later(after, Happening::Fault);
    }

    pub(super) fn fault(&mut self) {
        let fault = self.weather.fault(&mut self.rng);
        let node = self.rng.usize(..NODES);
        match fault {
            Fault::PowerCut => {
                self.say(|| format!("n{node} loses power"));
                self.tally.count("power cuts");
                self.falls(node, Fall::Power);
            }
            Fault::PowerCutOfAll => {
                self.say(|| "all lose power".into());
                for node in 0..NODES {
                    self.tally.count("power cuts");
                    self.falls(node, Fall::Power);
                }
            }
            Fault::Kill => {
                self.say(|| format!("n{node} is killed"));
                self.tally.count("kills");
                self.falls(node, Fall::Killed);
            }
            Fault::Pause => {
                self.say(|| format!("n{node} stands still"));
                self.tally.count("pauses");
                self.places[node].paused = true;
                let lasts = within(&mut self.rng, Duration::from_millis(600));
                self.later(lasts, Happening::Resumes { node });
            }
            Fault::Cut => self.cuts(node),
            Fault::Heal => {
                self.say(|| "all links are whole".into());
                self.cut.clear();
            }
            Fault::DiskFailure => self.places[node].platter.break_next(),
            Fault::Rot => {
                let nobody = self
                    .places
                    .iter()
                    .all(|place| !place.rotten && !place.is_out);
                if nobody && self.places[node].platter.rot(&mut self.rng) {
                    self.say(|| format!("a bit of the journal of n{node} flips"));
                    self.places[node].rotten = true;
                }
            }
        }
    }

    fn cuts(&mut self, node: usize) {
        self.tally.count("cuts");
        let others = (0..NODES).filter(|other| *other != node);
        match self.rng.u32(..3) {
            0 => {
                self.say(|| format!("n{node} is cut off"));
                self.cut
                    .extend(others.flat_map(|other| [(node, other), (other, node)]));
            }
            1 => {
                self.say(|| format!("n{node} is not heard"));
                self.cut.extend(others.map(|other| (node, other)));
            }
            _ => {
                let other = (node + 1) % NODES;
                self.say(|| format!("n{node} and n{other} are cut off from each other"));
                self.cut.extend([(node, other), (other, node)]);
            }
        }
    }

    /// Everything is mended.
    pub(super) fn calm(&mut self) {
        self.say(|| "the calm begins".into());
        self.is_calm = true;
        self.cut.clear();
        for node in 0..NODES {
            self.places[node].paused = false;
            self.start(node);
            self.turn(node);
        }
        self.write_scripts();
    }
}

#[derive(Clone, Copy)]
enum Fall {
    Power,
    Killed,
}
