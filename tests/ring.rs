//! Placement: what is promised of every ring is checked in every small one, against a specification
//! that is written in another way, and in random large ones. Each promise falls for a placement that
//! gets one thing wrong, and the smallest ring in which it does is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::data::NodeSet;
use quorate::machine::NodeId;
use quorate::ring::{Epoch, Member, Rack, Ring, RingError, Token, TokenRange, moves};

/// A token space of eight, with both ends of the real one. Only the order of tokens matters, so this is
/// every ring of as many places.
const SPACE: [i64; 8] = [i64::MIN, i64::MIN + 1, -2, -1, 0, 1, i64::MAX - 1, i64::MAX];

/// A ring as it is described: who joins, in this order.
#[derive(Clone, Debug, PartialEq)]
struct Layout {
    factor: u32,
    members: Vec<(NodeId, Member)>,
}

impl Layout {
    fn ring(&self) -> Ring {
        Ring::new(self.factor, self.members.clone()).expect("a ring")
    }

    fn without(&self, node: NodeId) -> Self {
        let mut less = self.clone();
        less.members.retain(|(member, _)| *member != node);
        less
    }

    fn reversed(&self) -> Self {
        let mut reversed = self.clone();
        reversed.members.reverse();
        reversed
    }

    fn racks(&self) -> BTreeSet<Rack> {
        self.members.iter().map(|(_, member)| member.rack).collect()
    }

    fn rack(&self, node: NodeId) -> Rack {
        let mut members = self.members.iter();
        members
            .find(|(member, _)| *member == node)
            .expect("a member")
            .1
            .rack
    }

    /// In words.
    fn told(&self) -> String {
        let members = self.members.iter().map(|(node, member)| {
            let tokens: Vec<String> = member.tokens.iter().map(|token| name(token.0)).collect();
            format!(
                "{node} of rack {} at {}",
                member.rack.0,
                tokens.join(" and ")
            )
        });
        let members: Vec<String> = members.collect();
        format!("RF {}; {}", self.factor, members.join(", "))
    }
}

/// A token by its place in the space.
fn name(token: i64) -> String {
    let place = SPACE.iter().position(|other| *other == token);
    place.map_or(token.to_string(), |place| format!("t{place}"))
}

/// What a placement may get wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    /// Above the largest token the walk ends.
    NoWrap,
    /// Virtual nodes are counted, not nodes.
    NotDeduplicated,
    /// The hash, modulo the number of nodes, says which node is the first.
    HashModN,
    /// Of two nodes with one token the later has it.
    Overwritten,
    /// Of two nodes with one token the later takes the next that is free.
    Probed,
    /// Whoever is told tells everybody.
    Everybody,
    /// The walk looks at no racks.
    RacksIgnored,
    /// The walk never takes a second node of a rack.
    RacksInsistedOn,
    /// A key whose token is a place is given to the next place.
    StrictlyAfter,
}

/// The specification, or one that gets something wrong: the replicas of the keys with this token.
fn placed(layout: &Layout, flaw: Option<Flaw>, token: i64) -> Vec<NodeId> {
    let mut places: BTreeMap<i64, NodeId> = BTreeMap::new();
    for (node, member) in &layout.members {
        for Token(token) in &member.tokens {
            let free = SPACE.iter().cycle().skip_while(|place| *place < token);
            let mut free = free.filter(|place| !places.contains_key(place));
            let place = match flaw {
                Some(Flaw::Probed) => free.next().copied().unwrap_or(*token),
                _ => *token,
            };
            places.insert(place, *node);
        }
    }
    let factor = layout.factor as usize;
    let (before, after): (Vec<_>, Vec<_>) = places.iter().partition(|(place, _)| match flaw {
        Some(Flaw::StrictlyAfter) => **place <= token,
        _ => **place < token,
    });
    let mut walk: Vec<NodeId> = after.iter().map(|(_, node)| **node).collect();
    if flaw != Some(Flaw::NoWrap) {
        walk.extend(before.iter().map(|(_, node)| **node));
    }
    match flaw {
        Some(Flaw::NotDeduplicated) => return walk.into_iter().take(factor).collect(),
        Some(Flaw::HashModN) => {
            let nodes: Vec<NodeId> = layout.members.iter().map(|(node, _)| *node).collect();
            let hash = SPACE
                .iter()
                .position(|other| *other == token)
                .expect("a token");
            let chosen = (hash..).take(factor.min(nodes.len()));
            return chosen.map(|place| nodes[place % nodes.len()]).collect();
        }
        _ => {}
    }
    let mut nodes: Vec<NodeId> = Vec::new();
    for node in walk {
        if !nodes.contains(&node) {
            nodes.push(node);
        }
    }
    match flaw {
        Some(Flaw::Everybody) => return nodes,
        Some(Flaw::RacksIgnored) => return nodes.into_iter().take(factor).collect(),
        _ => {}
    }
    // The first of each rack, and as many others as are wanted, in the order of the walk.
    let firsts = |node: &NodeId| {
        let mut before = nodes.iter().take_while(|other| *other != node);
        before.all(|other| layout.rack(*other) != layout.rack(*node))
    };
    let mut others = factor.saturating_sub(layout.racks().len());
    if flaw == Some(Flaw::RacksInsistedOn) {
        others = 0;
    }
    let mut chosen = Vec::new();
    for node in &nodes {
        if chosen.len() < factor && (firsts(node) || others > 0) {
            others -= usize::from(!firsts(node));
            chosen.push(*node);
        }
    }
    chosen
}

/// Somebody's replicas of each token of the space.
type Placing = dyn Fn(&Layout) -> Vec<Vec<NodeId>>;

/// The ring's own.
fn right(layout: &Layout) -> Vec<Vec<NodeId>> {
    let ring = layout.ring();
    let tokens = SPACE.iter();
    tokens.map(|token| ring.replicas(Token(*token))).collect()
}

fn wrong(flaw: Flaw) -> impl Fn(&Layout) -> Vec<Vec<NodeId>> {
    move |layout| {
        let tokens = SPACE.iter();
        tokens
            .map(|token| placed(layout, Some(flaw), *token))
            .collect()
    }
}

fn set(nodes: &[NodeId]) -> NodeSet {
    nodes.iter().copied().collect()
}

/// A promise: of this placement, in this ring, or why not.
type Promise = fn(&Placing, &Layout) -> Result<(), String>;

fn distinct(placing: &Placing, layout: &Layout) -> Result<(), String> {
    for (token, nodes) in SPACE.iter().zip(placing(layout)) {
        let factor = layout.factor as usize;
        if nodes.len() != factor || set(&nodes).len() != factor {
            return Err(format!(
                "the key {} has the replicas {nodes:?}",
                name(*token)
            ));
        }
    }
    Ok(())
}

fn racks(placing: &Placing, layout: &Layout) -> Result<(), String> {
    for (token, nodes) in SPACE.iter().zip(placing(layout)) {
        let spread: BTreeSet<Rack> = nodes.iter().map(|node| layout.rack(*node)).collect();
        if spread.len() != layout.racks().len().min(layout.factor as usize) {
            let token = name(*token);
            let all = layout.racks().len();
            return Err(format!(
                "the key {token} has its replicas on one rack of {all}, {nodes:?}"
            ));
        }
    }
    Ok(())
}

fn order(placing: &Placing, layout: &Layout) -> Result<(), String> {
    let (one, other) = (placing(layout), placing(&layout.reversed()));
    for (token, (one, other)) in SPACE.iter().zip(one.iter().zip(&other)) {
        if one != other {
            let token = name(*token);
            return Err(format!(
                "the key {token} is on {one:?}; had they joined in the other order, on {other:?}"
            ));
        }
    }
    Ok(())
}

/// Of the ring with a member, and of that without: whether it joined or left.
fn minimal(placing: &Placing, layout: &Layout) -> Result<(), String> {
    let with = placing(layout);
    for (joiner, _) in &layout.members {
        let less = layout.without(*joiner);
        if less.members.len() < layout.factor as usize {
            continue;
        }
        for (token, (new, old)) in SPACE.iter().zip(with.iter().zip(placing(&less))) {
            let (new, old) = (set(new), set(&old));
            let gains = new.difference(old);
            let is_joiners = gains.iter().eq([*joiner]);
            if !(gains.is_empty() && new == old || is_joiners) {
                let token = name(*token);
                return Err(format!(
                    "when {joiner} joins, the key {token} moves from {old} to {new}"
                ));
            }
        }
    }
    Ok(())
}

/// What is asked of the ranges of the right ring.
fn ranges(placing: &Placing, layout: &Layout) -> Result<(), String> {
    let ring = layout.ring();
    let kept: Vec<(NodeId, Vec<TokenRange>)> = (ring.members().iter())
        .map(|node| (node, ring.ranges(node)))
        .collect();
    for (token, nodes) in SPACE.iter().zip(placing(layout)) {
        for (node, ranges) in &kept {
            let times = ranges
                .iter()
                .filter(|range| range.contains(Token(*token)))
                .count();
            if times != usize::from(nodes.contains(node)) {
                let kept = ranges.iter().map(|range| {
                    let TokenRange { after, up_to } = range;
                    format!("after {} and up to {}", name(after.0), name(up_to.0))
                });
                let kept: Vec<String> = kept.collect();
                return Err(format!(
                    "the key {} is on {nodes:?}; {node} keeps what is {}",
                    name(*token),
                    kept.join(", or ")
                ));
            }
        }
    }
    Ok(())
}

/// The set partitions of so many, as the block of each.
fn partitions(count: usize, blocks_max: usize) -> Vec<Vec<usize>> {
    let mut found = vec![Vec::new()];
    for _ in 0..count {
        let longer = found.iter().flat_map(|blocks: &Vec<usize>| {
            let next = blocks.iter().max().map_or(0, |last| last + 1);
            (0..=next.min(blocks_max - 1)).map(|block| [blocks.as_slice(), &[block]].concat())
        });
        found = longer.collect();
    }
    found
}

/// Every ring of at most four nodes on the space, but for the names of nodes and racks: small ones
/// first.
fn every_layout() -> &'static [Layout] {
    static EVERY: LazyLock<Vec<Layout>> = LazyLock::new(make_every_layout);
    &EVERY
}

fn make_every_layout() -> Vec<Layout> {
    let mut layouts = Vec::new();
    for taken in 0..256_u32 {
        let free: Vec<Token> = (0..8)
            .filter(|place| taken & (1 << place) != 0)
            .map(|place| Token(SPACE[place]))
            .collect();
        for owners in partitions(free.len(), 4)
            .iter()
            .filter(|owners| !owners.is_empty())
        {
            let count = owners.iter().max().map_or(0, |last| last + 1);
            let tokens = |node| {
                let places = free.iter().zip(owners);
                places
                    .filter(|(_, owner)| **owner == node)
                    .map(|(token, _)| *token)
                    .collect()
            };
            for stands in partitions(count, count) {
                let member = |node: usize| {
                    let rack = Rack(stands[node] as u64);
                    (
                        NodeId(node as u64),
                        Member {
                            rack,
                            tokens: tokens(node),
                        },
                    )
                };
                let members: Vec<_> = (0..count).map(member).collect();
                for factor in 1..=u32::try_from(count).expect("a few") {
                    layouts.push(Layout {
                        factor,
                        members: members.clone(),
                    });
                }
            }
        }
    }
    let places = |layout: &Layout| {
        let members = layout.members.iter();
        members
            .map(|(_, member)| member.tokens.len())
            .sum::<usize>()
    };
    layouts.sort_by_key(|layout| (layout.members.len(), places(layout), layout.factor));
    layouts
}

/// How many rings that is.
const EVERY: usize = 545_965;

/// Rings of two nodes that may want the same token.
fn clashing_layouts() -> Vec<Layout> {
    let member = |node, tokens: &[i64]| {
        let tokens = tokens.iter().copied().map(Token).collect();
        (
            NodeId(node),
            Member {
                rack: Rack(node),
                tokens,
            },
        )
    };
    let pairs = SPACE
        .iter()
        .flat_map(|one| SPACE.iter().map(move |other| (*one, *other)));
    let two = |(one, other)| (1..=2).map(move |factor| (factor, one, other));
    let layouts = pairs.flat_map(two).map(|(factor, one, other)| Layout {
        factor,
        members: vec![member(0, &[one]), member(1, &[other])],
    });
    layouts.collect()
}

fn holds(promise: Promise) {
    let layouts = every_layout();
    assert_eq!(layouts.len(), EVERY);
    for layout in layouts {
        if let Err(why) = promise(&right, layout) {
            panic!("{}: {why}", layout.told());
        }
    }
}

/// The smallest ring in which the promise falls, and why, is the one that is told.
fn falls(promise: Promise, flaw: Flaw, layouts: &[Layout], story: &str) {
    let wrong = wrong(flaw);
    let told = layouts.iter().find_map(|layout| {
        let why = promise(&wrong, layout).err()?;
        Some(format!("{}: {why}", layout.told()))
    });
    assert_eq!(told.as_deref(), Some(story));
}

#[test]
fn replicas_are_rf_distinct_nodes_in_every_small_ring() {
    holds(distinct);
}

#[test]
fn replicas_are_of_as_many_racks_as_there_can_be_in_every_small_ring() {
    holds(racks);
}

#[test]
fn the_order_of_joining_does_not_matter_in_any_small_ring() {
    holds(order);
}

#[test]
fn only_the_joiners_keys_move_in_every_small_ring() {
    holds(minimal);
}

#[test]
fn ranges_are_the_replicas_in_every_small_ring() {
    holds(ranges);
}

#[test]
fn every_small_ring_places_as_is_specified() {
    for layout in every_layout() {
        for (token, nodes) in SPACE.iter().zip(right(layout)) {
            assert_eq!(nodes, placed(layout, None, *token), "{}", layout.told());
        }
    }
}

/// Each move is a change, and each change is in one move; what lies side by side is not alike.
fn moves_are_the_difference(old: &Ring, new: &Ring, tokens: &[i64]) {
    let moved = moves(old, new);
    for token in tokens.iter().copied().map(Token) {
        let (before, after) = (old.holders(token), new.holders(token));
        let found: Vec<_> = moved
            .iter()
            .filter(|one| one.range.contains(token))
            .collect();
        match found.as_slice() {
            [] => assert_eq!(before, after, "{token:?} of {old:?} to {new:?}"),
            [one] => {
                assert_eq!((one.old, one.new), (before, after), "{token:?}");
                assert_ne!(before, after);
                assert_eq!(one.gains().len(), one.loses().len(), "RF stays");
            }
            [..] => panic!("{token:?} is in two moves: {found:?}"),
        }
    }
    for one in &moved {
        let next = moved
            .iter()
            .find(|next| next.range.after == one.range.up_to);
        let is_alike = |next: &&quorate::ring::Move| (next.old, next.new) == (one.old, one.new);
        assert!(moved.len() == 1 || !next.is_some_and(|next| is_alike(&next)));
    }
}

#[test]
fn moves_are_the_difference_in_every_small_ring() {
    for layout in every_layout() {
        let ring = layout.ring();
        for (node, member) in &layout.members {
            let Ok(less) = ring.left(*node) else {
                assert_eq!(layout.members.len(), layout.factor as usize);
                continue;
            };
            moves_are_the_difference(&less, &ring, &SPACE);
            assert_eq!(less.epoch(), Epoch(2));
            let again = less.joined(*node, member).expect("it was there");
            assert_eq!(again.epoch(), Epoch(3));
            assert!(again.places().eq(ring.places()));
            assert!(moves(&ring, &again).is_empty());
        }
    }
}

#[test]
fn replicas_are_distinct_nodes_falls_without_a_wrap_at_the_top() {
    falls(
        distinct,
        Flaw::NoWrap,
        every_layout(),
        "RF 1; n0 of rack 0 at t0: the key t1 has the replicas []",
    );
}

#[test]
fn replicas_are_distinct_nodes_falls_when_virtual_nodes_are_counted() {
    falls(
        distinct,
        Flaw::NotDeduplicated,
        every_layout(),
        "RF 2; n0 of rack 0 at t0 and t1, n1 of rack 0 at t2: the key t0 has the replicas [n0, n0]",
    );
}

#[test]
fn replicas_are_distinct_nodes_falls_when_everybody_gets_everything() {
    falls(
        distinct,
        Flaw::Everybody,
        every_layout(),
        "RF 1; n0 of rack 0 at t0, n1 of rack 0 at t1: the key t0 has the replicas [n0, n1]",
    );
}

#[test]
fn replicas_are_distinct_nodes_falls_when_racks_are_insisted_on() {
    falls(
        distinct,
        Flaw::RacksInsistedOn,
        every_layout(),
        "RF 2; n0 of rack 0 at t0, n1 of rack 0 at t1: the key t0 has the replicas [n0]",
    );
}

#[test]
fn replicas_are_distinct_nodes_falls_when_a_token_is_overwritten() {
    falls(
        distinct,
        Flaw::Overwritten,
        &clashing_layouts(),
        "RF 2; n0 of rack 0 at t0, n1 of rack 1 at t0: the key t0 has the replicas [n1]",
    );
}

#[test]
fn the_order_of_joining_falls_when_a_token_is_overwritten() {
    falls(
        order,
        Flaw::Overwritten,
        &clashing_layouts(),
        "RF 1; n0 of rack 0 at t0, n1 of rack 1 at t0: the key t0 is on [n1]; had they joined in the other order, on [n0]",
    );
}

#[test]
fn the_order_of_joining_falls_when_the_next_free_token_is_taken() {
    falls(
        order,
        Flaw::Probed,
        &clashing_layouts(),
        "RF 1; n0 of rack 0 at t0, n1 of rack 1 at t0: the key t0 is on [n0]; had they joined in the other order, on [n1]",
    );
}

#[test]
fn only_the_joiners_keys_move_falls_for_the_hash_modulo_n() {
    falls(
        minimal,
        Flaw::HashModN,
        every_layout(),
        "RF 1; n0 of rack 0 at t0, n1 of rack 0 at t1, n2 of rack 0 at t2: when n0 joins, the key t1 moves from {n2} to {n1}",
    );
}

#[test]
fn as_many_racks_falls_when_racks_are_ignored() {
    falls(
        racks,
        Flaw::RacksIgnored,
        every_layout(),
        "RF 2; n0 of rack 0 at t0, n1 of rack 0 at t1, n2 of rack 1 at t2: the key t0 has its replicas on one rack of 2, [n0, n1]",
    );
}

#[test]
fn ranges_are_the_replicas_falls_when_a_key_at_a_place_goes_to_the_next() {
    falls(
        ranges,
        Flaw::StrictlyAfter,
        every_layout(),
        "RF 1; n0 of rack 0 at t0, n1 of rack 0 at t1: the key t0 is on [n1]; n0 keeps what is after t1 and up to t0",
    );
}

/// A ring never has two nodes at one place.
#[test]
fn a_clash_is_refused_and_nothing_else_is() {
    for layout in clashing_layouts() {
        let [one, other] = layout.members.as_slice() else {
            panic!("two nodes")
        };
        let is_clash = one.1.tokens == other.1.tokens;
        let ring = Ring::new(layout.factor, layout.members.clone());
        let clash = RingError::Clash {
            token: one.1.tokens[0],
            holder: NodeId(0),
            claimant: NodeId(1),
        };
        assert_eq!(ring.err(), is_clash.then_some(clash));
    }
}

fn member(node: u64, virtual_nodes: u32) -> (NodeId, Member) {
    let node = NodeId(node);
    (node, Member::new(node, Rack(0), virtual_nodes))
}

#[test]
fn a_ring_that_could_not_keep_its_promise_is_refused() {
    let ring = |factor, members: &[(NodeId, Member)]| {
        let refusal = Ring::new(factor, members.to_vec()).expect_err("no ring");
        (refusal, refusal.to_string())
    };
    let [one, two] = [member(0, 4), member(1, 4)];
    let (refusal, text) = ring(0, std::slice::from_ref(&one));
    assert_eq!(refusal, RingError::NoReplicas);
    assert!(text.contains("make it at least 1"), "{text}");
    let (refusal, text) = ring(3, &[one.clone(), two.clone()]);
    assert_eq!(
        refusal,
        RingError::TooFew {
            members: 2,
            factor: 3
        }
    );
    assert!(text.contains("have at least 3 members"), "{text}");
    let (refusal, text) = ring(1, &[member(64, 1)]);
    assert_eq!(refusal, RingError::Stranger(NodeId(64)));
    assert!(text.contains("from 0 to 63"), "{text}");
    let (refusal, text) = ring(1, &[member(0, 0)]);
    assert_eq!(refusal, RingError::NoTokens(NodeId(0)));
    assert!(text.contains("at least one token"), "{text}");
    let (refusal, text) = ring(1, &[one.clone(), one.clone()]);
    assert_eq!(refusal, RingError::Twice(NodeId(0)));
    assert!(text.contains("once"), "{text}");

    let two = Ring::new(2, [one.clone(), two]).expect("a ring");
    let refusal = two.joined(one.0, &one.1).expect_err("it is there");
    assert_eq!(refusal, RingError::Twice(NodeId(0)));
    let refusal = two.left(NodeId(5)).expect_err("it is not there");
    assert_eq!(refusal, RingError::NoMember(NodeId(5)));
    let refusal = two.left(NodeId(1)).expect_err("two are needed");
    assert_eq!(
        refusal,
        RingError::TooFew {
            members: 1,
            factor: 2
        }
    );
}

/// The first half of Murmur3 as Cassandra and its drivers have it. The vectors are those of the tests of
/// the Rust driver of Scylla, and of the Python and Ruby drivers of Cassandra: those with bytes above 127
/// in the tail differ from Appleby's.
#[test]
fn tokens_are_those_of_cassandra() {
    let ascending = |first: u8| (first..first + 16).collect::<Vec<u8>>();
    let vectors: Vec<(Vec<u8>, i64)> = vec![
        (b"test".into(), -6_017_608_668_500_074_083),
        (b"xd".into(), 4_507_812_186_440_344_727),
        (b"primary_key".into(), -1_632_642_444_691_073_360),
        ("kremówki".into(), 4_354_931_215_268_080_151),
        (b"123".into(), -7_468_325_962_851_647_638),
        (
            b"\x00\xff\x10\xfa\x99".repeat(10),
            5_837_342_703_291_459_765,
        ),
        (b"\xfe".repeat(8), -8_927_430_733_708_461_935),
        (b"\x10".repeat(8), 1_446_172_840_243_228_796),
        (b"9223372036854775807".into(), 7_162_290_910_810_015_547),
        (ascending(1), -5_563_837_382_979_743_776),
        (ascending(2), -1_513_403_162_740_402_161),
        (ascending(7), 8_228_893_370_679_682_632),
        (vec![0; 16], 5_457_549_051_747_178_710),
        (vec![0xff; 16], -2_824_192_546_314_762_522),
        (vec![0xfe; 16], -833_317_529_301_936_754),
        (vec![0xfe; 17], -1_672_437_813_826_982_685),
        (vec![0xfe; 4], 4_566_408_979_886_474_012),
        (vec![0; 4], -3_485_513_579_396_041_028),
        (b"\x00\x01\x7f\x7f".into(), 6_573_459_401_642_635_627),
        (b"\x00\xff\xff\xff".into(), 123_573_637_386_978_882),
        (b"\xff\x01\x02\x03".into(), -2_839_127_690_952_877_842),
        (b"\xe2\xe7".into(), -8_582_699_461_035_929_883),
        (
            b"\xe2\xe7\xe2\xe7\xe2\xe7\x01".into(),
            2_222_373_981_930_033_306,
        ),
        (Vec::new(), i64::MIN),
    ];
    for (key, token) in vectors {
        assert_eq!(Token::of(&key), Token(token), "{key:?}");
    }
}

#[test]
fn a_range_holds_what_is_after_its_first_and_up_to_its_last() {
    let range = |after, up_to| TokenRange {
        after: Token(after),
        up_to: Token(up_to),
    };
    assert_eq!(range(3, 5).width(), 2);
    assert!(!range(3, 5).contains(Token(3)) && range(3, 5).contains(Token(5)));
    let wraps = range(i64::MAX - 1, i64::MIN + 1);
    assert_eq!(wraps.width(), 3);
    assert!(wraps.contains(Token(i64::MAX)) && wraps.contains(Token(i64::MIN)));
    assert!(!wraps.contains(Token(0)));
    assert_eq!(range(7, 7).width(), 1 << 64, "the whole ring");
    assert!(range(7, 7).contains(Token(7)) && range(7, 7).contains(Token(8)));
}

/// Of ten nodes the one that keeps the most, in percent of what a node keeps on average.
fn busiest_percent(factor: u32, virtual_nodes: u32) -> u128 {
    let members = (0..10).map(|node| member(node, virtual_nodes));
    let ring = Ring::new(factor, members).expect("a ring");
    let loads = ring.members().iter().map(|node| {
        let ranges = ring.ranges(node).into_iter();
        ranges.map(TokenRange::width).sum::<u128>()
    });
    let loads: Vec<u128> = loads.collect();
    let all = u128::from(factor) << 64;
    assert_eq!(
        loads.iter().sum::<u128>(),
        all,
        "each token is kept RF times"
    );
    let most = loads.iter().max().expect("ten nodes");
    most * 10 * 100 / all
}

#[test]
fn shares_are_close_to_the_mean_when_nodes_have_many_places() {
    let loads = |factor| [1, 16, 256].map(|virtual_nodes| busiest_percent(factor, virtual_nodes));
    assert_eq!([loads(1), loads(3)], [[262, 132, 110], [180, 123, 108]]);
}

#[test]
fn a_ring_travels_as_a_list_of_members_and_a_false_one_does_not_arrive() {
    let read = |text: &str| serde_json::from_str::<Ring>(text).map_err(|error| error.to_string());
    let listed = r#"{"epoch":7,"factor":1,"members":{"0":{"rack":0,"tokens":[5]},"1":{"rack":2,"tokens":[-1,9]}}}"#;
    let ring = read(listed).expect("a ring");
    assert_eq!(ring.epoch(), Epoch(7));
    assert_eq!(ring.rack(NodeId(1)), Some(Rack(2)));
    assert_eq!(serde_json::to_string(&ring).expect("JSON"), listed);
    let clash = listed.replace("[-1,9]", "[5]");
    let error = read(&clash).expect_err("two nodes at 5");
    assert!(error.contains("give it another"), "{error}");
    let few = listed.replace(r#""factor":1"#, r#""factor":3"#);
    assert!(read(&few).is_err());
}

prop_compose! {
    /// Nodes with places as they are hashed, in random racks.
    fn some_layout()(
        nodes in proptest::collection::btree_map(0..64_u64, (0..4_u64, 1..20_u32), 1..9),
        factor in 1..5_u32,
    ) -> Layout {
        let factor = factor.min(u32::try_from(nodes.len()).expect("a few"));
        let members = nodes.into_iter().map(|(node, (rack, virtual_nodes))| {
            (NodeId(node), Member::new(NodeId(node), Rack(rack), virtual_nodes))
        });
        Layout { factor, members: members.collect() }
    }
}

proptest! {
    #[test]
    fn every_ring_places_as_is_specified(layout in some_layout(), tokens in vec(any::<i64>(), 1..20)) {
        let ring = layout.ring();
        prop_assert_eq!(&ring, &layout.reversed().ring());
        for token in tokens {
            let nodes = ring.replicas(Token(token));
            prop_assert_eq!(&nodes, &placed(&layout, None, token));
            prop_assert_eq!(ring.holders(Token(token)).len(), ring.factor());
        }
    }

    #[test]
    fn only_the_joiners_keys_move_in_any_ring(layout in some_layout(), keys in vec(any::<[u8; 8]>(), 1..40)) {
        let keys: Vec<i64> = keys.iter().map(|key| Token::of(key).0).collect();
        let ring = layout.ring();
        for (joiner, member) in &layout.members {
            let Ok(less) = ring.left(*joiner) else {
                continue;
            };
            prop_assert!(less.joined(*joiner, member).expect("it was there").places().eq(ring.places()));
            moves_are_the_difference(&less, &ring, &keys);
            for one in moves(&less, &ring) {
                prop_assert!(one.gains().iter().eq([*joiner]), "{one:?}");
            }
            for one in moves(&ring, &less) {
                prop_assert!(one.loses().iter().eq([*joiner]), "{one:?}");
            }
        }
    }

    #[test]
    fn a_ring_is_the_same_after_a_journey(layout in some_layout()) {
        let ring = layout.ring();
        let bytes = postcard::to_allocvec(&ring).expect("bytes");
        prop_assert_eq!(postcard::from_bytes::<Ring>(&bytes).expect("a ring"), ring);
    }
}
