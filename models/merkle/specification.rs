//! The definitions of RFC 9162, word for word: slow, and without a doubt what the tree is to be.

use quorate::merkle::{Hasher, Head};

use super::term::{Free, Term};

/// The largest power of two smaller than `n`.
fn k(n: usize) -> usize {
    let powers = (0..).map(|exponent| 1 << exponent);
    powers.take_while(|power| *power < n).last().unwrap_or(0)
}

/// §2.1.1: `MTH(D)`, the root over these entries.
pub fn root<H: Hasher, E: AsRef<[u8]>>(hasher: &H, entries: &[E]) -> H::Digest {
    match entries {
        [] => hasher.empty(),
        [entry] => hasher.leaf(entry.as_ref()),
        _ => {
            let (left, right) = entries.split_at(k(entries.len()));
            hasher.node(&root(hasher, left), &root(hasher, right))
        }
    }
}

/// §2.1.3.1: `PATH(m, D)`, the inclusion proof of the entry at `m`.
pub fn path<H: Hasher, E: AsRef<[u8]>>(hasher: &H, m: usize, entries: &[E]) -> Vec<H::Digest> {
    if entries.len() == 1 {
        return Vec::new();
    }
    let k = k(entries.len());
    let (left, right) = entries.split_at(k);
    let (mut path, beside) = if m < k {
        (path(hasher, m, left), root(hasher, right))
    } else {
        (path(hasher, m - k, right), root(hasher, left))
    };
    path.push(beside);
    path
}

/// §2.1.4.1: `PROOF(m, D)`, the proof that the first `m` entries are the older log.
pub fn proof<H: Hasher, E: AsRef<[u8]>>(hasher: &H, m: usize, entries: &[E]) -> Vec<H::Digest> {
    subproof(hasher, m, entries, true)
}

fn subproof<H: Hasher, E: AsRef<[u8]>>(
    hasher: &H,
    m: usize,
    entries: &[E],
    whole: bool,
) -> Vec<H::Digest> {
    if m == entries.len() {
        return if whole {
            Vec::new()
        } else {
            vec![root(hasher, entries)]
        };
    }
    let k = k(entries.len());
    let (left, right) = entries.split_at(k);
    let (mut proof, beside) = if m <= k {
        (subproof(hasher, m, left, whole), root(hasher, right))
    } else {
        (subproof(hasher, m - k, right, false), root(hasher, left))
    };
    proof.push(beside);
    proof
}

/// §2.1.3.2: the root to which an inclusion proof leads, step by step as it is written, or nothing if it
/// fails before.
pub fn included_root<H: Hasher>(
    hasher: &H,
    entry: &[u8],
    index: u64,
    size: u64,
    path: &[H::Digest],
) -> Option<H::Digest> {
    if index >= size {
        return None;
    }
    let (mut f, mut s) = (index, size - 1);
    let mut r = hasher.leaf(entry);
    for p in path {
        if s == 0 {
            return None;
        }
        if f & 1 == 1 || f == s {
            r = hasher.node(p, &r);
            while f & 1 == 0 && f != 0 {
                f >>= 1;
                s >>= 1;
            }
        } else {
            r = hasher.node(&r, p);
        }
        f >>= 1;
        s >>= 1;
    }
    (s == 0).then_some(r)
}

/// §2.1.4.2: the older and the newer root to which a consistency proof leads, step by step as it is
/// written, or nothing if it fails before. It is of sizes that differ, of which the older is not 0.
pub fn roots<H: Hasher>(
    hasher: &H,
    older: &Head<H::Digest>,
    newer: u64,
    proof: &[H::Digest],
) -> Option<(H::Digest, H::Digest)> {
    if older.size == 0 || older.size >= newer || proof.is_empty() {
        return None;
    }
    let mut path = proof.to_vec();
    if older.size.is_power_of_two() {
        path.insert(0, older.root.clone());
    }
    let (mut f, mut s) = (older.size - 1, newer - 1);
    while f & 1 == 1 {
        f >>= 1;
        s >>= 1;
    }
    let mut fr = path[0].clone();
    let mut sr = path[0].clone();
    for c in &path[1..] {
        if s == 0 {
            return None;
        }
        if f & 1 == 1 || f == s {
            fr = hasher.node(c, &fr);
            sr = hasher.node(c, &sr);
            while f & 1 == 0 && f != 0 {
                f >>= 1;
                s >>= 1;
            }
        } else {
            sr = hasher.node(&sr, c);
        }
        f >>= 1;
        s >>= 1;
    }
    (s == 0).then_some((fr, sr))
}

/// The list of entries that a head commits to, or nothing if it is of none.
pub fn list(head: &Head<Term>) -> Option<Vec<&[u8]>> {
    let entries = head.root.entries();
    let is_theirs = head.size == entries.len() as u64 && head.root == root(&Free, &entries);
    is_theirs.then_some(entries)
}

/// True if the first log is a prefix of the second. No head that is of no list is one.
pub fn is_prefix(older: &Head<Term>, newer: &Head<Term>) -> bool {
    match (list(older), list(newer)) {
        (Some(older), Some(newer)) => newer.starts_with(&older),
        (None, _) | (_, None) => false,
    }
}

/// All lists of at least one and at most `size_max` of these letters, short ones first.
pub fn lists(letters: &[&str], size_max: usize) -> Vec<Vec<String>> {
    let mut lists = vec![Vec::new()];
    let mut from = 0;
    for _ in 0..size_max {
        let until = lists.len();
        for place in from..until {
            for letter in letters {
                let mut longer: Vec<String> = lists[place].clone();
                longer.push((*letter).into());
                lists.push(longer);
            }
        }
        from = until;
    }
    lists.split_off(1)
}
