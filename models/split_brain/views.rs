//! Every view that there is, of up to five members: what resolvers are tried on.
//!
//! Three families, each complete for its count of members:
//!
//! - [`partitions`]: the links are cut so that sides are left, in any way, and up to two members are
//!   coming or going, which some sides know and some do not yet;
//! - [`graphs`]: any node hears any others, one way or both;
//! - [`unsettled`]: the links are cut in one way and then in another, and each node decides in the one or
//!   in the other. No resolver bears that: it is what settling is for.

use quorate::data::{Map, NodeSet};
use quorate::machine::NodeId;
use quorate::split_brain::{Roster, Strategy, Turn, Verdict, View, resolve};

/// A resolver, right or wrong. It gives the side that goes on, as the node sees it.
pub type Rule<'a> = &'a dyn Fn(&View) -> Option<NodeSet>;

/// What was tried, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many cases there were.
    pub cases: u64,
    /// In so many no side went on.
    pub none: u64,
    /// In so many one did.
    pub one: u64,
    /// In so many there were two that went on, or more.
    pub several: u64,
}

impl Tally {
    /// Who goes on, and with whom. Two sides go on when somebody does that is not on the side of
    /// another that does.
    fn count(&mut self, survivors: &[(NodeId, NodeSet)]) {
        let is_given_up = |node: NodeId| survivors.iter().any(|(_, side)| !side.contains(node));
        self.cases += 1;
        if survivors.is_empty() {
            self.none += 1;
        } else if survivors.iter().any(|(node, _)| is_given_up(*node)) {
            self.several += 1;
        } else {
            self.one += 1;
        }
    }
}

/// A strategy as a rule.
pub fn by(strategy: &Strategy) -> impl Fn(&View) -> Option<NodeSet> + '_ {
    |view| {
        let verdict = resolve(strategy, view);
        view.side().filter(|_| verdict == Verdict::Stay)
    }
}

/// A side of at least half of the members.
pub fn half_or_more(view: &View) -> Option<NodeSet> {
    let side = view.side()?;
    (2 * side.len() >= view.roster.known().len()).then_some(side)
}

/// A majority of those that are heard, which is whoever is heard.
pub fn majority_of_the_heard(view: &View) -> Option<NodeSet> {
    view.side()
}

/// A side of at least so many, however many there are.
pub fn unguarded(size: usize) -> impl Fn(&View) -> Option<NodeSet> {
    move |view| view.side().filter(|side| side.len() >= size)
}

/// A majority of those that are up as this node sees it, with the tie-break.
pub fn majority_as_seen(view: &View) -> Option<NodeSet> {
    let side = view.side()?;
    majority(view.roster.up, side).then_some(side)
}

/// A majority of all, where whom a node hears it takes for one that hears it.
pub fn hearing_is_being_heard(view: &View) -> Option<NodeSet> {
    let heard: NodeSet = view.reports.keys().copied().collect();
    majority(view.roster.up, heard).then_some(heard)
}

/// A majority of all, where whoever is heard through others is on the same side, as by the textbook's
/// search.
pub fn chains_are_sides(view: &View) -> Option<NodeSet> {
    let reach = view
        .reports
        .values()
        .fold(NodeSet::EMPTY, |all, hears| all.union(*hears));
    majority(view.roster.up, reach).then_some(reach)
}

/// A majority with a tie-break by the order of strings, as the textbook's names have it: "10" is less
/// than "2".
pub fn lowest_string(view: &View) -> Option<NodeSet> {
    let side = view.side()?;
    let members = view.roster.up;
    let first = members.iter().min_by_key(|node| node.0.to_string())?;
    let (ours, theirs) = (members.intersection(side), members.difference(side));
    (ours.len() > theirs.len() || ours.len() == theirs.len() && side.contains(first))
        .then_some(side)
}

/// The side that may ask for the lease at once.
pub fn first_turn(view: &View) -> Option<NodeSet> {
    let verdict = resolve(&Strategy::LeaseMajority, view);
    view.side()
        .filter(|_| verdict == Verdict::Contend(Turn::First))
}

/// A side that may ask for the lease at all.
pub fn any_turn(view: &View) -> Option<NodeSet> {
    let verdict = resolve(&Strategy::LeaseMajority, view);
    view.side()
        .filter(|_| matches!(verdict, Verdict::Contend(_)))
}

fn majority(members: NodeSet, side: NodeSet) -> bool {
    let (ours, theirs) = (members.intersection(side), members.difference(side));
    let is_lowest = members
        .iter()
        .next()
        .is_some_and(|lowest| side.contains(lowest));
    ours.len() > theirs.len() || ours.len() == theirs.len() && is_lowest
}

/// Every way to part `count` nodes into sides.
pub fn sides(count: usize) -> Vec<Vec<NodeSet>> {
    let mut all = vec![Vec::new()];
    for node in NodeSet::first(count) {
        let mut more = Vec::new();
        for parted in all {
            for place in 0..=parted.len() {
                let mut next: Vec<NodeSet> = parted.clone();
                if place == parted.len() {
                    next.push(NodeSet::EMPTY);
                }
                next[place].insert(node);
                more.push(next);
            }
        }
        all = more;
    }
    all
}

/// How a member that comes or goes is seen: one way by those who know of its last step, another by
/// those who do not yet.
#[derive(Clone, Copy)]
enum Stage {
    Unknown,
    Joining,
    Up,
    Leaving,
}

const STEPS: [[Stage; 2]; 4] = [
    [Stage::Unknown, Stage::Joining],
    [Stage::Joining, Stage::Up],
    [Stage::Up, Stage::Leaving],
    [Stage::Leaving, Stage::Unknown],
];

/// A member that comes or goes: the step that it takes, and which sides know.
type Change = (NodeId, [Stage; 2], u64);

fn roster(count: usize, changes: &[Change], side: usize) -> Roster {
    let mut roster = Roster {
        up: NodeSet::first(count),
        ..Roster::default()
    };
    for (node, step, knows) in changes {
        roster.up.remove(*node);
        match step[usize::from(knows >> side & 1 == 1)] {
            Stage::Unknown => {}
            Stage::Joining => _ = roster.joining.insert(*node),
            Stage::Up => _ = roster.up.insert(*node),
            Stage::Leaving => _ = roster.leaving.insert(*node),
        }
    }
    roster
}

/// The view of a side, which its members share; nothing, if none of them is a member as they see it.
fn view_of(side: NodeSet, roster: Roster) -> Option<View> {
    let here = side.intersection(roster.known());
    let reports: Map<NodeId, NodeSet> = here.iter().map(|node| (node, here)).collect();
    let me = here.iter().next()?;
    Some(View {
        me,
        roster,
        reports,
    })
}

/// Every set of up to `changes_max` changes of the members, with every way for `sides` to know of them.
fn changes(count: usize, sides: usize, changes_max: usize) -> Vec<Vec<Change>> {
    let mut all = vec![Vec::new()];
    for node in NodeSet::first(count) {
        let mut more = all.clone();
        for changes in all
            .iter()
            .filter(|changes: &&Vec<Change>| changes.len() < changes_max)
        {
            for step in STEPS {
                for knows in 0..1_u64 << sides {
                    let mut next = changes.clone();
                    next.push((node, step, knows));
                    more.push(next);
                }
            }
        }
        all = more;
    }
    all
}

/// Tries each rule on all views of a case.
fn tell(tallies: &mut [Tally], rules: &[Rule<'_>], views: &[View]) {
    let mut survivors = Vec::new();
    for (tally, rule) in tallies.iter_mut().zip(rules) {
        let goes_on = |view: &View| rule(view).map(|side| (view.me, side));
        survivors.clear();
        survivors.extend(views.iter().filter_map(goes_on));
        tally.count(&survivors);
    }
}

/// All ways to be cut into sides, with up to `changes_max` members that come or go. All members of a
/// side see the same, and one decides for all.
pub fn partitions(count: usize, changes_max: usize, rules: &[Rule<'_>]) -> Vec<Tally> {
    let mut tallies = vec![Tally::default(); rules.len()];
    for parted in sides(count) {
        for changes in changes(count, parted.len(), changes_max) {
            let views = (parted.iter().enumerate())
                .filter_map(|(at, side)| view_of(*side, roster(count, &changes, at)));
            let views: Vec<View> = views.collect();
            tell(&mut tallies, rules, &views);
        }
    }
    tallies
}

/// All ways for nodes to hear others: each pair both ways, one way, the other way, or not at all.
pub fn graphs(count: usize, rules: &[Rule<'_>]) -> Vec<Tally> {
    let all = NodeSet::first(count);
    let links: Vec<(NodeId, NodeId)> = (all.iter())
        .flat_map(|to| all.iter().map(move |from| (to, from)))
        .filter(|(to, from)| to != from)
        .collect();
    let roster = fixed(count);
    let mut tallies = vec![Tally::default(); rules.len()];
    for chosen in 0..1_u64 << links.len() {
        let mut hears: Vec<NodeSet> = all.iter().map(|node| NodeSet::from_iter([node])).collect();
        for (at, (to, from)) in links.iter().enumerate() {
            if chosen >> at & 1 == 1 {
                hears[place(*to)].insert(*from);
            }
        }
        let view = |me| View {
            me,
            roster,
            reports: (hears[place(me)].iter())
                .map(|node| (node, hears[place(node)]))
                .collect(),
        };
        let views: Vec<View> = all.iter().map(view).collect();
        tell(&mut tallies, rules, &views);
    }
    tallies
}

/// All pairs of ways to be cut into sides, where each node decides in the one or in the other. Where
/// there is one side only, nobody decides.
pub fn unsettled(count: usize, rules: &[Rule<'_>]) -> Vec<Tally> {
    let all = NodeSet::first(count);
    let roster = fixed(count);
    let ways: Vec<_> = (sides(count).into_iter())
        .filter(|parted| parted.len() > 1)
        .collect();
    let mut tallies = vec![Tally::default(); rules.len()];
    for before in &ways {
        for after in &ways {
            for late in 0..1_u64 << count {
                let view = |me: NodeId| {
                    let parted = if late >> me.0 & 1 == 1 { after } else { before };
                    let side = parted.iter().find(|side| side.contains(me))?;
                    let view = view_of(*side, roster)?;
                    Some(View { me, ..view })
                };
                let views: Vec<View> = all.iter().filter_map(view).collect();
                tell(&mut tallies, rules, &views);
            }
        }
    }
    tallies
}

/// Members that neither come nor go.
fn fixed(count: usize) -> Roster {
    Roster {
        up: NodeSet::first(count),
        ..Roster::default()
    }
}

/// The fewest members of which by this rule two sides go on, if of so many at most.
pub fn first(
    count_max: usize,
    rule: Rule<'_>,
    all: impl Fn(usize, &[Rule<'_>]) -> Vec<Tally>,
) -> Option<usize> {
    (1..=count_max).find(|count| all(*count, &[rule])[0].several > 0)
}

fn place(node: NodeId) -> usize {
    usize::try_from(node.0).unwrap_or(usize::MAX)
}
