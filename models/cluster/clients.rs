//! The clients of a simulated cluster.

use std::collections::VecDeque;
use std::sync::mpsc::{TryRecvError, sync_channel};
use std::time::Duration;

use quorate::kv::Reply;
use quorate::udp::configuration::Protocol;
use quorate::udp::desk::{Ask, Request, Told};
use quorate::udp::served::{Answer, Command, Served};

use super::book::{Came, came, operation};
use super::sabotage::Sabotage;
use super::weather::within;
use super::{
    CLIENTS, Connection, Happening, KEYS, NODES, NUMBER, PATIENCE, SPREAD, STORM, Simulation,
    Waiting, is_linearizable,
};

impl<M: Served> Simulation<M> {
    /// What each client is to do in the calm: write, and read all there is. Where each node answers
    /// alone, each is read.
    pub(super) fn write_scripts(&mut self) {
        for client in 0..CLIENTS {
            let mut script = VecDeque::new();
            for key in KEYS.iter().take(2) {
                script.push_back(self.set(key));
            }
            let number = can_add(self.plan.protocol).then_some(NUMBER);
            for key in KEYS.into_iter().chain(number) {
                script.push_back(Command::Get { key: key.into() });
            }
            self.clients[client].script = script;
        }
    }

    /// True if every client has done what it was to do.
    pub(super) fn is_served(&self) -> bool {
        self.clients
            .iter()
            .all(|client| client.script.is_empty() && client.waiting.is_none())
    }

    fn set(&mut self, key: &str) -> Command {
        self.values += 1;
        // Some take more than a sector of the disk.
        let more = [0, 0, 600][self.rng.usize(..3)];
        Command::Set {
            key: key.into(),
            value: format!("v{}{}", self.values, "-".repeat(more)),
        }
    }

    /// A command in the storm.
    fn draw(&mut self, client: usize) -> Command {
        let key = KEYS[self.rng.usize(..KEYS.len())].to_owned();
        let draw = self.rng.u32(..10);
        match self.plan.protocol {
            Protocol::Register
            | Protocol::CapAp
            | Protocol::Gossip
            | Protocol::Causal
            | Protocol::Membership
            | Protocol::Database => match draw {
                0..5 => self.set(&key),
                _ => Command::Get { key },
            },
            Protocol::CapCp => match draw {
                0..4 => self.set(&key),
                4 => Command::Delete { key },
                _ => Command::Get { key },
            },
            Protocol::Store => match draw {
                0..4 => self.set(&key),
                4..6 => self.swap(client, key),
                _ => Command::Get { key },
            },
            Protocol::Raft | Protocol::Pbft => match draw {
                0..3 => self.set(&key),
                3 => self.swap(client, key),
                4 => Command::Delete { key },
                5..8 => Command::Add {
                    key: NUMBER.into(),
                    by: 1,
                },
                _ => Command::Get { key },
            },
        }
    }

    /// A swap of what was written lately, so that some succeed.
    fn swap(&mut self, client: usize, key: String) -> Command {
        let back = self.rng.u64(..4) + client as u64 % 2;
        let expected = format!("v{}", self.values.saturating_sub(back));
        self.values += 1;
        Command::CompareAndSwap {
            key,
            expected: Some(expected),
            new: format!("v{}", self.values),
        }
    }

    /// A client asks, if it can.
    pub(super) fn speak(&mut self, client: usize) {
        if self.clients[client].waiting.is_some() {
            return;
        }
        let scripted = self.is_calm;
        if scripted && !is_linearizable(self.plan.protocol) {
            // Each node is asked by one who stays, and is read only when all had time to hear.
            self.clients[client].node = client % NODES;
            let reads = self.clients[client]
                .script
                .front()
                .is_some_and(Command::is_read);
            if reads && self.now < STORM + SPREAD {
                let rest = (STORM + SPREAD).saturating_sub(self.now);
                return self.later(rest, Happening::Speaks { client });
            }
        }
        let node = self.clients[client].node;
        if self.places[node].running.is_none() {
            return self.moves_on(client, None);
        }
        let command = if scripted {
            match self.clients[client].script.front() {
                Some(command) => command.clone(),
                None => return,
            }
        } else {
            self.draw(client)
        };
        self.tally.count("operations");
        // No client here is an operator.
        let Some(operation) = operation(&command) else {
            return;
        };
        let entry = self.book.call(node, operation);
        self.asks(client, entry, command, scripted);
    }

    fn asks(&mut self, client: usize, entry: usize, command: Command, is_scripted: bool) {
        let node = self.clients[client].node;
        let boot = self.places[node].boots;
        let Some(running) = &mut self.places[node].running else {
            return self.told(client, Came::Unknown, None);
        };
        let connection = match self.clients[client].connection {
            Some(connection) if (connection.node, connection.boot) == (node, boot) => connection,
            Some(_) | None => {
                running.connections += 1;
                let number = running.connections;
                Connection { node, boot, number }
            }
        };
        let (answer, told) = sync_channel(1);
        running.requests.push_back(Request {
            connection: connection.number,
            ask: Ask::Command(command.clone()),
            answer,
        });
        let asking = &mut self.clients[client];
        asking.connection = Some(connection);
        asking.asked += 1;
        asking.waiting = Some(Waiting {
            entry,
            command,
            is_scripted,
            told,
        });
        let asked = asking.asked;
        self.later(PATIENCE, Happening::GivesUp { client, asked });
        self.turn(node);
    }

    /// Clients at this node look whether they are told something.
    pub(super) fn hear(&mut self, node: usize) {
        for client in 0..CLIENTS {
            if self.clients[client].node != node {
                continue;
            }
            let Some(waiting) = &self.clients[client].waiting else {
                continue;
            };
            match waiting.told.try_recv() {
                Ok(Told::Answer(answer)) => {
                    let hint = if let Answer::NotLeader(Some(leader)) = &answer {
                        usize::try_from(leader.0)
                            .ok()
                            .filter(|leader| *leader < NODES)
                    } else {
                        None
                    };
                    let came = came(&waiting.command, answer);
                    self.told(client, came, hint);
                }
                Ok(Told::Value(_)) | Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => {
                    self.clients[client].connection = None;
                    self.told(client, Came::Unknown, None);
                }
            }
        }
    }

    /// What came of what a client asked.
    pub(super) fn told(&mut self, client: usize, came: Came, leader: Option<usize>) {
        let Some(waiting) = self.clients[client].waiting.take() else {
            return;
        };
        let node = self.clients[client].node;
        self.say(|| format!("c{client} at n{node}: {:?} -> {came:?}", waiting.command));
        let is_read = waiting.command.is_read();
        let came = match (came, self.plan.sabotage) {
            (Came::Unknown, _) if is_read => Came::OfNothing,
            (Came::Unknown, Some(Sabotage::UnknownToldAsFailure)) => Came::OfNothing,
            (Came::Unknown, Some(Sabotage::BlindRetry)) if !self.is_calm => {
                self.leave(client);
                self.clients[client].node = self.rng.usize(..NODES);
                return self.asks_again(client, waiting);
            }
            (came, _) => came,
        };
        match &came {
            Came::Of(reply) => {
                self.tally.count("acknowledged");
                if waiting.is_scripted {
                    self.clients[client].script.pop_front();
                    if let (Command::Get { key }, Reply::Value(value)) = (&waiting.command, reply) {
                        self.last.insert((node, key.clone()), value.clone());
                    }
                }
            }
            Came::OfNothing => self.tally.count("without effect"),
            Came::Unknown => self.tally.count("unknown"),
        }
        let goes_on = matches!(came, Came::Of(_));
        self.book.tell(waiting.entry, came);
        if goes_on {
            let most = if self.is_calm { 2 } else { 40 };
            let after = within(&mut self.rng, Duration::from_millis(most));
            self.later(after, Happening::Speaks { client });
        } else {
            self.moves_on(client, leader);
        }
    }

    fn asks_again(&mut self, client: usize, waiting: Waiting) {
        let node = self.clients[client].node;
        if self.places[node].running.is_some() {
            self.asks(client, waiting.entry, waiting.command, false);
        } else {
            self.book.tell(waiting.entry, Came::Unknown);
            self.moves_on(client, None);
        }
    }

    /// The client turns to another node, after a moment.
    fn moves_on(&mut self, client: usize, to: Option<usize>) {
        self.leave(client);
        let any = self.rng.usize(..NODES);
        self.clients[client].node = to.unwrap_or(any);
        let after = within(&mut self.rng, Duration::from_millis(20));
        self.later(after, Happening::Speaks { client });
    }

    /// The client closes its connection.
    pub(super) fn leave(&mut self, client: usize) {
        let connection = self.clients[client].connection.take();
        if let Some(Connection { node, boot, number }) = connection
            && let Some(running) = self.running(node, boot)
        {
            running.requests.push_back(Request {
                connection: number,
                ask: Ask::Left,
                answer: sync_channel(1).0,
            });
        }
    }
}

/// True if the protocol can add to numbers.
fn can_add(protocol: Protocol) -> bool {
    match protocol {
        Protocol::Raft | Protocol::Pbft => true,
        Protocol::Register
        | Protocol::Store
        | Protocol::CapCp
        | Protocol::CapAp
        | Protocol::Gossip
        | Protocol::Causal
        | Protocol::Membership
        | Protocol::Database => false,
    }
}
