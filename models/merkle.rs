//! What is claimed of [`quorate::merkle`]: its worlds, its promises, and the flaws that refute them.
//!
//! Trees are values, so two small machines put them to use: [`follower`]s keep the head of a log, which
//! may show each of them another one, and [`reader`]s ask it for entries. Hashes are [`term`]s, and
//! [`specification`] has the definitions of RFC 9162, to compare with.

use std::collections::BTreeSet;

use quorate::data::NodeSet;
use quorate::machine::NodeId;
use quorate::merkle::{Head, Inclusion};

use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::snapshot::{Letter, Snapshot};
use crate::world::{Traitor, World};

mod flaws;
pub mod follower;
pub mod reader;
pub mod specification;
pub mod term;

use flaws::{FlawedFollower, FlawedReader};
use follower::{Followed, Follower, LOG, Part, Trust, nothing};
use reader::{Past, Reader, Shown};
use specification::{is_prefix, lists};
use term::{Term, joined};

/// Of two heads that a client accepted, the list under the first is a prefix of that under the second.
pub const APPEND_ONLY: &str = "what was accepted is a prefix of what is accepted later";
/// Of the lists of two clients that agreed, one is a prefix of the other.
pub const AGREEMENT: &str = "those who agree share a history";
/// Once two clients whose lists are none of the other's prefix have compared their heads, one accuses
/// the log, or waits for a proof that there is none of.
pub const FORK_FOUND: &str = "a fork is found";
/// Nobody accuses a log that only appends.
pub const NEVER_ACCUSED: &str = "an honest log is never accused";
/// Every client gets to the log's last head.
pub const CATCHES_UP: &str = "clients catch up";
/// No two lists have one root.
pub const ONE_LIST: &str = "a root has one list of entries";
/// What a client reads at an index is what the list under the head has there.
pub const IN_PLACE: &str = "an entry is where it is said to be";
/// An inclusion proof that is accepted is the one that the log would give.
pub const ONE_FORM: &str = "a proof has one form";

/// A world of clients that follow a log.
type Followers<R> = World<Follower<R>, Followed>;
/// A world of a client that reads.
type Readers<R> = World<Reader<R>, Past<R>>;

/// What a log that forks appends: either of these, at any index.
const LETTERS: [&str; 2] = ["a", "b"];

/// Whether clients hear each other.
#[derive(Clone, Copy)]
enum Company {
    /// They do.
    Together,
    /// They do not.
    Alone,
}

/// Two clients that do.
const TWO: (usize, Company) = (2, Company::Together);

/// A log, which appends these entries if it is honest, and `count` clients.
fn followers<R: follower::Rule>(
    name: &str,
    entries: &[&str],
    (count, company): (usize, Company),
    rule: R,
) -> Followers<R> {
    let all = NodeSet::first(count + 1);
    let clients = all.difference([LOG].into_iter().collect());
    let log = Part::Log {
        entries: entries.iter().map(|entry| (*entry).into()).collect(),
        clients,
    };
    let client = |me| Part::Client {
        peers: match company {
            Company::Together => clients.difference([me].into_iter().collect()),
            Company::Alone => NodeSet::EMPTY,
        },
    };
    let parts = [log].into_iter().chain(clients.iter().map(client));
    let machines = all.iter().zip(parts).map(|(me, part)| Follower {
        me,
        part,
        rule: rule.clone(),
    });
    World::new(name, machines.collect(), Followed::default())
        .always_told(APPEND_ONLY, |told| told.ghost.append_only)
        .sometimes_told("a client goes on to another head", |told| {
            told.ghost.went_on
        })
        .always_told(AGREEMENT, |told| told.ghost.agreed_rightly)
        .sometimes_told("two agree that have different heads", |told| {
            told.ghost.agreed_apart
        })
}

/// A log that appends, and clients.
fn honest<R: follower::Rule>(
    name: &str,
    clients: (usize, Company),
    entries: &[&str],
    rule: R,
) -> Followers<R> {
    let size = entries.len() as u64;
    followers(name, entries, clients, rule)
        // A head that is said again is in the network already: it matters to promises of the calm alone.
        .never("ring Publish")
        .always_told(NEVER_ACCUSED, |told| !told.ghost.accused)
        .recovers(CATCHES_UP, 20, move |snapshot| {
            snapshot.disks().all(|(_, book)| book.head.size == size)
        })
        .sometimes("a client waits for a proof", |snapshot| {
            let mut disks = snapshot.disks();
            disks.any(|(_, book)| matches!(book.trust, Trust::Doubts(_)))
        })
}

/// A log that shows each client what it likes, of so many entries at most.
fn forking<R: follower::Rule>(
    name: &str,
    size_max: usize,
    clients: (usize, Company),
    rule: R,
) -> Followers<R> {
    // Each gossips once.
    let rounds = u32::try_from(clients.0).unwrap_or(u32::MAX);
    followers(name, &[], clients, rule)
        .traitors([LOG].into_iter().collect(), Fork::new(size_max, clients.0))
        .recovers(FORK_FOUND, rounds, |snapshot| !holds_unfound_fork(snapshot))
        .sometimes("two clients were shown a fork", |snapshot| {
            holds_unfound_fork(snapshot)
        })
        .sometimes_told("a client accuses the log", |told| told.ghost.accused)
}

/// True if two clients that trust the log have lists of which none is a prefix of the other.
fn holds_unfound_fork<R: follower::Rule>(snapshot: &Snapshot<Follower<R>, Followed>) -> bool {
    let disks = snapshot.disks().map(|(_, book)| book);
    let trusting = disks.filter(|book| book.trust == Trust::Trusts);
    let heads: Vec<&Head<Term>> = trusting.map(|book| &book.head).collect();
    let related = |one: &Head<Term>, other: &Head<Term>| {
        one.size == 0 || other.size == 0 || is_prefix(one, other) || is_prefix(other, one)
    };
    let mut pairs = heads
        .iter()
        .flat_map(|one| heads.iter().map(move |other| (one, other)));
    pairs.any(|(one, other)| !related(one, other))
}

/// What a log can say that forks: any head of any list, after any size, with any proof that there is
/// between any two.
struct Fork {
    lies: Vec<(NodeId, follower::Word)>,
}

impl Fork {
    fn new(size_max: usize, clients: usize) -> Self {
        let mut heads = BTreeSet::new();
        let mut proofs = BTreeSet::new();
        for list in lists(&LETTERS, size_max) {
            for answer in follower::answers(&list) {
                let follower::Word::Answer { head, proof, .. } = answer else {
                    continue;
                };
                heads.insert(head);
                proofs.insert(proof);
            }
        }
        let mut lies = Vec::new();
        let clients = (1..=clients as u64).map(NodeId);
        for head in &heads {
            for older in 0..=size_max as u64 {
                for proof in &proofs {
                    let word = follower::Word::Answer {
                        older,
                        head: head.clone(),
                        proof: proof.clone(),
                    };
                    lies.extend(clients.clone().map(|to| (to, word.clone())));
                }
            }
        }
        Self { lies }
    }
}

impl<R: follower::Rule> Traitor<Follower<R>> for Fork {
    fn lies(
        &self,
        _: NodeId,
        _: &mut dyn Iterator<Item = &Letter<follower::Word>>,
    ) -> Vec<(NodeId, follower::Word)> {
        self.lies.clone()
    }
}

/// Whether a client can pass on what the log never said.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signatures {
    /// No: heads are signed.
    Kept,
    /// Yes.
    Forged,
}

/// A client that passes on any head.
struct Slander {
    signatures: Signatures,
    size_max: usize,
}

impl<R: follower::Rule> Traitor<Follower<R>> for Slander {
    fn lies(
        &self,
        _: NodeId,
        seen: &mut dyn Iterator<Item = &Letter<follower::Word>>,
    ) -> Vec<(NodeId, follower::Word)> {
        let signed = seen.map(|letter| match &letter.message {
            follower::Word::Answer { head, .. } | follower::Word::Heard { head } => head.clone(),
        });
        let mut heads: BTreeSet<Head<Term>> = signed.chain([nothing()]).collect();
        if self.signatures == Signatures::Forged {
            let lists = lists(&LETTERS, self.size_max);
            heads.extend(
                lists
                    .iter()
                    .map(|list| reader::Rule::head(&reader::RightRule, list)),
            );
        }
        let heard = |head| (NodeId(1), follower::Word::Heard { head });
        heads.into_iter().map(heard).collect()
    }
}

/// A log that appends, a client, and another that would have it accuse the log.
fn slander(name: &str, signatures: Signatures) -> Followers<follower::RightRule> {
    let entries = ["a", "b", "a"];
    let lies = Slander {
        signatures,
        size_max: entries.len(),
    };
    honest(name, TWO, &entries, follower::RightRule)
        .except(CATCHES_UP)
        .traitors([NodeId(2)].into_iter().collect(), lies)
}

/// Of what a log shows proofs: of lists of so many entries at most.
#[derive(Clone, Copy)]
enum Showing {
    /// Under the heads of lists.
    Lists(usize),
    /// Also under heads with another size than that of the list under their root.
    AnySize(usize),
}

impl Showing {
    fn size_max(self) -> usize {
        match self {
            Self::Lists(size_max) | Self::AnySize(size_max) => size_max,
        }
    }
}

/// A client that reads from a log that says anything.
fn reading<R: reader::Rule>(
    name: &str,
    letters: &[&'static str],
    showing: Showing,
    rule: R,
) -> Readers<R> {
    let size_max = showing.size_max();
    let machine = Reader {
        reads_max: 2,
        index_max: size_max as u64,
        rule: rule.clone(),
    };
    let lies = Forger::new(&rule, letters, showing);
    let log = [LOG].into_iter().collect();
    let past = Past::new(rule, letters, size_max);
    World::new(name, vec![machine.clone(), machine], past)
        .traitors(log, lies)
        .always_told(IN_PLACE, |told| told.ghost.in_place)
        .always_told(ONE_FORM, |told| told.ghost.one_form)
        .sometimes_told("an entry is read", |told| told.ghost.read)
        .always_told(ONE_LIST, |told| told.ghost.one_list)
        .sometimes_told("two lists are read", |told| told.ghost.lists.len() == 2)
}

/// What a log can show that lies about its entries.
struct Forger {
    lies: Vec<reader::Word>,
}

impl Forger {
    fn new<R: reader::Rule>(rule: &R, letters: &[&str], showing: Showing) -> Self {
        let lists = lists(letters, showing.size_max());
        let mut lies = BTreeSet::new();
        for list in &lists {
            for entries in [list.clone()].into_iter().chain(with_nodes(rule, list)) {
                let head = rule.head(&entries);
                lies.insert(reader::Word::List { head, entries });
            }
            let proofs: Vec<Shown> = proofs(rule, list);
            for spoilt in proofs.iter().flat_map(|shown| spoilt(rule, list, shown)) {
                lies.insert(reader::Word::Entry(spoilt));
            }
            if let Showing::AnySize(size_max) = showing {
                let sizes = 1..=size_max as u64;
                for (shown, size) in proofs
                    .iter()
                    .flat_map(|s| sizes.clone().map(move |n| (s, n)))
                {
                    let mut shown = shown.clone();
                    shown.head.size = size;
                    lies.insert(reader::Word::Entry(shown));
                }
            }
            // Under any other head, too.
            for (shown, other) in proofs
                .iter()
                .flat_map(|s| lists.iter().map(move |o| (s, o)))
            {
                lies.insert(reader::Word::Entry(Shown {
                    head: rule.head(other),
                    ..shown.clone()
                }));
            }
        }
        Self {
            lies: lies.into_iter().collect(),
        }
    }
}

/// What an honest log would show of each of its entries.
fn proofs<R: reader::Rule>(rule: &R, list: &[String]) -> Vec<Shown> {
    let entries = list.iter().enumerate();
    let shown = entries.map(|(index, entry)| Shown {
        head: rule.head(list),
        index: index as u64,
        size: list.len() as u64,
        entry: entry.clone(),
        path: Inclusion(rule.path(index, list)),
    });
    shown.collect()
}

/// The list with two entries replaced by one, which is their digests: the bytes that the node above
/// them is the hash of.
fn with_nodes<R: reader::Rule>(rule: &R, list: &[String]) -> Vec<Vec<String>> {
    let pairs = (0..list.len() / 2).map(|pair| {
        let [left, right] = [0, 1].map(|side| rule.root(&list[2 * pair + side..=2 * pair + side]));
        let mut entries = list.to_vec();
        entries.splice(2 * pair..2 * pair + 2, [joined(&left, &right)]);
        entries
    });
    pairs.collect()
}

/// A proof, and all that can be got from it by changing one thing.
fn spoilt<R: reader::Rule>(rule: &R, list: &[String], shown: &Shown) -> Vec<Shown> {
    let Shown { index, path, .. } = shown;
    let mut all = vec![shown.clone()];
    let changed = |path: &[Term]| Shown {
        path: Inclusion(path.to_vec()),
        ..shown.clone()
    };
    if let [first, rest @ ..] = path.0.as_slice() {
        all.push(changed(rest));
        all.push(changed(&path.0[..rest.len()]));
        all.push(changed(&path.0.iter().rev().cloned().collect::<Vec<_>>()));
        // The node above the entry, for an entry.
        let own = rule.root(std::slice::from_ref(&shown.entry));
        let (left, right) = if index & 1 == 0 {
            (&own, first)
        } else {
            (first, &own)
        };
        all.push(Shown {
            index: index >> 1,
            entry: joined(left, right),
            ..changed(rest)
        });
    }
    all.push(Shown {
        size: shown.size + 1,
        ..shown.clone()
    });
    all.push(Shown {
        size: shown.size.saturating_sub(1),
        ..shown.clone()
    });
    let longer = path.0.iter().cloned().chain([rule.root(list)]);
    all.push(changed(&longer.collect::<Vec<_>>()));
    all
}

impl<R: reader::Rule> Traitor<Reader<R>> for Forger {
    fn lies(
        &self,
        _: NodeId,
        _: &mut dyn Iterator<Item = &Letter<reader::Word>>,
    ) -> Vec<(NodeId, reader::Word)> {
        let lies = self.lies.iter().cloned();
        lies.map(|word| (NodeId(1), word)).collect()
    }
}

/// The trees, their worlds and their flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "merkle",
        summary: "Merkle trees: a log that only grows, and proofs for those who hold its root",
        worlds: worlds(),
        flaws: [flaws_of_followers(), flaws_of_readers()]
            .into_iter()
            .flatten()
            .collect(),
    }
}

fn worlds() -> Vec<Box<dyn Exhibit>> {
    let three = (3, Company::Together);
    vec![
        Claimed::holds(11_277, 46_174, || {
            honest("follow", TWO, &["a", "b", "c", "d"], follower::RightRule)
                .says("a log that appends four entries, and two clients that compare its heads")
        }),
        Claimed::holds(84_879, 599_412, move || {
            honest("follow-three", three, &["a", "b", "c"], follower::RightRule)
                .says("the same with three entries and three clients")
        }),
        Claimed::holds(19_716, 88_217, || {
            honest("follow-crash", TWO, &["a", "b", "c"], follower::RightRule)
                .says("the same with three entries, two clients, and two crashes of any")
                .crashes(NodeSet::first(3), 2)
        }),
        Claimed::holds(136, 342, || {
            slander("slander", Signatures::Kept).says(
                "a log that appends three entries, a client, and another that passes on what it likes",
            )
            .never("ring Publish")
        }),
        Claimed::holds(4_313, 154_437, || {
            forking("fork", 2, TWO, follower::RightRule)
                .says("a log that shows each of two clients what it likes, of two entries at most")
        }),
        Claimed::holds(93_753, 25_201_017, || {
            forking("fork-long", 3, TWO, follower::RightRule)
                .says("the same of three entries at most")
        }),
        Claimed::holds(404_017, 25_574_443, move || {
            forking("fork-three", 2, three, follower::RightRule)
                .says("the same of two entries at most, with three clients")
        }),
        Claimed::holds(34_504, 823_937, || {
            forking("fork-crash", 2, TWO, follower::RightRule)
                .says("the same of two entries at most, with two clients, and two crashes of any of them")
                .crashes([NodeId(1), NodeId(2)].into_iter().collect(), 2)
        }),
        Claimed::holds(3_382, 55_177, || {
            let log = Showing::Lists(4);
            reading("read", &LETTERS, log, reader::RightRule).says(
                "a client that reads twice from a log that shows what it likes, of four entries at most",
            )
        }),
    ]
}

fn flaws_of_followers() -> Vec<Box<dyn Exhibit>> {
    let forked = |name: &str, rule| forking(name, 2, TWO, rule);
    vec![
        Claimed::falls(APPEND_ONLY, 2, move || {
            forked("size-from-the-proof", FlawedFollower::SizeFromTheProof)
                .says("a client believes the proof from how many entries on it is, and that none need no proof")
        }),
        Claimed::falls(APPEND_ONLY, 2, move || {
            forked("either-way", FlawedFollower::EitherWay)
                .says("a client takes the proof that the new head came before its own")
        }),
        Claimed::falls(APPEND_ONLY, 2, move || {
            forking(
                "older-root-unchecked",
                4,
                TWO,
                FlawedFollower::OlderRootUnchecked,
            )
            .says("a client does not check that the proof begins with its own root")
        }),
        Claimed::falls(APPEND_ONLY, 2, move || {
            forked("newer-root-unchecked", FlawedFollower::NewerRootUnchecked)
                .says("a client does not check that the proof leads to the new root")
        }),
        Claimed::falls(APPEND_ONLY, 6, || {
            honest(
                "head-forgotten",
                TWO,
                &["a", "b"],
                FlawedFollower::HeadForgotten,
            )
            .says("after a restart a client believes what it is told first, as it did at first")
            .crashes(NodeSet::first(3), 1)
        }),
        Claimed::falls(APPEND_ONLY, 4, move || {
            forked("larger-is-newer", FlawedFollower::LargerIsNewer)
                .says("of two heads of different sizes a client takes the larger for the newer")
        }),
        Claimed::falls(AGREEMENT, 4, move || {
            forked("sizes-alone", FlawedFollower::SizesAlone)
                .says("two heads of one size are taken for the same")
        }),
        Claimed::falls(NEVER_ACCUSED, 6, || {
            honest(
                "newer-is-a-fork",
                TWO,
                &["a", "b"],
                FlawedFollower::NewerIsAFork,
            )
            .says("two heads with different roots are taken for a fork, whatever their sizes")
        }),
        Claimed::falls(NEVER_ACCUSED, 3, || {
            slander("unsigned-heads", Signatures::Forged)
                .says("heads are not signed, and a client passes on what the log never said")
        }),
        Claimed::falls(FORK_FOUND, 2, move || {
            forking(
                "nobody-compares",
                2,
                (2, Company::Alone),
                follower::RightRule,
            )
            .says("clients do not hear of each other's heads")
        }),
        Claimed::falls(CATCHES_UP, 3, || {
            honest("equal-needs-a-proof", TWO, &["a", "b"], FlawedFollower::EqualNeedsAProof)
                .says("clients that have the same head wait for a proof, which is none of the log's answers")
        }),
    ]
}

fn flaws_of_readers() -> Vec<Box<dyn Exhibit>> {
    let reads =
        |name: &str, size_max, rule| reading(name, &LETTERS, Showing::Lists(size_max), rule);
    vec![
        Claimed::falls(IN_PLACE, 2, move || {
            reads("sides-from-the-path", 2, FlawedReader::SidesFromThePath).says(
                "the path says on which side each digest goes, and is bound to no index, as the textbook's",
            )
        }),
        Claimed::falls(IN_PLACE, 2, move || {
            reads("size-from-the-path", 3, FlawedReader::SizeFromThePath)
                .says("the path says of which size it is")
        }),
        Claimed::falls(IN_PLACE, 2, || {
            reading("any-size", &LETTERS, Showing::AnySize(3), reader::RightRule)
                .says("heads have another size than that of the list under their root")
        }),
        Claimed::falls(IN_PLACE, 2, move || {
            reads("textbook", 2, FlawedReader::Textbook).says("the textbook's tree and proofs")
        }),
        Claimed::falls(IN_PLACE, 2, || {
            let letters = ["a|b:c", "a:b|c"];
            reading("joined-fields", &letters, Showing::Lists(1), FlawedReader::JoinedFields).says(
                "the fields of an entry are joined by colons, which fields may have too, as the textbook's",
            )
        }),
        Claimed::falls(ONE_FORM, 2, move || {
            reads("rest-of-the-path", 2, FlawedReader::RestOfThePath)
                .says("what a path has beyond what is needed is not looked at")
        }),
        Claimed::falls(ONE_LIST, 4, || {
            reading("last-twice", &["a"], Showing::Lists(4), FlawedReader::LastTwice).says(
                "a last node without a neighbour is paired with itself, as the textbook's and Bitcoin's",
            )
        }),
        Claimed::falls(ONE_LIST, 4, move || {
            reads("nodes-like-entries", 2, FlawedReader::NodesLikeEntries)
                .says("nodes hash like entries, as the textbook's")
        }),
    ]
}
