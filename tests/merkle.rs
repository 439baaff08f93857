//! Merkle trees: their promises hold, each falls when something is taken away, and as values they are
//! what RFC 9162 defines, to the last digest.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::data::{NodeSet, Seq};
use quorate::machine::{Input, NodeId};
use quorate::merkle::{Consistency, Head, Inclusion, Log, Refusal, Sha256, Sha256Digest};
use quorate_models::laws::{self, Move};
use quorate_models::merkle::follower::{self, Follower, Part};
use quorate_models::merkle::specification::{self, included_root, list, lists, roots};
use quorate_models::merkle::term::{Free, Term, joined};
use quorate_models::merkle::{
    AGREEMENT, APPEND_ONLY, CATCHES_UP, FORK_FOUND, IN_PLACE, NEVER_ACCUSED, ONE_FORM, ONE_LIST,
};
use quorate_models::testing::{audits, holds, refutes};

#[test]
fn promises_hold_with_an_honest_log() {
    holds("merkle", "follow", 11_277);
}

#[test]
fn promises_hold_with_three_clients() {
    holds("merkle", "follow-three", 84_879);
}

#[test]
fn promises_hold_with_two_crashes() {
    holds("merkle", "follow-crash", 19_716);
}

#[test]
fn no_client_gets_another_to_accuse_an_honest_log() {
    holds("merkle", "slander", 136);
}

#[test]
fn a_fork_of_two_clients_is_found() {
    holds("merkle", "fork", 4_313);
}

#[test]
fn a_fork_of_longer_logs_is_found() {
    holds("merkle", "fork-long", 93_753);
}

#[test]
fn a_fork_of_three_clients_is_found() {
    holds("merkle", "fork-three", 404_017);
}

#[test]
fn a_fork_is_found_with_two_crashes() {
    holds("merkle", "fork-crash", 34_504);
}

#[test]
fn a_reader_is_told_nothing_but_the_truth() {
    holds("merkle", "read", 3_382);
}

#[test]
fn small_worlds_have_the_same_states_under_full_equality_and_under_stateright() {
    for world in ["follow-crash", "slander", "fork"] {
        audits("merkle", world);
    }
}

#[test]
fn append_only_falls_when_the_size_comes_from_the_proof() {
    refutes("merkle", "size-from-the-proof", APPEND_ONLY);
}

#[test]
fn append_only_falls_when_proofs_are_taken_either_way() {
    refutes("merkle", "either-way", APPEND_ONLY);
}

#[test]
fn append_only_falls_when_the_older_root_is_not_checked() {
    refutes("merkle", "older-root-unchecked", APPEND_ONLY);
}

#[test]
fn append_only_falls_when_the_newer_root_is_not_checked() {
    refutes("merkle", "newer-root-unchecked", APPEND_ONLY);
}

#[test]
fn append_only_falls_when_the_head_is_forgotten() {
    refutes("merkle", "head-forgotten", APPEND_ONLY);
}

#[test]
fn append_only_falls_when_the_larger_is_the_newer() {
    refutes("merkle", "larger-is-newer", APPEND_ONLY);
}

#[test]
fn agreement_falls_when_sizes_alone_are_compared() {
    refutes("merkle", "sizes-alone", AGREEMENT);
}

#[test]
fn an_honest_log_is_accused_when_every_other_root_is_a_fork() {
    refutes("merkle", "newer-is-a-fork", NEVER_ACCUSED);
}

#[test]
fn an_honest_log_is_accused_when_heads_are_not_signed() {
    refutes("merkle", "unsigned-heads", NEVER_ACCUSED);
}

#[test]
fn a_fork_is_not_found_when_nobody_compares() {
    refutes("merkle", "nobody-compares", FORK_FOUND);
}

#[test]
fn a_client_falls_behind_when_equal_heads_need_a_proof() {
    refutes("merkle", "equal-needs-a-proof", CATCHES_UP);
}

#[test]
fn place_falls_when_the_path_says_the_sides() {
    refutes("merkle", "sides-from-the-path", IN_PLACE);
}

#[test]
fn place_falls_when_the_path_says_the_size() {
    refutes("merkle", "size-from-the-path", IN_PLACE);
}

#[test]
fn place_falls_when_heads_misstate_the_size() {
    refutes("merkle", "any-size", IN_PLACE);
}

#[test]
fn place_falls_with_the_textbooks_tree() {
    refutes("merkle", "textbook", IN_PLACE);
}

#[test]
fn place_falls_when_fields_are_joined() {
    refutes("merkle", "joined-fields", IN_PLACE);
}

#[test]
fn one_form_falls_when_the_rest_of_the_path_is_not_looked_at() {
    refutes("merkle", "rest-of-the-path", ONE_FORM);
}

#[test]
fn one_list_falls_when_the_last_is_paired_with_itself() {
    refutes("merkle", "last-twice", ONE_LIST);
}

#[test]
fn one_list_falls_when_nodes_hash_like_entries() {
    refutes("merkle", "nodes-like-entries", ONE_LIST);
}

// Every small tree.

const LETTERS: [&str; 2] = ["a", "b"];

fn log(entries: &[impl AsRef<[u8]>]) -> Log<Term> {
    let mut log = Log::new();
    for (index, entry) in (0..).zip(entries) {
        assert_eq!(log.append(&Free, entry.as_ref()), index);
    }
    log
}

fn head(entries: &[impl AsRef<[u8]>]) -> Head<Term> {
    Head {
        size: entries.len() as u64,
        root: specification::root(&Free, entries),
    }
}

/// The roots of all lists of at most four letters: of lists of at most seven, every digest that any proof
/// has is one of them.
fn subterms() -> Vec<Term> {
    let lists = lists(&LETTERS, 4);
    lists.iter().map(|list| head(list).root).collect()
}

/// Calls `act` with every path of so many of these digests.
fn each_path(digests: &[Term], length: usize, act: &mut impl FnMut(&[Term])) {
    fn longer(
        digests: &[Term],
        length: usize,
        path: &mut Vec<Term>,
        act: &mut impl FnMut(&[Term]),
    ) {
        if path.len() == length {
            act(path);
            return;
        }
        for digest in digests {
            path.push(digest.clone());
            longer(digests, length, path, act);
            path.pop();
        }
    }
    longer(digests, length, &mut Vec::new(), act);
}

#[test]
fn every_list_of_at_most_seven_has_a_root_of_its_own() {
    let lists = lists(&LETTERS, 7);
    let roots: BTreeSet<Term> = lists.iter().map(|list| head(list).root).collect();
    assert_eq!(roots.len(), lists.len());
    assert_eq!(lists.len(), 254);
    for entries in &lists {
        let entries: Vec<&[u8]> = entries.iter().map(String::as_bytes).collect();
        assert_eq!(list(&head(&entries)), Some(entries));
    }
}

#[test]
fn a_log_has_the_roots_and_proofs_of_the_definitions_and_they_verify() {
    for entries in lists(&LETTERS, 7) {
        let log = log(&entries);
        let size = log.len();
        assert_eq!(size, entries.len() as u64);
        assert_eq!(log.head(&Free, size + 1), None);
        assert_eq!(log.inclusion(&Free, 0, size + 1), None);
        assert_eq!(log.consistency(&Free, 1, size + 1), None);
        let nothing: [&str; 0] = [];
        assert_eq!(log.head(&Free, 0), Some(head(&nothing)));
        for newer in 1..=size {
            let had = &entries[..index(newer)];
            let now = head(had);
            assert_eq!(log.head(&Free, newer), Some(now.clone()));
            for at in 0..newer {
                let proof = log.inclusion(&Free, at, newer).expect("it is there");
                assert_eq!(proof.0, specification::path(&Free, index(at), had));
                let entry = had[index(at)].as_bytes();
                assert_eq!(proof.verify(&Free, entry, at, &now), Ok(()));
            }
            assert_eq!(log.inclusion(&Free, newer, newer), None);
            for older in 1..=newer {
                let proof = log.consistency(&Free, older, newer).expect("it was");
                assert_eq!(proof.0, specification::proof(&Free, index(older), had));
                let then = head(&had[..index(older)]);
                assert_eq!(proof.verify(&Free, &then, &now), Ok(()));
            }
            assert_eq!(log.consistency(&Free, 0, newer), None);
            assert_eq!(log.consistency(&Free, newer + 1, newer), None);
        }
    }
}

fn index(size: u64) -> usize {
    usize::try_from(size).expect("it is small")
}

/// How many digests the inclusion proof of this index and size has, by the definition.
fn inclusion_length(at: usize, size: usize) -> usize {
    specification::path(&Free, at, &vec!["a"; size]).len()
}

/// How many digests the consistency proof of these sizes has, by the definition.
fn consistency_length(older: usize, newer: usize) -> usize {
    specification::proof(&Free, older, &vec!["a"; newer]).len()
}

/// An entry that would be a node, if nodes hashed like entries.
fn crafted() -> String {
    joined(&Term::Leaf(b"a".into()), &Term::Leaf(b"b".into()))
}

#[test]
fn of_all_inclusion_proofs_of_the_right_length_those_are_accepted_that_the_log_gives() {
    let digests = subterms();
    let crafted = crafted();
    let entries = ["a", "b", crafted.as_str()];
    for size in 1..=7 {
        let mut accepted = 0;
        for (at, entry) in (0..size).flat_map(|at| entries.map(|entry| (at, entry))) {
            each_path(&digests, inclusion_length(at, size), &mut |path| {
                let (at, bytes) = (at as u64, entry.as_bytes());
                let root = included_root(&Free, bytes, at, size as u64, path);
                let head = Head {
                    size: size as u64,
                    root: root.expect("the path has the right length"),
                };
                let proof = Inclusion(path.to_vec());
                // Under the one head to which it leads, which is of a list or of nothing.
                assert_eq!(proof.verify(&Free, bytes, at, &head), Ok(()));
                if let Some(list) = list(&head) {
                    assert_eq!(list[index(at)], bytes);
                    assert_eq!(path, specification::path(&Free, index(at), &list));
                    accepted += 1;
                }
            });
        }
        // Any of the three at any place, and one of the two letters at each other place.
        assert_eq!(accepted, (3 * size) << (size - 1));
    }
}

#[test]
fn of_all_consistency_proofs_of_the_right_length_those_are_accepted_that_the_log_gives() {
    let digests = subterms();
    let sizes = (1..=6_usize).flat_map(|newer| (1..newer).map(move |older| (older, newer)));
    for (older, newer) in sizes {
        let mut accepted = 0;
        // From a power of two on the older root is no part of the proof: any will do.
        let whole: Vec<Term> = if older.is_power_of_two() {
            digests.clone()
        } else {
            vec![Term::Empty]
        };
        each_path(&digests, consistency_length(older, newer), &mut |path| {
            for root in &whole {
                let size = older as u64;
                let before = Head {
                    size,
                    root: root.clone(),
                };
                let (old, new) =
                    roots(&Free, &before, newer as u64, path).expect("the length is right");
                let before = Head { size, root: old };
                let after = Head {
                    size: newer as u64,
                    root: new,
                };
                let proof = Consistency(path.to_vec());
                assert_eq!(proof.verify(&Free, &before, &after), Ok(()));
                if let (Some(was), Some(is)) = (list(&before), list(&after)) {
                    assert!(is.starts_with(&was));
                    assert_eq!(path, specification::proof(&Free, older, &is));
                    accepted += 1;
                } else {
                    // One digest is none of the list's: it leads to no list.
                    assert!(list(&after).is_none());
                }
            }
        });
        // One for each list.
        assert_eq!(accepted, 1 << newer);
    }
}

#[test]
fn under_every_other_head_a_proof_is_refused() {
    let lists = lists(&LETTERS, 5);
    for entries in &lists {
        let now = head(entries);
        let log = log(entries);
        for at in 0..now.size {
            let proof = log.inclusion(&Free, at, now.size).expect("it is there");
            let entry = entries[index(at)].as_bytes();
            for other in &lists {
                let under = head(other);
                let verdict = proof.verify(&Free, entry, at, &under);
                let is_its_own = other.get(index(at)) == entries.get(index(at))
                    && specification::path(&Free, index(at).min(other.len() - 1), other) == proof.0;
                assert_eq!(verdict.is_ok(), is_its_own, "{proof:?} under {under:?}");
            }
        }
        for older in 1..now.size {
            let proof = log.consistency(&Free, older, now.size).expect("it was");
            let then = head(&entries[..index(older)]);
            for other in lists.iter().map(|other| head(other)) {
                // Another older log, another newer one, and the two swapped.
                let verdict = proof.verify(&Free, &other, &now);
                assert_eq!(verdict.is_ok(), other == then, "{other:?} before {now:?}");
                let verdict = proof.verify(&Free, &then, &other);
                let same = other == now || (other == then && proof.0.is_empty());
                assert_eq!(verdict.is_ok(), same, "{then:?} before {other:?}");
            }
            assert!(proof.verify(&Free, &now, &then).is_err());
        }
    }
}

#[test]
fn a_path_of_any_other_length_is_refused_for_its_length() {
    let digest = Term::Leaf(b"a".into());
    for size in 1..=9_usize {
        let now = head(&vec!["a"; size]);
        for (at, found) in (0..size).flat_map(|at| (0..8).map(move |found| (at, found))) {
            let expected = inclusion_length(at, size) as u64;
            let path = vec![digest.clone(); index(found)];
            let refusal = match found.cmp(&expected) {
                std::cmp::Ordering::Less => Refusal::TooShort { expected, found },
                std::cmp::Ordering::Greater => Refusal::TooLong { expected, found },
                std::cmp::Ordering::Equal => continue,
            };
            let verdict = Inclusion(path).verify(&Free, b"a", at as u64, &now);
            assert_eq!(verdict, Err(refusal));
        }
        for (older, found) in (1..=size).flat_map(|older| (0..8).map(move |found| (older, found))) {
            let expected = consistency_length(older, size) as u64;
            let path = vec![digest.clone(); index(found)];
            let refusal = match found.cmp(&expected) {
                std::cmp::Ordering::Less => Refusal::TooShort { expected, found },
                std::cmp::Ordering::Greater => Refusal::TooLong { expected, found },
                std::cmp::Ordering::Equal => continue,
            };
            let then = head(&vec!["a"; older]);
            assert_eq!(Consistency(path).verify(&Free, &then, &now), Err(refusal));
        }
    }
}

#[test]
fn each_refusal_says_what_is_wrong() {
    let entries = ["a", "b", "c", "d", "e"];
    let log = log(&entries);
    let heads: Vec<Head<Term>> = (0..=5).map(|size| head(&entries[..size])).collect();
    let there = log.inclusion(&Free, 2, 5).expect("it is there");
    let verify = |at, entry: &[u8], head| there.verify(&Free, entry, at, head);
    assert_eq!(verify(2, b"c", &heads[5]), Ok(()));
    assert_eq!(verify(2, b"d", &heads[5]), Err(Refusal::WrongRoot));
    assert_eq!(verify(3, b"c", &heads[5]), Err(Refusal::WrongRoot));
    let none = |index, size| Err(Refusal::NoSuchEntry { index, size });
    assert_eq!(verify(5, b"c", &heads[5]), none(5, 5));
    assert_eq!(verify(0, b"c", &heads[0]), none(0, 0));

    let prefix = log.consistency(&Free, 3, 5).expect("it was");
    let verify = |older, newer| prefix.verify(&Free, older, newer);
    assert_eq!(verify(&heads[3], &heads[5]), Ok(()));
    assert_eq!(verify(&heads[0], &heads[5]), Err(Refusal::NothingOlder));
    let (older, newer) = (5, 3);
    let shrunk = Err(Refusal::Shrunk { older, newer });
    assert_eq!(verify(&heads[5], &heads[3]), shrunk);
    let forged = |size, entries: &[&str]| Head {
        size,
        ..head(entries)
    };
    let other = forged(3, &["a", "b", "x"]);
    assert_eq!(verify(&other, &heads[5]), Err(Refusal::WrongOlderRoot));
    assert_eq!(verify(&other, &heads[3]), Err(Refusal::Forked));
    let other = forged(5, &["a", "b", "c", "d", "x"]);
    assert_eq!(verify(&heads[3], &other), Err(Refusal::WrongNewerRoot));
    // The roots swapped, under their own sizes.
    let then = forged(3, &entries);
    let now = forged(5, &entries[..3]);
    assert_eq!(verify(&then, &now), Err(Refusal::WrongOlderRoot));
}

#[test]
fn what_is_no_log_is_not_decoded() {
    let decode = |levels: &[&[u8]]| {
        let levels: Vec<Seq<u8>> = levels
            .iter()
            .map(|it| it.iter().copied().collect())
            .collect();
        let bytes = postcard::to_stdvec(&levels).expect("levels can be written");
        postcard::from_bytes::<Log<u8>>(&bytes).ok()
    };
    assert_eq!(decode(&[]), Some(Log::new()));
    assert!(decode(&[&[1]]).is_some());
    assert!(decode(&[&[1, 2, 3], &[4]]).is_some());
    assert_eq!(decode(&[&[]]), None);
    assert_eq!(decode(&[&[1, 2]]), None);
    assert_eq!(decode(&[&[1, 2, 3], &[4, 5]]), None);
    assert_eq!(decode(&[&[1, 2, 3], &[4], &[]]), None);
}

// SHA-256.

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).expect("it is ASCII"), 16);
    digits
        .map(|pair| byte(pair).expect("it is hexadecimal"))
        .collect()
}

fn digest(text: &str) -> Sha256Digest {
    Sha256Digest(hex(text).try_into().expect("a digest has 32 bytes"))
}

/// Those of the tests of Certificate Transparency.
fn reference_log() -> (Vec<Vec<u8>>, Log<Sha256Digest>) {
    let entries = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    let entries: Vec<Vec<u8>> = entries.into_iter().map(hex).collect();
    let mut log = Log::new();
    for entry in &entries {
        log.append(&Sha256, entry);
    }
    (entries, log)
}

#[test]
fn the_roots_are_those_of_certificate_transparency() {
    let (_, log) = reference_log();
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    for (size, root) in (0..).zip(roots) {
        let root = digest(root);
        assert_eq!(log.head(&Sha256, size), Some(Head { size, root }));
    }
}

#[test]
fn the_proofs_are_those_of_certificate_transparency() {
    let (entries, log) = reference_log();
    let second = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
    let fifth = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
    let first_two = "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125";
    let second_two = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
    let third_two = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
    let last_two = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
    let first_four = "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7";
    let last_four = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";
    let first = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
    let of = |path: &[&str]| -> Vec<Sha256Digest> { path.iter().map(|it| digest(it)).collect() };
    let head = |size| log.head(&Sha256, size).expect("the log has eight");

    let paths: [(u64, u64, &[&str]); 5] = [
        (0, 1, &[]),
        (0, 8, &[second, second_two, last_four]),
        (5, 8, &[fifth, last_two, first_four]),
        (2, 3, &[first_two]),
        (1, 5, &[first, second_two, fifth]),
    ];
    for (at, size, path) in paths {
        let proof = Inclusion(of(path));
        assert_eq!(log.inclusion(&Sha256, at, size), Some(proof.clone()));
        let verdict = proof.verify(&Sha256, &entries[index(at)], at, &head(size));
        assert_eq!(verdict, Ok(()));
    }
    let proofs: [(u64, u64, &[&str]); 4] = [
        (1, 1, &[]),
        (1, 8, &[second, second_two, last_four]),
        (6, 8, &[third_two, last_two, first_four]),
        (2, 5, &[second_two, fifth]),
    ];
    for (older, newer, proof) in proofs {
        let proof = Consistency(of(proof));
        assert_eq!(log.consistency(&Sha256, older, newer), Some(proof.clone()));
        let verdict = proof.verify(&Sha256, &head(older), &head(newer));
        assert_eq!(verdict, Ok(()));
    }
}

/// Nothing is kept of failures: what they teach becomes a test of its own.
fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(count)
    }
}

type Theirs = ct_merkle::mem_backed_tree::MemoryBackedTree<sha2::Sha256, Vec<u8>>;
type TheirRoot = ct_merkle::RootHash<sha2::Sha256>;
type TheirPath = ct_merkle::InclusionProof<sha2::Sha256>;
type TheirProof = ct_merkle::ConsistencyProof<sha2::Sha256>;

/// The digests one after the other, as `ct_merkle` has its proofs.
fn bytes(digests: &[Sha256Digest]) -> Vec<u8> {
    digests.iter().flat_map(|digest| digest.0).collect()
}

fn their_root(head: &Head<Sha256Digest>) -> TheirRoot {
    TheirRoot::new(head.root.0.into(), head.size)
}

/// One thing that may be wrong with a proof.
#[derive(Clone, Debug)]
enum Damage {
    None,
    Dropped(usize),
    Doubled(usize),
    Swapped(usize),
    Changed(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        Just(Damage::None),
        (0..20_usize).prop_map(Damage::Dropped),
        (0..20_usize).prop_map(Damage::Doubled),
        (0..20_usize).prop_map(Damage::Swapped),
        (0..20_usize).prop_map(Damage::Changed),
    ]
}

fn damaged(mut path: Vec<Sha256Digest>, damage: &Damage) -> Vec<Sha256Digest> {
    let len = path.len();
    if len == 0 {
        if let Damage::Doubled(_) = damage {
            path.push(Sha256Digest([0; 32]));
        }
        return path;
    }
    match damage {
        Damage::None => {}
        Damage::Dropped(at) => {
            path.remove(at % len);
        }
        Damage::Doubled(at) => path.insert(at % len, path[at % len]),
        Damage::Swapped(at) => path.swap(at % len, (at + 1) % len),
        Damage::Changed(at) => path[at % len].0[31] ^= 1,
    }
    path
}

fn sized(size: u64) -> Sha256Digest {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&size.to_le_bytes());
    Sha256Digest(bytes)
}

fn one_move() -> impl Strategy<Value = Move<Follower<follower::RightRule>>> {
    let words: Vec<follower::Word> = lists(&LETTERS, 3)
        .iter()
        .flat_map(|list| follower::answers(list))
        .collect();
    let answer = prop::sample::select(words);
    let word = (answer, 0..4_u64, any::<bool>()).prop_map(|(word, size, heard)| match word {
        follower::Word::Answer { mut head, .. } if heard => {
            head.size = size;
            follower::Word::Heard { head }
        }
        word @ (follower::Word::Answer { .. } | follower::Word::Heard { .. }) => word,
    });
    let whims = [
        follower::Whim::Append,
        follower::Whim::Publish,
        follower::Whim::Gossip,
    ];
    prop_oneof![
        8 => (0..4_u64, word).prop_map(|(from, message)| {
            let from = NodeId(from);
            Move::Input(Input::Message { from, message })
        }),
        2 => prop::sample::select(whims.to_vec()).prop_map(|whim| Move::Input(Input::Timer(whim))),
        1 => Just(Move::Restart),
    ]
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn roots_and_proofs_are_those_of_ct_merkle(
        entries in vec(vec(any::<u8>(), 0..4), 1..70),
        at in any::<prop::sample::Index>(),
        older in any::<prop::sample::Index>(),
        damage in damage(),
    ) {
        let mut ours = Log::new();
        let mut theirs = Theirs::new();
        for entry in &entries {
            ours.append(&Sha256, entry);
            theirs.push(entry.clone());
        }
        let size = ours.len();
        let head = ours.head(&Sha256, size).expect("it has that size");
        let root = theirs.root();
        prop_assert_eq!(&root.as_bytes()[..], &head.root.0[..]);

        let at = at.index(entries.len());
        let path = ours.inclusion(&Sha256, at as u64, size).expect("it is there");
        let given = theirs.prove_inclusion(at);
        prop_assert_eq!(given.as_bytes(), &bytes(&path.0)[..]);
        prop_assert_eq!(path.verify(&Sha256, &entries[at], at as u64, &head), Ok(()));

        let older = older.index(entries.len()) + 1;
        let proof = ours.consistency(&Sha256, older as u64, size).expect("it was");
        let then = ours.head(&Sha256, older as u64).expect("it had that size");
        let added = entries.len() - older;
        let given = theirs.prove_consistency(added);
        prop_assert_eq!(given.as_bytes(), &bytes(&proof.0)[..]);
        prop_assert_eq!(proof.verify(&Sha256, &then, &head), Ok(()));

        // What one of us refuses of a damaged proof, so does the other.
        let path = damaged(path.0, &damage);
        let theirs = TheirPath::from_bytes(bytes(&path));
        let verdict = their_root(&head).verify_inclusion(&entries[at], at as u64, &theirs);
        let ours = Inclusion(path).verify(&Sha256, &entries[at], at as u64, &head);
        prop_assert_eq!(ours.is_ok(), verdict.is_ok());
        let proof = damaged(proof.0, &damage);
        let theirs = TheirProof::try_from_bytes(bytes(&proof)).expect("whole digests");
        let verdict = their_root(&head).verify_consistency(&their_root(&then), &theirs);
        let ours = Consistency(proof).verify(&Sha256, &then, &head);
        prop_assert_eq!(ours.is_ok(), verdict.is_ok(), "{:?}", ours);
    }

    #[test]
    fn what_is_verified_is_what_the_steps_of_the_rfc_verify(
        sizes in (1..40_u64, 0..40_u64),
        path in vec((0..4_u64).prop_map(sized), 0..9),
        at in 0..40_u64,
    ) {
        let (older, more) = sizes;
        let newer = older + more;
        let root = included_root(&Sha256, b"entry", at, newer, &path);
        let head = Head { size: newer, root: root.unwrap_or(sized(9)) };
        let verdict = Inclusion(path.clone()).verify(&Sha256, b"entry", at, &head);
        prop_assert_eq!(verdict.is_ok(), root.is_some(), "{:?}", verdict);

        let then = Head { size: older, root: sized(7) };
        let both = roots(&Sha256, &then, newer, &path);
        let (old, new) = both.unwrap_or((then.root, sized(9)));
        let then = Head { root: old, ..then };
        let now = Head { size: newer, root: new };
        let verdict = Consistency(path.clone()).verify(&Sha256, &then, &now);
        if older < newer {
            prop_assert_eq!(verdict.is_ok(), both.is_some(), "{:?}", verdict);
        } else {
            prop_assert!(verdict.is_err());
        }
    }

    #[test]
    fn nothing_that_arrives_makes_a_verifier_panic(
        at in any::<u64>(),
        sizes in any::<(u64, u64)>(),
        // The lengths that proofs of these sizes may have, too.
        length in 0..130_usize,
    ) {
        let path = vec![sized(1); length];
        let [older, newer] = [sizes.0, sizes.1].map(|size| Head { size, root: sized(2) });
        for head in [&older, &newer] {
            for at in [at, head.size.wrapping_sub(1), head.size / 2] {
                prop_assert!(Inclusion(path.clone()).verify(&Sha256, b"", at, head).is_err());
            }
        }
        prop_assert!(Consistency(path.clone()).verify(&Sha256, &older, &newer).is_err());
        prop_assert!(Consistency(path).verify(&Sha256, &newer, &older).is_err());
    }

    #[test]
    fn proofs_of_a_log_of_four_billion_entries_fit_a_datagram(
        at in any::<prop::sample::Index>(),
        size in 1..=1_u64 << 32,
    ) {
        let expected = |verdict| match verdict {
            Err(Refusal::TooLong { expected, .. }) => expected,
            other => panic!("{other:?}"),
        };
        let path = vec![sized(1); 40];
        let now = Head { size, root: sized(2) };
        let at = at.index(index(size)) as u64;
        prop_assert!(expected(Inclusion(path.clone()).verify(&Sha256, b"", at, &now)) <= 32);
        let then = Head { size: at, root: sized(3) };
        if at > 0 {
            prop_assert!(expected(Consistency(path).verify(&Sha256, &then, &now)) <= 33);
        }
    }

    #[test]
    fn a_log_survives_its_encoding_and_its_clones_do_not_change_with_it(
        entries in vec(any::<u8>(), 0..40),
    ) {
        let mut log = Log::new();
        for entry in &entries {
            let before = log.clone();
            log.append(&Sha256, &[*entry]);
            prop_assert_eq!(before.len() + 1, log.len());
            prop_assert_eq!(before.head(&Sha256, before.len()), log.head(&Sha256, before.len()));
        }
        prop_assert_eq!(log.is_empty(), entries.is_empty());
        let bytes = postcard::to_stdvec(&log).expect("a log can be written");
        prop_assert_eq!(postcard::from_bytes::<Log<Sha256Digest>>(&bytes), Ok(log));
    }

    #[test]
    fn the_laws_of_every_machine_hold(
        is_log in any::<bool>(),
        moves in vec(one_move(), 0..40),
    ) {
        let others = [1, 2].map(NodeId);
        let part = if is_log {
            let entries = ["a", "b", "c"].map(String::from).to_vec();
            Part::Log { entries, clients: others.into_iter().collect() }
        } else {
            Part::Client { peers: NodeSet::first(4) }
        };
        let me = NodeId(3);
        let machine = Follower { me, part, rule: follower::RightRule };
        laws::check(&machine, moves);
    }
}
