//! Clients that read from a log which may say anything: an entry at an index, with a proof, or the
//! whole list, to be compared with the root.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use quorate::machine::{Machine, NodeId, Outbox, State};
use quorate::merkle::{Hasher, Head, Inclusion};
use serde::{Deserialize, Serialize};

use super::specification;
use super::term::{Free, Term};
use crate::ghost::Ghost;

/// How a tree is made, and what a client makes of a proof. All but `includes` is as RFC 9162 has it,
/// with another hasher and another encoding.
pub trait Rule: Clone + fmt::Debug + Eq + std::hash::Hash + Send + Sync + 'static {
    /// What entries and nodes are hashed with.
    type Hasher: Hasher<Digest = Term>;

    /// It.
    fn hasher(&self) -> Self::Hasher;

    /// An entry as bytes.
    fn encode(&self, entry: &str) -> Vec<u8> {
        entry.as_bytes().to_vec()
    }

    /// The root over these entries.
    fn root(&self, entries: &[String]) -> Term {
        specification::root(&self.hasher(), &self.encoded(entries))
    }

    /// The inclusion proof of the entry at `index`.
    fn path(&self, index: usize, entries: &[String]) -> Vec<Term> {
        specification::path(&self.hasher(), index, &self.encoded(entries))
    }

    /// The entries as bytes.
    fn encoded(&self, entries: &[String]) -> Vec<Vec<u8>> {
        entries.iter().map(|entry| self.encode(entry)).collect()
    }

    /// The head of the log of these entries.
    fn head(&self, entries: &[String]) -> Head<Term> {
        Head {
            size: entries.len() as u64,
            root: self.root(entries),
        }
    }

    /// Whether it is proven that the entry is at `index`, which is what the client asked for.
    fn includes(&self, index: u64, shown: &Shown) -> bool;
}

/// As it is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RightRule;

impl Rule for RightRule {
    type Hasher = Free;

    fn hasher(&self) -> Free {
        Free
    }

    fn includes(&self, index: u64, shown: &Shown) -> bool {
        let entry = self.encode(&shown.entry);
        let verdict = shown.path.verify(&Free, &entry, index, &shown.head);
        verdict.is_ok()
    }
}

/// An entry and its proof.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Shown {
    /// The head that it is of.
    pub head: Head<Term>,
    /// The index that it is said to be at.
    pub index: u64,
    /// The size that the path is said to be of.
    pub size: u64,
    /// The entry.
    pub entry: String,
    /// The path.
    pub path: Inclusion<Term>,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            head,
            index,
            size,
            entry,
            path,
        } = self;
        write!(f, "{entry:?} in {head:?}, by the path {path:?}")?;
        write!(f, " said to be of index {index} and size {size}")
    }
}

/// A client that reads, so many times.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reader<R> {
    /// How often it asks.
    pub reads_max: u64,
    /// The largest index that it asks for.
    pub index_max: u64,
    /// What it makes of the answers.
    pub rule: R,
}

/// What travels: the answers of the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Word {
    /// An entry.
    Entry(Shown),
    /// All entries.
    List {
        /// The head that they are of.
        head: Head<Term>,
        /// They.
        entries: Vec<String>,
    },
}

/// What a client may do of its own accord: ask.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Whim {
    /// Which entry is at this index?
    AskFor(u64),
    /// Which entries are there?
    AskForAll,
}

/// What a client tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Fact {
    /// The entry at the index is this.
    Read {
        /// The index that it asked for.
        index: u64,
        /// What it was shown.
        shown: Shown,
    },
    /// The list under this root is this.
    Listed {
        /// The root.
        root: Term,
        /// The list.
        entries: Vec<String>,
    },
}

/// What a client keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Book {
    /// How often it asked.
    pub reads: u64,
    /// What it waits for.
    pub asked: Option<Whim>,
}

impl<R: Rule> Machine for Reader<R> {
    type Call = ();
    type Message = Word;
    type Timer = Whim;
    type Event = Fact;
    type Durable = ();
    type Volatile = Book;

    fn boot(&self, (): &mut (), out: &mut Outbox<Self>) -> Book {
        let book = Book::default();
        self.arm(&book, out);
        book
    }

    fn on_call(&self, _: &mut State<Self>, (): (), _: &mut Outbox<Self>) {}

    fn on_message(&self, state: &mut State<Self>, _: NodeId, word: Word, out: &mut Outbox<Self>) {
        let book = &mut state.volatile;
        match (&book.asked, word) {
            (Some(Whim::AskFor(index)), Word::Entry(shown)) => {
                if self.rule.includes(*index, &shown) {
                    let index = *index;
                    out.tell(Fact::Read { index, shown });
                    self.go_on(book, out);
                }
            }
            (Some(Whim::AskForAll), Word::List { head, entries }) => {
                if self.rule.head(&entries) == head {
                    let root = head.root;
                    out.tell(Fact::Listed { root, entries });
                    self.go_on(book, out);
                }
            }
            (None | Some(Whim::AskForAll), Word::Entry(_))
            | (None | Some(Whim::AskFor(_)), Word::List { .. }) => {} // It asked for something else.
        }
    }

    fn on_timer(&self, state: &mut State<Self>, whim: Whim, out: &mut Outbox<Self>) {
        state.volatile.asked = Some(whim);
        self.arm(&state.volatile, out);
    }

    fn delay(&self, _: &Whim) -> Range<Duration> {
        Duration::from_millis(1)..Duration::from_millis(2)
    }
}

impl<R: Rule> Reader<R> {
    fn go_on(&self, book: &mut Book, out: &mut Outbox<Self>) {
        book.reads += 1;
        book.asked = None;
        self.arm(book, out);
    }

    /// It asks for one thing at a time.
    fn arm(&self, book: &Book, out: &mut Outbox<Self>) {
        let indices = (0..=self.index_max).map(Whim::AskFor);
        for whim in indices.chain([Whim::AskForAll]) {
            if book.asked.is_none() && book.reads < self.reads_max {
                out.arm(whim);
            } else {
                out.disarm(whim);
            }
        }
    }
}

/// What was read, and what is to be said of it.
#[derive(Clone, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one verdict for each promise, and for a premise"
)]
pub struct Past<R> {
    rule: R,
    /// What the lists are of that a log may have.
    letters: Vec<&'static str>,
    size_max: usize,
    /// The lists that were read, by root.
    pub lists: BTreeMap<Term, Vec<String>>,
    /// No root had two lists.
    pub one_list: bool,
    /// Every entry that was read is where it was said to be.
    pub in_place: bool,
    /// Every path that was accepted is the log's own.
    pub one_form: bool,
    /// An entry was read.
    pub read: bool,
}

/// All but what is the same in all states of a world.
impl<R> fmt::Debug for Past<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lists {:?}", self.lists)?;
        let remarks = [
            (self.read, "an entry was read"),
            (!self.one_list, "a root has two lists"),
            (!self.in_place, "an entry is elsewhere, or nowhere"),
            (!self.one_form, "the log has another path"),
        ];
        let said = remarks.iter().filter(|(is, _)| *is);
        said.into_iter()
            .try_for_each(|(_, remark)| write!(f, "; {remark}"))
    }
}

impl<R: Rule> Past<R> {
    /// Nothing was read yet, of logs with at most so many of these letters.
    pub fn new(rule: R, letters: &[&'static str], size_max: usize) -> Self {
        Self {
            rule,
            letters: letters.to_vec(),
            size_max,
            lists: BTreeMap::new(),
            one_list: true,
            in_place: true,
            one_form: true,
            read: false,
        }
    }

    /// The list that is under the root, if any is; of several, which no right tree has, the first.
    fn list(&self, root: &Term) -> Option<Vec<String>> {
        let mut lists = specification::lists(&self.letters, self.size_max).into_iter();
        lists.find(|entries| self.rule.root(entries) == *root)
    }
}

impl<R: Rule> Ghost<Reader<R>> for Past<R> {
    fn ticket((): &()) -> Option<u64> {
        None
    }

    fn finished(_: &Fact) -> Option<u64> {
        None
    }

    fn on_event(&mut self, _: NodeId, fact: &Fact) {
        match fact {
            Fact::Read { index, shown } => {
                self.read = true;
                let list = self.list(&shown.head.root).unwrap_or_default();
                let index = usize::try_from(*index).unwrap_or(usize::MAX);
                let is_there = list.get(index) == Some(&shown.entry);
                self.in_place &= is_there;
                self.one_form &= !is_there || self.rule.path(index, &list) == shown.path.0;
            }
            Fact::Listed { root, entries } => {
                let known = self.lists.insert(root.clone(), entries.clone());
                self.one_list &= known.is_none_or(|known| known == *entries);
            }
        }
    }
}
