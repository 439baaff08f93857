//! Split-brain prevention: of all views of up to five members no two let two sides go on; the machine
//! that makes views gives them the time that they need; and each promise falls when something is wrong.

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::data::{Map, NodeSet};
use quorate::machine::{Input, Machine, NodeId, Output, State, Step, boot, step};
use quorate::split_brain::{
    Alone, Answer, Call, Durable, Event, Message, Roster, SplitBrain, Stage, Stages, Standing,
    Strategy as Rules, Timer, Timing, Turn, Verdict, View, resolve,
};
use quorate_models::laws::{self, Move};
use quorate_models::split_brain::views::{self, Rule, Tally, by, first};
use quorate_models::split_brain::{ASIDE, GOES_ON, ONE_SIDE, REJOIN, TIMING};
use quorate_models::testing::{audits, holds, refutes};

#[test]
fn promises_hold_with_two_nodes_and_six_cuts() {
    holds("split_brain", "two", 100_593);
}

#[test]
fn promises_hold_with_two_nodes_and_a_crash() {
    holds("split_brain", "two-crash", 24_497);
}

#[test]
fn one_side_holds_with_the_least_margin_that_two_nodes_need() {
    holds("split_brain", "needed-margin", 146_003);
}

#[test]
fn promises_hold_with_three_nodes() {
    holds("split_brain", "three", 25_222);
}

#[test]
fn promises_hold_with_three_nodes_and_a_crash() {
    holds("split_brain", "three-crash", 161_092);
}

#[test]
fn promises_hold_with_three_nodes_and_two_cuts() {
    holds("split_brain", "three-two-cuts", 681_084);
}

#[test]
fn promises_hold_by_a_static_quorum() {
    holds("split_brain", "three-quorum", 25_222);
}

#[test]
fn promises_hold_by_seniority() {
    holds("split_brain", "three-oldest", 22_953);
}

#[test]
fn promises_hold_when_a_member_joins() {
    holds("split_brain", "joins", 0);
}

#[test]
fn promises_hold_when_a_member_leaves() {
    holds("split_brain", "leaves", 0);
}

#[test]
fn promises_hold_when_a_member_joins_and_one_crashes() {
    holds("split_brain", "joins-crash", 0);
}

#[test]
fn promises_hold_with_four_nodes() {
    holds("split_brain", "four", 481_224);
}

#[test]
fn one_side_falls_when_any_quorum_will_do() {
    refutes("split_brain", "any-quorum", ONE_SIDE);
}

#[test]
fn one_side_falls_when_whoever_is_not_heard_is_removed() {
    refutes("split_brain", "majority-of-the-heard", ONE_SIDE);
}

#[test]
fn one_side_falls_when_a_tie_is_not_decided() {
    refutes("split_brain", "tie-undecided", ONE_SIDE);
}

#[test]
fn one_side_falls_when_hearing_is_being_heard() {
    refutes("split_brain", "hearing-is-being-heard", ONE_SIDE);
}

#[test]
fn one_side_falls_without_the_margin() {
    refutes("split_brain", "no-margin", ONE_SIDE);
}

#[test]
fn one_side_falls_without_the_settling_time_and_the_margin() {
    refutes("split_brain", "no-settling", ONE_SIDE);
}

#[test]
fn one_side_falls_when_an_old_decision_is_carried_out() {
    refutes("split_brain", "old-decision", ONE_SIDE);
}

#[test]
fn one_side_falls_when_a_view_may_change_for_ever() {
    refutes("split_brain", "no-limit", ONE_SIDE);
}

#[test]
fn one_side_falls_when_the_margin_is_too_short() {
    refutes("split_brain", "short-margin", ONE_SIDE);
}

#[test]
fn one_side_falls_when_a_node_serves_as_it_boots() {
    refutes("split_brain", "serves-as-it-boots", ONE_SIDE);
}

#[test]
fn one_side_falls_when_who_is_admitted_counts_at_once() {
    refutes("split_brain", "counts-at-once", ONE_SIDE);
}

#[test]
fn one_side_falls_when_those_who_join_are_not_counted() {
    refutes("split_brain", "joining-uncounted", ONE_SIDE);
}

#[test]
fn one_side_falls_when_members_are_forgotten() {
    refutes("split_brain", "members-forgotten", ONE_SIDE);
}

#[test]
fn aside_is_aside_falls_when_it_is_a_status_and_nothing_more() {
    refutes("split_brain", "aside-serves", ASIDE);
}

#[test]
fn rejoin_falls_when_aside_is_for_good() {
    refutes("split_brain", "aside-for-good", REJOIN);
}

#[test]
fn rejoin_falls_when_heartbeats_go_to_the_heard() {
    refutes("split_brain", "beats-to-the-heard", REJOIN);
}

#[test]
fn a_side_goes_on_falls_when_nobody_stays() {
    refutes("split_brain", "nobody-stays", GOES_ON);
}

#[test]
fn small_worlds_have_the_same_states_under_full_equality_and_under_stateright() {
    audits("split_brain", "three-oldest");
}

/// The seniority is not the order of numbers.
fn strategies() -> Vec<(&'static str, Rules)> {
    let ages = || [2, 0, 4, 1, 3, 5].map(NodeId).to_vec();
    vec![
        ("quorum of 1", Rules::StaticQuorum(1)),
        ("quorum of 2", Rules::StaticQuorum(2)),
        ("quorum of 3", Rules::StaticQuorum(3)),
        ("majority", Rules::KeepMajority),
        ("oldest", Rules::KeepOldest(ages(), Alone::Stays)),
        (
            "oldest unless alone",
            Rules::KeepOldest(ages(), Alone::Leaves),
        ),
        ("none", Rules::DownAll),
    ]
}

/// In how many cases no side went on, by each strategy; in none did two.
fn without_survivor(
    cases: u64,
    all: impl Fn(&[Rule<'_>]) -> Vec<Tally>,
) -> Vec<(&'static str, u64)> {
    let strategies = strategies();
    let made: Vec<_> = (strategies.iter()).map(|(_, rules)| by(rules)).collect();
    let rules: Vec<Rule<'_>> = made.iter().map(|rule| rule as Rule<'_>).collect();
    let tallies = all(&rules);
    let names = strategies.iter().map(|(name, _)| *name);
    for (name, tally) in names.clone().zip(&tallies) {
        assert_eq!((tally.cases, tally.several), (cases, 0), "by {name}");
        assert_eq!(tally.none + tally.one, cases, "by {name}");
    }
    names.zip(tallies.iter().map(|tally| tally.none)).collect()
}

/// What is written in the second column is what [`Rules`] documents of each.
#[test]
fn of_all_partitions_of_five_members_one_side_goes_on_or_none_where_it_is_said() {
    let none = without_survivor(52, |rules| views::partitions(5, 0, rules));
    let expected = [
        ("quorum of 1", 52),         // There are more than 1.
        ("quorum of 2", 52),         // There are more than 3.
        ("quorum of 3", 26),         // No side has 3.
        ("majority", 26),            // Nor more than half, which is the same of five.
        ("oldest", 0),               // There is always the oldest.
        ("oldest unless alone", 14), // It is alone, and the other four are not together.
        ("none", 51),                // All but the whole.
    ];
    assert_eq!(none, expected);
}

#[test]
fn of_all_partitions_of_five_members_two_of_which_come_or_go_at_most_one_side_goes_on() {
    let none = without_survivor(877_612, |rules| views::partitions(5, 2, rules));
    let expected = [
        ("quorum of 1", 877_612),
        ("quorum of 2", 857_252),
        ("quorum of 3", 832_306),
        ("majority", 713_986),
        ("oldest", 162_128),
        ("oldest unless alone", 636_694),
        ("none", 874_831),
    ];
    assert_eq!(none, expected);
}

#[test]
fn of_all_partitions_of_fewer_members_at_most_one_side_goes_on() {
    for (count, changes, cases) in [(1, 1, 9), (2, 2, 370), (3, 3, 51_405), (4, 2, 74_095)] {
        without_survivor(cases, |rules| views::partitions(count, changes, rules));
    }
}

/// Each pair both ways, one way, the other way, or not at all.
#[test]
fn of_all_ways_for_five_nodes_to_hear_each_other_at_most_one_side_goes_on() {
    for (count, cases) in [(1, 1), (2, 4), (3, 64), (4, 4_096)] {
        without_survivor(cases, |rules| views::graphs(count, rules));
    }
    let none = without_survivor(1 << 20, |rules| views::graphs(5, rules));
    let expected = [
        ("quorum of 1", 1_048_576),
        ("quorum of 2", 1_048_576),
        ("quorum of 3", 1_045_905),
        ("majority", 1_045_905),
        ("oldest", 952_320),
        ("oldest unless alone", 1_029_765),
        ("none", 1_048_575),
    ];
    assert_eq!(none, expected);
}

#[test]
fn at_most_one_side_may_ask_first_for_a_lease() {
    for (changes, count) in [(2, 3), (2, 4), (1, 5)] {
        let rules: [Rule<'_>; 2] = [&views::first_turn, &views::any_turn];
        let tallies = views::partitions(count, changes, &rules);
        assert_eq!(tallies[0].several, 0, "of {count}");
        assert!(tallies[0].one > 0 && tallies[1].several > 0, "of {count}");
        assert_eq!(tallies[1].none, 0, "and every side may ask");
    }
}

/// The fewest members of which two sides go on: among all partitions, when one comes or goes, and in
/// all ways to hear.
fn falls_from(rule: Rule<'_>) -> [Option<usize>; 3] {
    [
        first(6, rule, |count, rules| views::partitions(count, 0, rules)),
        first(4, rule, |count, rules| views::partitions(count, 1, rules)),
        first(4, rule, views::graphs),
    ]
}

#[test]
fn a_wrong_resolver_keeps_two_sides_of_as_few_members_as_is_known() {
    let quorum = |size| falls_from(&views::unguarded(size));
    assert_eq!(falls_from(&views::half_or_more), [Some(2); 3]);
    assert_eq!(falls_from(&views::majority_of_the_heard), [Some(2); 3]);
    assert_eq!(
        quorum(1),
        [Some(2); 3],
        "a quorum of q without its guard: 2q"
    );
    assert_eq!(quorum(2), [Some(4); 3]);
    assert_eq!(quorum(3), [Some(6), None, None]);
    // Whoever counts the members that it sees falls when two do not see the same.
    let comers = [None, Some(2), None];
    assert_eq!(falls_from(&views::majority_as_seen), comers);
    let one_way = [None, Some(2), Some(2)];
    assert_eq!(falls_from(&views::hearing_is_being_heard), one_way);
    assert_eq!(falls_from(&views::chains_are_sides), one_way);
}

/// Nobody has settled yet: some decide by one way to be cut, and some by another.
#[test]
fn without_the_settling_time_most_strategies_keep_two_sides_of_three() {
    let strategies = strategies();
    let from = |rules: &Rules| first(4, &by(rules), views::unsettled);
    let found: Vec<_> = (strategies.iter())
        .map(|(name, rules)| (*name, from(rules)))
        .collect();
    let expected = [
        ("quorum of 1", None), // Of one member there are no two sides, of more it keeps none.
        ("quorum of 2", Some(3)),
        ("quorum of 3", Some(4)), // Of three it keeps the whole alone.
        ("majority", Some(3)),
        ("oldest", Some(3)),
        ("oldest unless alone", Some(3)),
        ("none", None),
    ];
    assert_eq!(found, expected);
}

fn set(nodes: &[u64]) -> NodeSet {
    nodes.iter().map(|node| NodeId(*node)).collect()
}

/// The view of the first of a side that hears itself and nobody else.
fn view(side: &[u64], roster: Roster) -> View {
    let hears = set(side);
    View {
        me: NodeId(side[0]),
        roster,
        reports: hears.iter().map(|node| (node, hears)).collect(),
    }
}

fn of(members: &[u64]) -> Roster {
    Roster {
        up: set(members),
        ..Roster::default()
    }
}

/// `[0]` and `[1, 2]`, of which 2 has joined, which 0 does not know yet.
#[test]
fn a_member_that_has_joined_on_one_side_only_may_not_decide() {
    let unknown = Roster {
        joining: set(&[2]),
        ..of(&[0, 1])
    };
    let alone = view(&[0], unknown);
    let others = view(&[1, 2], of(&[0, 1, 2]));
    assert!(views::majority_as_seen(&alone).is_some());
    assert!(views::majority_as_seen(&others).is_some());
    assert_eq!(resolve(&Rules::KeepMajority, &alone), Verdict::Leave);
    assert_eq!(resolve(&Rules::KeepMajority, &others), Verdict::Stay);
}

#[test]
fn the_lowest_member_has_the_lowest_number_and_not_the_first_string() {
    let (two, ten) = (view(&[2], of(&[2, 10])), view(&[10], of(&[2, 10])));
    assert_eq!(resolve(&Rules::KeepMajority, &two), Verdict::Stay);
    assert_eq!(resolve(&Rules::KeepMajority, &ten), Verdict::Leave);
    assert_eq!(views::lowest_string(&two), None);
    assert_eq!(
        views::lowest_string(&ten),
        Some(set(&[10])),
        "a node that goes by strings, among others that go by numbers, is a second side"
    );
}

/// 0 and 1 hear all but each other: neither is on a side, and the others go on.
#[test]
fn whoever_is_connected_to_some_only_through_others_leaves() {
    let hears = |node: u64| match node {
        0 => set(&[0, 2, 3, 4]),
        1 => set(&[1, 2, 3, 4]),
        _ => set(&[0, 1, 2, 3, 4]),
    };
    let verdict = |me: u64| {
        let heard = hears(me);
        let reports = heard.iter().map(|node| (node, hears(node.0)));
        let view = View {
            me: NodeId(me),
            roster: of(&[0, 1, 2, 3, 4]),
            reports: reports.collect(),
        };
        resolve(&Rules::KeepMajority, &view)
    };
    let leave_two = [Verdict::Leave, Verdict::Leave];
    assert_eq!([0, 1].map(verdict), leave_two);
    assert_eq!([2, 3, 4].map(verdict), [Verdict::Stay; 3]);
}

#[test]
fn a_majority_asks_first_for_a_lease_and_others_after_it() {
    let of_three = |side: &[u64]| resolve(&Rules::LeaseMajority, &view(side, of(&[0, 1, 2])));
    assert_eq!(of_three(&[1, 2]), Verdict::Contend(Turn::First));
    assert_eq!(of_three(&[0]), Verdict::Contend(Turn::Second));
}

#[test]
fn nobody_decides_when_too_many_come_and_go() {
    let joining = (1..10).map(NodeId).collect();
    let roster = Roster {
        joining,
        ..of(&[0])
    };
    let all: Vec<u64> = (0..10).collect();
    assert_eq!(
        resolve(&Rules::KeepMajority, &view(&all, roster)),
        Verdict::Leave
    );
}

#[test]
fn a_margin_is_sound_when_others_have_stepped_aside_before_it_is_over() {
    assert!(TIMING.is_sound());
    let margin_ms = TIMING.margin_ms - 1;
    assert!(
        !Timing {
            margin_ms,
            ..TIMING
        }
        .is_sound()
    );
    let settle_ms = TIMING.limit_ms;
    assert!(
        !Timing {
            settle_ms,
            ..TIMING
        }
        .is_sound()
    );
    let missing_ms = TIMING.beat_ms;
    assert!(
        !Timing {
            missing_ms,
            ..TIMING
        }
        .is_sound()
    );
}

/// The first so many are members, and nobody comes or goes.
fn ups(count: usize) -> Stages {
    let members = NodeSet::first(count).iter();
    members.map(|node| (node, Stage::Up)).collect()
}

/// One node, and what it told and sent last.
struct One {
    machine: SplitBrain,
    state: State<SplitBrain>,
    told: Vec<Event>,
}

impl One {
    fn new(me: u64, members: usize) -> Self {
        let machine = SplitBrain {
            me: NodeId(me),
            members: NodeSet::first(members),
            strategy: Rules::KeepMajority,
            timing: TIMING,
        };
        let Step { state, .. } = boot(&machine, Durable::default());
        let told = Vec::new();
        Self {
            machine,
            state,
            told,
        }
    }

    fn does(&mut self, input: Input<SplitBrain>) -> &mut Self {
        let Step { state, sealed } = step(&self.machine, self.state.clone(), input);
        self.state = state;
        let outputs = sealed.persist(|_| Ok::<(), ()>(())).expect("a disk");
        let told = outputs.into_iter().filter_map(|output| match output {
            Output::Event(event) => Some(event),
            Output::Send { .. } | Output::Arm(_) | Output::Disarm(_) => None,
        });
        self.told = told.collect();
        self
    }

    fn hears(&mut self, from: u64, hears: &[u64], stages: &Stages) -> &mut Self {
        let (from, hears, stages) = (NodeId(from), set(hears), stages.clone());
        let message = Message::Beat { hears, stages };
        self.does(Input::Message { from, message })
    }

    fn answers(&mut self, call: Call) -> Answer {
        let Some(Event::Answered { answer, .. }) = self.does(Input::Call(call)).told.pop() else {
            panic!("an answer");
        };
        answer
    }

    fn stage(&self, node: u64) -> Option<Stage> {
        self.state.durable.stages.get(&NodeId(node)).copied()
    }
}

#[test]
fn a_member_takes_a_step_when_all_have_said_that_they_know_of_the_one_before() {
    let (ticket, node) = (1, NodeId(2));
    let admit = Call::Admit { ticket, node };
    let mut one = One::new(0, 2);
    assert_eq!(one.answers(admit), Answer::NotNow, "it has heard nobody");
    one.hears(1, &[0, 1], &ups(2));
    assert_eq!(one.answers(admit), Answer::Begun);
    assert_eq!(one.stage(2), Some(Stage::Joining));
    assert_eq!(one.answers(admit), Answer::NotNow, "it is joining");
    let known = one.state.durable.stages.clone();
    one.hears(1, &[0, 1, 2], &known);
    assert_eq!(
        one.stage(2),
        Some(Stage::Joining),
        "it has not said so itself"
    );
    one.hears(2, &[0, 1, 2], &known);
    assert_eq!(one.stage(2), Some(Stage::Up));
    let retire = Call::Retire { ticket, node };
    assert_eq!(
        one.answers(retire),
        Answer::NotNow,
        "not all know that it is up"
    );
    let known = ups(3);
    one.hears(1, &[0, 1, 2], &known)
        .hears(2, &[0, 1, 2], &known);
    assert_eq!(one.answers(retire), Answer::Begun);
    let known = one.state.durable.stages.clone();
    one.hears(1, &[0, 1, 2], &known)
        .hears(2, &[0, 1, 2], &known);
    assert_eq!(one.stage(2), Some(Stage::Removed));
    assert_eq!(one.answers(admit), Answer::NotNow, "its number is used up");
}

#[test]
fn who_joins_serves_when_it_counts_and_who_left_does_not() {
    let mut stages = ups(2);
    stages.insert(NodeId(2), Stage::Joining);
    let mut joiner = One::new(2, 2);
    joiner.hears(1, &[0, 1], &ups(2));
    assert!(joiner.state.durable.stages.is_empty(), "it is not invited");
    joiner
        .hears(1, &[0, 1, 2], &stages)
        .hears(0, &[0, 1, 2], &stages);
    assert_eq!(joiner.stage(2), Some(Stage::Up), "all know, it last");
    joiner.does(Input::Timer(Timer::Settle));
    assert_eq!(joiner.told, [Event::Stands(Standing::Whole)]);
    stages.insert(NodeId(2), Stage::Removed);
    joiner.hears(1, &[0, 1], &stages);
    assert_eq!(joiner.told.last(), Some(&Event::Stands(Standing::Aside)));
    joiner.does(Input::Timer(Timer::Settle));
    assert_eq!(joiner.state.volatile.standing, Standing::Aside);
}

fn some_timer() -> impl Strategy<Value = Timer> {
    prop_oneof![
        Just(Timer::Beat),
        (0..4_u64).prop_map(|node| Timer::Missing(NodeId(node))),
        Just(Timer::Settle),
        Just(Timer::Limit),
        Just(Timer::TakeOver),
    ]
}

fn one_move() -> impl Strategy<Value = Move<SplitBrain>> {
    let stage = prop_oneof![
        Just(Stage::Joining),
        Just(Stage::Up),
        Just(Stage::Leaving),
        Just(Stage::Removed),
    ];
    let stages = vec((0..70_u64, stage), 0..3);
    let message = (0..5_u64, vec(0..64_u64, 0..4), stages).prop_map(|(from, hears, stages)| {
        let hears = hears.into_iter().map(NodeId).collect();
        let stages = stages
            .into_iter()
            .map(|(node, stage)| (NodeId(node), stage));
        let stages = stages.collect();
        Move::Input(Input::Message {
            from: NodeId(from),
            message: Message::Beat { hears, stages },
        })
    });
    let timely = (0..4_u64).prop_map(|from| {
        let hears = NodeSet::first(4);
        let stages = ups(4);
        Move::Input(Input::Message {
            from: NodeId(from),
            message: Message::Beat { hears, stages },
        })
    });
    let change = (any::<u64>(), 0..6_u64, any::<bool>()).prop_map(|(ticket, node, comes)| {
        let node = NodeId(node);
        Move::Input(Input::Call(if comes {
            Call::Admit { ticket, node }
        } else {
            Call::Retire { ticket, node }
        }))
    });
    prop_oneof![
        1 => any::<u64>()
            .prop_map(|ticket| Move::Input(Input::Call(Call::MayServe { ticket }))),
        2 => change,
        3 => message,
        6 => timely,
        8 => some_timer().prop_map(|timer| Move::Input(Input::Timer(timer))),
        1 => Just(Move::Restart),
    ]
}

fn some_rules() -> impl Strategy<Value = Rules> {
    let lease = ("lease", Rules::LeaseMajority);
    let all = strategies().into_iter().chain([lease]);
    prop::sample::select(all.map(|(_, rules)| rules).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn the_laws_of_every_machine_hold(
        me in 0..5_u64,
        strategy in some_rules(),
        moves in vec(one_move(), 0..80),
    ) {
        let machine = SplitBrain {
            me: NodeId(me),
            members: NodeSet::first(4),
            strategy,
            timing: TIMING,
        };
        laws::check(&machine, moves);
    }

    /// No view panics a resolver, however it came about.
    #[test]
    fn resolvers_bear_any_view(
        me in 0..8_u64,
        sets in vec(any::<u64>(), 3),
        reports in vec((0..8_u64, any::<u64>()), 0..8),
        strategy in some_rules(),
    ) {
        let bits = |bits: u64| (0..64).filter(|at| bits >> at & 1 == 1).map(NodeId).collect();
        let reports: Map<NodeId, NodeSet> = (reports.into_iter())
            .map(|(node, hears)| (NodeId(node), bits(hears)))
            .collect();
        let roster = Roster {
            up: bits(sets[0]),
            joining: bits(sets[1] & 0b11),
            leaving: bits(sets[2] & 0b1100),
        };
        let view = View { me: NodeId(me), roster, reports };
        let stays = resolve(&strategy, &view) != Verdict::Leave;
        prop_assert!(!stays || view.side().is_some_and(|side| side.contains(view.me)));
    }
}

/// The adapter draws from these.
#[test]
fn a_heartbeat_is_due_before_it_is_missed() {
    let machine = SplitBrain {
        me: NodeId(0),
        members: NodeSet::first(2),
        strategy: Rules::KeepMajority,
        timing: TIMING,
    };
    let missing = machine.delay(&Timer::Missing(NodeId(1)));
    assert!(machine.delay(&Timer::Beat).end <= missing.start);
}
