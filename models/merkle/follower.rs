//! A log, and clients that follow it: they keep its head, go on to a larger one by a proof that theirs
//! came before, and compare what they have with each other.
//!
//! The log says beforehand all that it could be asked, so that no question needs to travel: a question
//! that was not asked is an answer that was lost.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use quorate::data::{Map, NodeSet};
use quorate::machine::{self, Machine, NodeId, Outbox, State};
use quorate::merkle::{Consistency, Head, Log};
use serde::{Deserialize, Serialize};

use super::specification::is_prefix;
use super::term::{Free, Term};
use crate::ghost::Ghost;

/// The log's node.
pub const LOG: NodeId = NodeId(0);

/// What a client makes of what it is told.
pub trait Rule: Clone + fmt::Debug + Eq + std::hash::Hash + Send + Sync + 'static {
    /// Whether the proof, said to be from `claimed` entries on, shows that the older log became the
    /// newer.
    fn extends(
        &self,
        older: &Head<Term>,
        newer: &Head<Term>,
        claimed: u64,
        proof: &Consistency<Term>,
    ) -> bool;

    /// How the head of another client stands to one's own.
    fn compare(&self, mine: &Head<Term>, theirs: &Head<Term>) -> Comparison;

    /// What a restart makes of the head that was kept.
    fn restart(&self, head: &mut Head<Term>) {
        let _ = head;
    }
}

/// What two heads say of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// They are of one list.
    Agree,
    /// They are of two lists, and the log said both.
    Forked,
    /// A proof is needed.
    Unknown,
}

/// As it is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RightRule;

impl Rule for RightRule {
    fn extends(
        &self,
        older: &Head<Term>,
        newer: &Head<Term>,
        claimed: u64,
        proof: &Consistency<Term>,
    ) -> bool {
        claimed == older.size && proof.verify(&Free, older, newer).is_ok()
    }

    fn compare(&self, mine: &Head<Term>, theirs: &Head<Term>) -> Comparison {
        if mine.size != theirs.size {
            Comparison::Unknown
        } else if mine.root == theirs.root {
            Comparison::Agree
        } else {
            Comparison::Forked
        }
    }
}

/// A node: the log, or a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Follower<R> {
    /// This node.
    pub me: NodeId,
    /// Which it is.
    pub part: Part,
    /// What a client makes of what it is told.
    pub rule: R,
}

/// Which part a node plays.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The log.
    Log {
        /// What it appends, one after the other.
        entries: Vec<String>,
        /// Whom it tells.
        clients: NodeSet,
    },
    /// A client.
    Client {
        /// With whom it compares: the other clients.
        peers: NodeSet,
    },
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Word {
    /// From the log: it has this head, and it comes after the head of this size.
    Answer {
        /// After which.
        older: u64,
        /// The head.
        head: Head<Term>,
        /// The proof; after none, an empty one.
        proof: Consistency<Term>,
    },
    /// From a client: the log had this head.
    Heard {
        /// The head.
        head: Head<Term>,
    },
}

/// What a node may do of its own accord.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Whim {
    /// The log appends its next entry.
    Append,
    /// The log says everything once more.
    Publish,
    /// A client tells the others which head it has.
    Gossip,
}

/// What a node tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Fact {
    /// This is the log's head from now on, as far as this client knows.
    Accepted {
        /// The head.
        head: Head<Term>,
    },
    /// Another client's head and its own are of one list.
    Agreed {
        /// The other's.
        theirs: Head<Term>,
    },
    /// The log said both of these, and no list has both.
    Accused {
        /// One.
        one: Head<Term>,
        /// The other.
        other: Head<Term>,
    },
}

/// What a node keeps on disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Book {
    /// The log's head, so far as this node knows: the log itself does.
    pub head: Head<Term>,
    /// What a client thinks of the log.
    pub trust: Trust,
}

/// What a client thinks of the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Trust {
    /// Nothing speaks against it.
    Trusts,
    /// Another client had this head, and the log has yet to prove that it and one's own are of one
    /// list. Until then it is not followed any further.
    Doubts(Head<Term>),
    /// It forked. It is not followed any further.
    Accuses,
}

/// The head of a log without entries.
pub fn nothing() -> Head<Term> {
    Head {
        size: 0,
        root: Term::Empty,
    }
}

impl Default for Book {
    fn default() -> Self {
        Self {
            head: nothing(),
            trust: Trust::Trusts,
        }
    }
}

impl machine::Durable for Book {
    type Change = Self;

    fn changes_since(&self, older: &Self) -> Vec<Self> {
        if self == older {
            Vec::new()
        } else {
            vec![self.clone()]
        }
    }

    fn apply(&mut self, change: Self) {
        *self = change;
    }
}

/// The log of these entries.
pub fn log_of(entries: &[String]) -> Log<Term> {
    let mut log = Log::new();
    for entry in entries {
        log.append(&Free, entry.as_bytes());
    }
    log
}

/// All that the log of these entries says of itself, at all its sizes: small ones first.
pub fn answers(entries: &[String]) -> Vec<Word> {
    let log = log_of(entries);
    let mut answers = Vec::new();
    for newer in 1..=log.len() {
        let head = log.head(&Free, newer).expect("the log had that size");
        for older in 0..newer {
            let proof = log.consistency(&Free, older, newer);
            answers.push(Word::Answer {
                older,
                head: head.clone(),
                // Before the first entry there was nothing to be consistent with.
                proof: proof.unwrap_or(Consistency(Vec::new())),
            });
        }
    }
    answers
}

impl<R: Rule> Machine for Follower<R> {
    type Call = ();
    type Message = Word;
    type Timer = Whim;
    type Event = Fact;
    type Durable = Book;
    type Volatile = ();

    fn boot(&self, book: &mut Book, out: &mut Outbox<Self>) {
        match &self.part {
            Part::Log { entries, .. } => {
                if book.head.size < entries.len() as u64 {
                    out.arm(Whim::Append);
                }
                out.arm(Whim::Publish);
            }
            Part::Client { .. } => {
                self.rule.restart(&mut book.head);
                out.arm(Whim::Gossip);
            }
        }
    }

    fn on_call(&self, _: &mut State<Self>, (): (), _: &mut Outbox<Self>) {}

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        word: Word,
        out: &mut Outbox<Self>,
    ) {
        let Part::Client { peers } = &self.part else {
            return; // The log listens to nobody.
        };
        let book = &mut state.durable;
        match word {
            Word::Answer { older, head, proof } => {
                if from == LOG {
                    self.on_answer(book, older, head, &proof, out);
                }
            }
            Word::Heard { head } => {
                if peers.contains(from) {
                    self.on_heard(book, head, out);
                }
            }
        }
    }

    fn on_timer(&self, state: &mut State<Self>, whim: Whim, out: &mut Outbox<Self>) {
        let head = &mut state.durable.head;
        match (whim, &self.part) {
            (Whim::Append, Part::Log { entries, clients }) => {
                let log = log_of(entries);
                if let Some(longer) = log.head(&Free, head.size + 1) {
                    *head = longer;
                }
                publish(entries, head.size, *clients, out);
                if head.size < log.len() {
                    out.arm(Whim::Append);
                }
            }
            (Whim::Publish, Part::Log { entries, clients }) => {
                publish(entries, head.size, *clients, out);
                out.arm(Whim::Publish);
            }
            (Whim::Gossip, Part::Client { peers }) => {
                if head.size > 0 {
                    out.broadcast(peers.iter(), &Word::Heard { head: head.clone() });
                }
                out.arm(Whim::Gossip);
            }
            (Whim::Append | Whim::Publish, Part::Client { .. })
            | (Whim::Gossip, Part::Log { .. }) => {} // Never armed.
        }
    }

    fn delay(&self, whim: &Whim) -> Range<Duration> {
        let millis = match whim {
            Whim::Append => 1,
            Whim::Publish => 2,
            Whim::Gossip => 3,
        };
        Duration::from_millis(millis)..Duration::from_millis(millis + 1)
    }
}

/// The log says all that can be said of its first `size` entries.
fn publish<R: Rule>(
    entries: &[String],
    size: u64,
    clients: NodeSet,
    out: &mut Outbox<Follower<R>>,
) {
    let size = usize::try_from(size).unwrap_or(entries.len());
    for answer in answers(&entries[..size]) {
        out.broadcast(clients.iter(), &answer);
    }
}

impl<R: Rule> Follower<R> {
    fn on_answer(
        &self,
        book: &mut Book,
        older: u64,
        head: Head<Term>,
        proof: &Consistency<Term>,
        out: &mut Outbox<Self>,
    ) {
        let mine = book.head.clone();
        match book.trust.clone() {
            Trust::Accuses => {}
            Trust::Trusts => {
                if is_fork(&mine, &head) {
                    accuse(book, mine, head, out);
                } else if mine.size == 0 {
                    // What a client is told first it has to believe.
                    accept(book, head, out);
                } else if mine != head && self.rule.extends(&mine, &head, older, proof) {
                    accept(book, head, out);
                }
            }
            Trust::Doubts(theirs) => {
                let (first, last) = if mine.size < theirs.size {
                    (&mine, &theirs)
                } else {
                    (&theirs, &mine)
                };
                if is_fork(&mine, &head) {
                    accuse(book, mine, head, out);
                } else if is_fork(&theirs, &head) {
                    accuse(book, theirs, head, out);
                } else if head == *last && self.rule.extends(first, last, older, proof) {
                    agree(book, theirs, out);
                }
            }
        }
    }

    fn on_heard(&self, book: &mut Book, theirs: Head<Term>, out: &mut Outbox<Self>) {
        match &book.trust {
            Trust::Trusts => {}
            Trust::Doubts(_) | Trust::Accuses => return, // One at a time.
        }
        if book.head.size == 0 || theirs.size == 0 {
            return; // There is nothing to compare.
        }
        match self.rule.compare(&book.head, &theirs) {
            Comparison::Agree => agree(book, theirs, out),
            Comparison::Forked => accuse(book, book.head.clone(), theirs, out),
            Comparison::Unknown => book.trust = Trust::Doubts(theirs),
        }
    }
}

/// True if the log cannot have had both.
fn is_fork(one: &Head<Term>, other: &Head<Term>) -> bool {
    one.size == other.size && one.root != other.root
}

fn accept<R: Rule>(book: &mut Book, head: Head<Term>, out: &mut Outbox<Follower<R>>) {
    book.head = head.clone();
    out.tell(Fact::Accepted { head });
}

/// Of two heads of one list the larger is the newer.
fn agree<R: Rule>(book: &mut Book, theirs: Head<Term>, out: &mut Outbox<Follower<R>>) {
    book.trust = Trust::Trusts;
    out.tell(Fact::Agreed {
        theirs: theirs.clone(),
    });
    if book.head.size < theirs.size {
        accept(book, theirs, out);
    }
}

fn accuse<R: Rule>(
    book: &mut Book,
    one: Head<Term>,
    other: Head<Term>,
    out: &mut Outbox<Follower<R>>,
) {
    book.trust = Trust::Accuses;
    out.tell(Fact::Accused { one, other });
}

/// Which head each client accepted last, and what is to be said of all that was told.
#[derive(Clone, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one verdict for each promise, and for each of their premises"
)]
pub struct Followed {
    last: Map<NodeId, Head<Term>>,
    /// Whatever a client accepted was a prefix of what it accepted next.
    pub append_only: bool,
    /// Whoever agreed had heads of one list.
    pub agreed_rightly: bool,
    /// A client accepted twice.
    pub went_on: bool,
    /// Two clients agreed whose heads were not the same.
    pub agreed_apart: bool,
    /// A client accused the log.
    pub accused: bool,
}

/// What is worth saying, but all that tells two of them apart.
impl fmt::Debug for Followed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "accepted last {:?}", self.last)?;
        let remarks = [
            (self.went_on, "some went on"),
            (self.agreed_apart, "some agreed that have different heads"),
            (self.accused, "the log is accused"),
            (!self.append_only, "something was taken back"),
            (!self.agreed_rightly, "they agreed on a fork"),
        ];
        let said = remarks.iter().filter(|(is, _)| *is);
        said.into_iter()
            .try_for_each(|(_, remark)| write!(f, "; {remark}"))
    }
}

impl Default for Followed {
    fn default() -> Self {
        Self {
            last: Map::new(),
            append_only: true,
            agreed_rightly: true,
            went_on: false,
            agreed_apart: false,
            accused: false,
        }
    }
}

impl<R: Rule> Ghost<Follower<R>> for Followed {
    fn ticket((): &()) -> Option<u64> {
        None
    }

    fn finished(_: &Fact) -> Option<u64> {
        None
    }

    fn on_event(&mut self, node: NodeId, fact: &Fact) {
        match fact {
            Fact::Accepted { head } => {
                if let Some(older) = self.last.insert(node, head.clone()) {
                    self.append_only &= is_prefix(&older, head);
                    self.went_on = true;
                }
            }
            Fact::Agreed { theirs } => {
                if let Some(mine) = self.last.get(&node) {
                    self.agreed_rightly &= is_prefix(mine, theirs) || is_prefix(theirs, mine);
                    self.agreed_apart |= mine != theirs;
                }
            }
            Fact::Accused { .. } => self.accused = true,
        }
    }
}
