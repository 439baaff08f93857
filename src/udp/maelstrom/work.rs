//! What each workload's requests are to its machine, and what the machine's answers are to its clients.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use serde_json::Value;

use super::hosted::{done, failure, unexpected};
use super::message::{Asker, Code, Failure, Message, Reply};
use super::{Node, Said};
use crate::clock::{Exhausted, Hybrid};
use crate::crdt::{Join, PnCounter};
use crate::gossip::Gossip;
use crate::machine::{NodeId, State};
use crate::raft::Raft;
use crate::udp::cycle::Stop;
use crate::udp::served::{Answer, Command, Served, now};
use crate::udp::wire::decode;

/// A workload that a machine serves.
pub(super) trait Work {
    /// Which.
    type Machine: Served;
    /// What has to be remembered of a request, to answer it.
    type Asked;

    /// What a request is to the machine, which is in this state.
    ///
    /// # Errors
    ///
    /// If it is none. Nothing was done.
    fn begun(
        &self,
        request: &Message,
        state: &State<Self::Machine>,
    ) -> Result<Begun<Self::Asked>, Failure>;

    /// What the machine's answer is to the client.
    ///
    /// # Errors
    ///
    /// If it was not done, or nobody knows.
    fn ended(
        &self,
        asked: &Self::Asked,
        answer: Answer,
        state: &State<Self::Machine>,
    ) -> Result<Reply, Failure>;
}

/// What a request is.
pub(super) enum Begun<A> {
    /// Done already: all that it takes is here.
    Done(Reply),
    /// A command.
    Command(Command, A),
}

/// `lin-kv`, by raft.
pub(super) struct LinKv;

/// What was asked of the store.
pub(super) enum Asked {
    /// The value of a key.
    Read,
    /// That it has another.
    Write,
    /// The same, if it has the right one.
    Cas {
        /// Which key, for one without a value is told from one with another.
        key: String,
    },
}

impl Work for LinKv {
    type Machine = Raft;
    type Asked = Asked;

    fn begun(&self, request: &Message, _: &State<Raft>) -> Result<Begun<Asked>, Failure> {
        let (command, asked) = match request.kind() {
            "read" => {
                let key = request.json("key")?;
                (Command::Get { key }, Asked::Read)
            }
            "write" => {
                let (key, value) = (request.json("key")?, request.json("value")?);
                (Command::Set { key, value }, Asked::Write)
            }
            "cas" => {
                let key = request.json("key")?;
                let expected = Some(request.json("from")?);
                let new = request.json("to")?;
                let asked = Asked::Cas { key: key.clone() };
                (Command::CompareAndSwap { key, expected, new }, asked)
            }
            _ => return Err(request.unknown()),
        };
        Ok(Begun::Command(command, asked))
    }

    fn ended(&self, asked: &Asked, answer: Answer, state: &State<Raft>) -> Result<Reply, Failure> {
        let absent = || Failure::new(Code::KeyDoesNotExist, "the key has no value");
        match (asked, answer) {
            (Asked::Read, Answer::Value(Some(text))) => {
                let value = serde_json::from_str(&text);
                let value = value.map_err(|_| unexpected())?;
                Ok(Reply::with("read_ok", "value", value))
            }
            (Asked::Read, Answer::Value(None)) => Err(absent()),
            (Asked::Write, answer) => done(answer, "write_ok"),
            (Asked::Cas { .. }, Answer::Swapped(true)) => Ok(Reply::of("cas_ok")),
            // Nothing here takes a value away, so that a key without one had none then either.
            (Asked::Cas { key }, Answer::Swapped(false))
                if !state.volatile.store.values.contains_key(key) =>
            {
                Err(absent())
            }
            (Asked::Cas { .. }, Answer::Swapped(false)) => {
                let text = "the key has another value";
                Err(Failure::new(Code::PreconditionFailed, text))
            }
            (Asked::Read | Asked::Cas { .. }, answer) => Err(failure(answer)),
        }
    }
}

/// `broadcast` and `g-set`, by gossip: the keys are what is added.
pub(super) struct Elements {
    add: &'static str,
    element: &'static str,
    added: &'static str,
    all: &'static str,
}

impl Elements {
    /// As `broadcast` calls it.
    pub(super) const BROADCAST: Self = Self {
        add: "broadcast",
        element: "message",
        added: "broadcast_ok",
        all: "messages",
    };
    /// As `g-set` calls it.
    pub(super) const G_SET: Self = Self {
        add: "add",
        element: "element",
        added: "add_ok",
        all: "value",
    };
}

impl Work for Elements {
    type Machine = Gossip;
    type Asked = ();

    fn begun(&self, request: &Message, state: &State<Gossip>) -> Result<Begun<()>, Failure> {
        match request.kind() {
            kind if kind == self.add => {
                let key = request.json(self.element)?;
                let value = String::new();
                Ok(Begun::Command(Command::Set { key, value }, ()))
            }
            "read" => {
                let keys = state.durable.cells.keys();
                let all = keys.filter_map(|key| serde_json::from_str(key).ok());
                let all = Value::Array(all.collect());
                Ok(Begun::Done(Reply::with("read_ok", self.all, all)))
            }
            "topology" => Ok(Begun::Done(Reply::of("topology_ok"))),
            _ => Err(request.unknown()),
        }
    }

    fn ended(&self, (): &(), answer: Answer, _: &State<Gossip>) -> Result<Reply, Failure> {
        done(answer, self.added)
    }
}

/// `pn-counter`, by gossip: each node writes a counter of its own, and reads all.
pub(super) struct Counter {
    me: NodeId,
}

impl Counter {
    /// That of this node.
    pub(super) fn of(me: NodeId) -> Self {
        Self { me }
    }

    /// The counter under a key: that of the node with this number.
    fn counter(state: &State<Gossip>, key: &str) -> PnCounter {
        let mut counter = PnCounter::default();
        for digits in state.durable.values(key) {
            let bytes = hex::decode(digits).unwrap_or_default();
            // What no node wrote counts nothing.
            counter.join(&decode(&bytes).unwrap_or_default());
        }
        counter
    }

    /// All of them as one, and what it counts.
    fn value(state: &State<Gossip>) -> Result<i64, Failure> {
        let mut all = PnCounter::default();
        for key in state.durable.cells.keys() {
            all.join(&Self::counter(state, key));
        }
        let value = i64::try_from(all.value());
        value.map_err(|_| Failure::new(Code::NotSupported, "the sum has more than 64 bits"))
    }

    /// This node's counter, with so much more.
    fn added(&self, state: &State<Gossip>, delta: i64) -> Result<Command, Failure> {
        let key = self.me.0.to_string();
        let mut counter = Self::counter(state, &key);
        let side = if delta < 0 {
            &mut counter.taken
        } else {
            &mut counter.added
        };
        let added = side.add_many(self.me, delta.unsigned_abs());
        let exhausted = |Exhausted| Failure::new(Code::NotSupported, "the count is at its end");
        added.map_err(exhausted)?;
        let failed = |_| Failure::new(Code::NotSupported, "the count has no encoding");
        let value = hex::encode(postcard::to_stdvec(&counter).map_err(failed)?);
        Ok(Command::Set { key, value })
    }
}

impl Work for Counter {
    type Machine = Gossip;
    type Asked = ();

    fn begun(&self, request: &Message, state: &State<Gossip>) -> Result<Begun<()>, Failure> {
        match request.kind() {
            "add" => {
                let command = self.added(state, request.number("delta")?)?;
                Ok(Begun::Command(command, ()))
            }
            "read" => {
                let value = Self::value(state)?.into();
                Ok(Begun::Done(Reply::with("read_ok", "value", value)))
            }
            _ => Err(request.unknown()),
        }
    }

    fn ended(&self, (): &(), answer: Answer, _: &State<Gossip>) -> Result<Reply, Failure> {
        done(answer, "add_ok")
    }
}

/// `unique-ids`, by a clock that is never read twice at one time.
pub(super) struct Ids {
    me: NodeId,
    clock: Hybrid,
    said: Vec<Said>,
}

impl Ids {
    /// Those of this node.
    pub(super) fn of(me: NodeId) -> Self {
        Self {
            me,
            clock: Hybrid::default(),
            said: Vec::new(),
        }
    }

    fn answered(&mut self, request: &Message) -> Result<Reply, Failure> {
        if request.kind() != "generate" {
            return Err(request.unknown());
        }
        let exhausted = |Exhausted| Failure::new(Code::TemporarilyUnavailable, "no later time");
        let time = self.clock.tick(now()).map_err(exhausted)?;
        let id = alloc::format!("{time:?}@{}", self.me);
        Ok(Reply::with("generate_ok", "id", id.into()))
    }
}

impl Node for Ids {
    /// Its nodes do not talk.
    fn hears(&mut self, _: NodeId, _: Vec<u8>) {}

    fn asks(&mut self, _: Duration, asker: Asker, request: Message) -> Result<(), Stop> {
        let reply = self.answered(&request);
        self.said.push(Said::Reply(asker, reply));
        Ok(())
    }

    fn turn(&mut self, _: Duration) -> Result<(), Stop> {
        Ok(())
    }

    fn wakes_at(&self) -> Option<Duration> {
        None
    }

    fn says(&mut self) -> Vec<Said> {
        core::mem::take(&mut self.said)
    }
}

/// `echo`.
#[derive(Default)]
pub(super) struct Echo {
    said: Vec<Said>,
}

impl Echo {
    fn answered(request: &Message) -> Result<Reply, Failure> {
        if request.kind() != "echo" {
            return Err(request.unknown());
        }
        let said = request.field("echo")?.clone();
        Ok(Reply::with("echo_ok", "echo", said))
    }
}

impl Node for Echo {
    /// Its nodes do not talk.
    fn hears(&mut self, _: NodeId, _: Vec<u8>) {}

    fn asks(&mut self, _: Duration, asker: Asker, request: Message) -> Result<(), Stop> {
        let reply = Self::answered(&request);
        self.said.push(Said::Reply(asker, reply));
        Ok(())
    }

    fn turn(&mut self, _: Duration) -> Result<(), Stop> {
        Ok(())
    }

    fn wakes_at(&self) -> Option<Duration> {
        None
    }

    fn says(&mut self) -> Vec<Said> {
        core::mem::take(&mut self.said)
    }
}
