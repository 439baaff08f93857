//! From one ring to another: which keys move.

use super::{BTreeSet, Deserialize, NodeSet, Ring, Serialize, Token, TokenRange, Vec, between};

/// A range of keys whose replicas change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Move {
    /// Which keys.
    pub range: TokenRange,
    /// Who keeps them in the old ring.
    pub old: NodeSet,
    /// Who keeps them in the new one.
    pub new: NodeSet,
}

impl Move {
    /// Who is to have them and has not: their *pending* replicas.
    pub fn gains(self) -> NodeSet {
        self.new.difference(self.old)
    }

    /// Who has them and is not to.
    pub fn loses(self) -> NodeSet {
        self.old.difference(self.new)
    }
}

/// The difference of two rings: every key whose replicas change is in one of these ranges, and no
/// other. Those that touch each other differ in their replicas.
pub fn moves(old: &Ring, new: &Ring) -> Vec<Move> {
    let places = old.places().chain(new.places());
    let places: BTreeSet<Token> = places.map(|(token, _)| token).collect();
    let places: Vec<Token> = places.into_iter().collect();
    // Between two places of either ring, all tokens have the same replicas.
    let kept = between(&places).map(|range| {
        let token = range.up_to;
        (range, (old.holders(token), new.holders(token)))
    });
    let moved = kept.filter(|(_, (old, new))| old != new);
    let moved = merged(moved).into_iter();
    moved
        .map(|(range, (old, new))| Move { range, old, new })
        .collect()
}

/// Makes one of neighbours that are alike. They come in the order of the ring, which is a circle: the
/// last may touch the first.
pub(super) fn merged<K: PartialEq>(
    pieces: impl Iterator<Item = (TokenRange, K)>,
) -> Vec<(TokenRange, K)> {
    let mut merged: Vec<(TokenRange, K)> = Vec::new();
    for (range, kind) in pieces {
        match merged.last_mut() {
            Some((last, alike)) if last.up_to == range.after && *alike == kind => {
                last.up_to = range.up_to;
            }
            Some(_) | None => merged.push((range, kind)),
        }
    }
    if let [(first, kind), .., (last, alike)] = merged.as_mut_slice()
        && last.up_to == first.after
        && kind == alike
    {
        first.after = last.after;
        merged.pop();
    }
    merged
}
