//! A member of theirs.

use std::fmt;

use quorate::data::NodeSet;
use quorate::machine::NodeId;
use quorate::raft::{Command, Flow, Term};
use raft::eraftpb::{self, HardState};
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};

use crate::border::{Said, encoded, name, node, note, our_entry, their_entry};
use crate::member::{Did, Seen, Settings};

/// One of theirs, and its disk.
pub struct Theirs {
    me: NodeId,
    settings: Settings,
    node: RawNode<MemStorage>,
}

impl fmt::Debug for Theirs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of theirs: {:?}", self.me, self.seen())
    }
}

/// A node of theirs, from what its disk holds.
fn boot(me: NodeId, settings: Settings, disk: MemStorage) -> RawNode<MemStorage> {
    let inflight = match settings.flow {
        Flow::StopAndWait => 1,
        Flow::Pipelined { messages_max } => messages_max as usize,
    };
    let config = Config {
        id: name(me),
        // Nothing ticks here: the schedule says who stands, and when.
        election_tick: 10,
        heartbeat_tick: 1,
        // One entry is always sent. It has some twenty bytes.
        max_size_per_msg: u64::from(settings.batch - 1) * 25,
        max_inflight_msgs: inflight,
        ..Config::default()
    };
    let quiet = slog::Logger::root(slog::Discard, slog::o!());
    RawNode::new(&config, disk, &quiet).expect("the configuration is sound")
}

impl Theirs {
    /// A follower in this state.
    pub fn at(me: NodeId, settings: Settings, seen: &Seen) -> Self {
        let names = NodeSet::first(settings.members).iter().map(name);
        let voters = (names.collect::<Vec<_>>(), Vec::new());
        let disk = MemStorage::new_with_conf_state(voters);
        let entries = (1..).zip(&seen.log);
        let entries = entries.map(|(index, entry)| their_entry(index, entry));
        let entries: Vec<_> = entries.collect();
        disk.wl().append(&entries).expect("they follow");
        let mut state = HardState::default();
        state.set_term(seen.term.0);
        state.set_vote(seen.vote.map_or(0, name));
        state.set_commit(seen.commit);
        disk.wl().set_hardstate(state);
        let node = boot(me, settings, disk);
        let mut theirs = Self { me, settings, node };
        theirs.act(|_| {});
        theirs
    }

    /// It hears this.
    pub(crate) fn hear(&mut self, from: NodeId, said: Said) -> Did {
        let message = said.in_theirs(from, self.me);
        self.act(|node| node.step(message).expect("it knows who sent it"))
    }

    /// Its election alarm rings; a leader has none.
    pub(crate) fn stand(&mut self) -> Did {
        self.act(|node| {
            if node.raft.state != StateRole::Leader {
                node.campaign().expect("a member may stand");
            }
        })
    }

    /// If it leads, it is to be heard.
    pub(crate) fn beat(&mut self) -> Did {
        self.act(RawNode::ping)
    }

    /// A client asks it. Who does not lead would pass it on, for which ours have no message.
    pub(crate) fn propose(&mut self, command: &Command) -> Did {
        self.act(|node| {
            if node.raft.state == StateRole::Leader {
                let proposed = node.propose(Vec::new(), encoded(command));
                proposed.expect("a leader takes what it is asked");
            }
        })
    }

    /// It crashes, and starts again from its disk.
    pub(crate) fn restart(&mut self) -> Did {
        self.node = boot(self.me, self.settings, self.node.store().clone());
        self.act(|_| {})
    }

    /// What is seen of it.
    pub(crate) fn seen(&self) -> Seen {
        let raft = &self.node.raft;
        Seen {
            term: Term(raft.term),
            vote: node(raft.vote),
            log: raft.raft_log.all_entries().iter().map(our_entry).collect(),
            commit: raft.raft_log.committed,
            leads: raft.state == StateRole::Leader,
        }
    }

    /// Lets it act; then the disk takes what it has to, and what was said may leave.
    fn act(&mut self, act: impl FnOnce(&mut RawNode<MemStorage>)) -> Did {
        let led = self.led();
        act(&mut self.node);
        let (mut sent, mut committed) = (Vec::new(), Vec::new());
        while self.node.has_ready() {
            let mut ready = self.node.ready();
            let disk = self.node.store().clone();
            disk.wl().append(ready.entries()).expect("they follow");
            if let Some(state) = ready.hs() {
                disk.wl().set_hardstate(state.clone());
            }
            committed.append(&mut ready.take_committed_entries());
            sent.append(&mut ready.take_messages());
            sent.append(&mut ready.take_persisted_messages());
            let mut light = self.node.advance(ready);
            if let Some(commit) = light.commit_index() {
                disk.wl().mut_hard_state().set_commit(commit);
            }
            committed.append(&mut light.take_committed_entries());
            sent.append(&mut light.take_messages());
            self.node.advance_apply();
        }
        let numbered = |entry: &eraftpb::Entry| (entry.get_index(), our_entry(entry));
        Did {
            sent: sent.into_iter().map(|said| self.leave(said)).collect(),
            committed: committed.iter().map(numbered).collect(),
            elected: self.led().filter(|term| led != Some(*term)),
        }
    }

    /// What it says leaves.
    fn leave(&self, mut said: eraftpb::Message) -> (NodeId, Said) {
        let log = &self.node.raft.raft_log;
        note(&mut said, |index| {
            log.term(index).expect("nothing is compacted")
        });
        let to = node(said.get_to()).expect("it is for somebody");
        (to, Said::Theirs(Box::new(said)))
    }

    fn led(&self) -> Option<Term> {
        let leads = self.node.raft.state == StateRole::Leader;
        leads.then(|| Term(self.node.raft.term))
    }
}
