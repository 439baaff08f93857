//! SWIM: its promises hold, each falls when something is taken away, and its values are bounded.

use std::ops::Range;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::data::NodeSet;
use quorate::machine::{Input, Machine, NodeId, Output, Step, boot, step};
use quorate::swim::{
    Call, Durable, Event, MEMBERS_MAX, Message, Standing, Standings, Status, Swim, Timer,
};
use quorate_models::laws::{self, Move};
use quorate_models::swim::{
    ANSWERS, ASKED, COMPLETENESS, CONVERGE, FRESH, NEVER_BACK, NO_ZOMBIE, OWNER, REFUTES,
    mirror_obligations, obligations, obligations_with_a_crash, wrong_obligations,
};
use quorate_models::testing::{audits, discharges, holds, refutes};

#[test]
fn promises_hold_when_all_three_probe() {
    holds("swim", "all-three", 116_665);
}

#[test]
fn promises_hold_with_three_members() {
    holds("swim", "three", 185_449);
}

#[test]
fn promises_hold_when_one_of_three_probes_twice() {
    holds("swim", "twice", 402_442);
}

#[test]
fn promises_hold_with_three_members_and_one_cut() {
    holds("swim", "cut", 556_347);
}

#[test]
fn promises_hold_with_three_members_of_which_one_crashes_for_good() {
    holds("swim", "crash-stop", 208_021);
}

#[test]
fn promises_hold_with_three_members_of_which_any_crashes_and_restarts() {
    holds("swim", "crash", 46_161);
}

#[test]
fn promises_hold_when_two_of_three_probe_and_the_third_restarts() {
    holds("swim", "restart", 1_711_002);
}

#[test]
fn promises_hold_with_two_members_and_one_crash() {
    holds("swim", "two-crash", 21_396);
}

#[test]
fn promises_hold_with_two_members_that_probe_three_times() {
    holds("swim", "two", 66_734);
}

#[test]
fn promises_hold_when_a_third_member_joins() {
    holds("swim", "join", 1_076_122);
}

#[test]
fn promises_hold_when_one_of_three_leaves() {
    holds("swim", "leave", 1_708);
}

#[test]
fn promises_hold_when_members_mind_their_own_health() {
    holds("swim", "health", 5_658);
}

#[test]
fn standings_never_go_back_falls_when_equal_incarnations_are_believed() {
    refutes("swim", "equal-accepted", NEVER_BACK);
}

#[test]
fn no_zombie_falls_when_a_stale_alive_overrides_a_death() {
    refutes("swim", "dead-rises", NO_ZOMBIE);
}

#[test]
fn no_zombie_falls_when_the_dead_are_forgotten() {
    refutes("swim", "dead-forgotten", NO_ZOMBIE);
}

#[test]
fn only_its_owner_falls_when_anyone_raises_an_incarnation() {
    refutes("swim", "anyone-raises", OWNER);
}

#[test]
fn a_refutation_loses_when_it_counts_from_its_own_incarnation() {
    refutes("swim", "own-plus-one", REFUTES);
}

#[test]
fn two_runs_share_an_incarnation_when_nothing_is_kept() {
    refutes("swim", "nothing-kept", FRESH);
}

#[test]
fn two_runs_share_an_incarnation_when_the_disk_lies() {
    refutes("swim", "lying-disk", FRESH);
}

#[test]
fn others_are_asked_first_falls_when_one_missed_ping_is_enough() {
    refutes("swim", "nobody-asked", ASKED);
}

#[test]
fn strong_completeness_falls_when_a_suspicion_is_never_confirmed() {
    refutes("swim", "never-confirmed", COMPLETENESS);
}

#[test]
fn views_converge_falls_when_the_dead_are_not_greeted() {
    refutes("swim", "dead-not-greeted", CONVERGE);
}

#[test]
fn views_converge_falls_when_nobody_refutes() {
    refutes("swim", "no-refutation", CONVERGE);
}

#[test]
fn answers_fall_when_suspects_are_hidden() {
    refutes("swim", "suspects-hidden", ANSWERS);
}

#[test]
fn dead_messages_are_dead() {
    discharges(obligations());
    discharges(obligations_with_a_crash());
    let failure = wrong_obligations().expect_err("a wrong rule is found out");
    assert!(failure.contains("dead"), "{failure}");
}

#[test]
fn small_worlds_have_the_same_states_under_full_equality_and_under_stateright() {
    for world in ["crash", "leave"] {
        audits("swim", world);
    }
}

#[test]
fn members_that_are_alike_are_alike() {
    let one = mirror_obligations().unwrap_or_else(|failure| panic!("{failure}"));
    assert!(one.reduced < one.states, "something is gained: {one:?}");
}

fn member(me: u64, members: usize) -> Swim {
    Swim {
        me: NodeId(me),
        members: NodeSet::first(members),
        seeds: NodeSet::EMPTY,
        helpers: 2,
        news_max: 4,
        news_pings: 3,
        health_max: 2,
        period_ms: 1_000,
        suspicion_periods: 5,
        greeting_periods: 10,
    }
}

/// A lone member, and all that it has put out so far.
struct Alone {
    machine: Swim,
    state: quorate::machine::State<Swim>,
    outputs: Vec<Output<Swim>>,
}

impl Alone {
    fn new(machine: Swim) -> Self {
        let Step { state, sealed } = boot(&machine, Durable::default());
        let outputs = sealed.persist(|_| Ok::<(), ()>(())).expect("a disk");
        Self {
            machine,
            state,
            outputs,
        }
    }

    fn does(&mut self, input: Input<Swim>) -> &mut Self {
        let Step { state, sealed } = step(&self.machine, self.state.clone(), input);
        self.state = state;
        self.outputs = sealed.persist(|_| Ok::<(), ()>(())).expect("a disk");
        self
    }

    fn rings(&mut self, timer: Timer) -> &mut Self {
        self.does(Input::Timer(timer))
    }

    fn hears(&mut self, from: u64, message: Message) -> &mut Self {
        let from = NodeId(from);
        self.does(Input::Message { from, message })
    }

    fn sent(&self) -> Vec<(NodeId, Message)> {
        let sent = self.outputs.iter().filter_map(|output| match output {
            Output::Send { to, message } => Some((*to, message.clone())),
            Output::Arm(_) | Output::Disarm(_) | Output::Event(_) => None,
        });
        sent.collect()
    }

    fn standing(&self, node: u64) -> Option<Standing> {
        self.state.volatile.view.get(&NodeId(node)).copied()
    }
}

fn says(node: u64, standing: Standing) -> Message {
    let standings = [(NodeId(node), standing)].into_iter().collect();
    Message::Goodbye { standings }
}

fn probe(peer: u64) -> Timer {
    let peer = NodeId(peer);
    Timer::Probe { peer, health: 0 }
}

fn at(status: Status, incarnation: u64) -> Standing {
    Standing {
        incarnation,
        status,
    }
}

/// §4.2, as memberlist has it: a standing is overridden by one of a later incarnation, or by a worse one
/// of the same.
#[test]
fn of_two_standings_the_greater_is_believed_in_whatever_order() {
    let statuses = [Status::Alive, Status::Suspect, Status::Dead, Status::Left];
    let all = (0..3_u64).flat_map(|incarnation| statuses.map(|status| at(status, incarnation)));
    for first in all.clone() {
        for second in all.clone() {
            let mut alone = Alone::new(member(0, 2));
            alone.hears(1, says(1, first)).hears(1, says(1, second));
            assert_eq!(alone.standing(1), Some(first.max(second)));
        }
    }
}

/// §4.3: everyone has had its turn before anyone has a second one.
#[test]
fn everyone_is_pinged_once_before_anyone_is_pinged_twice() {
    let mut alone = Alone::new(member(0, 5));
    for round in 0..3_u64 {
        let mut pinged = NodeSet::EMPTY;
        for turn in 0..4_u64 {
            let armed: Vec<Timer> = (1..5).map(probe).collect();
            // Each round in another order.
            let peer = 1 + (turn * 3 + round) % 4;
            assert!(armed.contains(&probe(peer)));
            alone.rings(probe(peer));
            let [(to, Message::Ping { number, .. })] = &alone.sent()[..] else {
                panic!("{:?}", alone.sent());
            };
            assert!(pinged.insert(*to), "{to} had its turn in round {round}");
            let (target, origin, number) = (*to, NodeId(0), *number);
            let standings = Standings::new();
            let ack = Message::Ack {
                target,
                origin,
                number,
                standings,
            };
            alone.hears(to.0, ack);
            assert!(alone.state.volatile.probe.is_none());
            // Whose turn it was is not pinged at once again, even if an alarm says so.
            if turn < 3 {
                assert!(alone.rings(probe(peer)).sent().is_empty());
            }
        }
    }
}

#[test]
fn so_many_helpers_are_asked_and_others_from_probe_to_probe() {
    let mut alone = Alone::new(member(0, 6));
    let mut asked = NodeSet::EMPTY;
    for peer in [5, 4, 3, 2] {
        alone.rings(probe(peer));
        alone.rings(Timer::Direct { health: 0 });
        let helpers: NodeSet = alone.sent().iter().map(|(to, _)| *to).collect();
        assert_eq!(helpers.len(), 2);
        assert!(!helpers.contains(NodeId(peer)));
        asked = asked.union(helpers);
        let number = alone.state.volatile.number;
        let (target, origin, standings) = (NodeId(peer), NodeId(0), Standings::new());
        let ack = Message::Ack {
            target,
            origin,
            number,
            standings,
        };
        alone.hears(1, ack);
        assert!(
            alone.state.volatile.probe.is_none(),
            "an answer by a helper is one"
        );
    }
    assert!(asked.len() >= 4, "{asked}");
}

#[test]
fn a_request_is_relayed_once_and_so_is_its_answer() {
    let mut alone = Alone::new(member(0, 3));
    let (origin, target, number) = (NodeId(1), NodeId(2), 7);
    let standings = Standings::new();
    let request = Message::PingRequest {
        target,
        number,
        standings: standings.clone(),
    };
    let ack = Message::Ack {
        target,
        origin,
        number,
        standings,
    };
    let to_whom = |alone: &Alone| alone.sent().iter().map(|(to, _)| to.0).collect::<Vec<_>>();
    assert_eq!(to_whom(alone.hears(1, request.clone())), [2]);
    assert_eq!(to_whom(alone.hears(1, request)), [0_u64; 0]);
    assert_eq!(
        to_whom(alone.hears(1, ack.clone())),
        [0_u64; 0],
        "it is not the target's"
    );
    assert_eq!(to_whom(alone.hears(2, ack.clone())), [1]);
    assert_eq!(to_whom(alone.hears(2, ack)), [0_u64; 0]);
}

/// §4.1: bounded on each message, and bounded in how often.
#[test]
fn news_goes_out_on_so_many_pings_and_no_more() {
    let machine = Swim {
        news_max: 2,
        ..member(0, 8)
    };
    let mut alone = Alone::new(machine);
    for node in 5..8 {
        alone.hears(node, says(node, at(Status::Left, 0)));
    }
    let mut told = [0; 8];
    for turn in 0..12_u64 {
        alone.rings(probe(1 + turn % 4));
        let [
            (
                to,
                Message::Ping {
                    number, standings, ..
                },
            ),
        ] = &alone.sent()[..]
        else {
            panic!("{:?}", alone.sent());
        };
        let news: Vec<NodeId> = (standings.keys().copied())
            .filter(|node| 5 <= node.0)
            .collect();
        assert!(news.len() <= 2);
        for node in news {
            told[usize::try_from(node.0).expect("few")] += 1;
        }
        let (target, origin, number) = (*to, NodeId(0), *number);
        let standings = Standings::new();
        let ack = Message::Ack {
            target,
            origin,
            number,
            standings,
        };
        alone.hears(target.0, ack);
    }
    assert_eq!(told[5..], [3, 3, 3]);
    assert!(alone.state.volatile.news.is_empty());
}

/// Lifeguard §III.A: who is slow itself waits longer.
#[test]
fn local_health_stretches_the_alarms_and_comes_back() {
    let machine = member(0, 2);
    let of = |health| machine.delay(&Timer::Direct { health }).start;
    assert_eq!(of(2), of(0) * 3);
    let mut alone = Alone::new(machine.clone());
    for health in [1, 2, 2] {
        let before = alone.state.volatile.health;
        let peer = NodeId(1);
        alone.rings(Timer::Probe {
            peer,
            health: before,
        });
        alone.rings(Timer::Direct { health: before });
        assert_eq!(alone.state.volatile.health, health);
    }
    alone.rings(Timer::Probe {
        peer: NodeId(1),
        health: 2,
    });
    let number = alone.state.volatile.number;
    let (target, origin, standings) = (NodeId(1), NodeId(0), Standings::new());
    let ack = Message::Ack {
        target,
        origin,
        number,
        standings,
    };
    assert_eq!(alone.hears(1, ack).state.volatile.health, 1);
    let Range { start, .. } = machine.delay(&Timer::Suspicion { peer: NodeId(1) });
    assert_eq!(start, Duration::from_secs(5));
}

#[test]
fn nothing_is_greater_than_the_last_incarnation_and_nothing_panics() {
    let mut alone = Alone::new(member(0, 2));
    alone.hears(1, says(0, at(Status::Dead, u64::MAX)));
    assert_eq!(alone.standing(0), Some(Standing::alive(0)));
    alone.hears(1, says(0, at(Status::Dead, u64::MAX - 1)));
    assert_eq!(alone.standing(0), Some(Standing::alive(u64::MAX)));
}

/// A datagram has 1,200 bytes, of which a frame takes less than a tenth.
#[test]
fn a_whole_view_fits_a_datagram() {
    let standings: Standings = (0..MEMBERS_MAX)
        .map(|node| (NodeId(node), at(Status::Left, u64::MAX)))
        .collect();
    let held = Some(at(Status::Dead, u64::MAX));
    let (target, origin, number) = (NodeId(63), NodeId(62), u64::MAX);
    let view = Message::View {
        held,
        standings: standings.clone(),
    };
    let ack = Message::Ack {
        target,
        origin,
        number,
        standings,
    };
    for message in [view, ack] {
        let bytes = postcard::to_stdvec(&message).expect("it can be encoded");
        assert!(bytes.len() <= 1_100, "{} bytes", bytes.len());
    }
}

/// Who joins knows one seed, and learns the others from it.
#[test]
fn a_joiner_greets_its_seed_until_it_answers() {
    let machine = Swim {
        members: NodeSet::EMPTY,
        seeds: NodeSet::first(1),
        ..member(2, 0)
    };
    let mut alone = Alone::new(machine);
    let [(NodeId(0), Message::Greeting { held: None, .. })] = &alone.sent()[..] else {
        panic!("{:?}", alone.sent());
    };
    alone.rings(Timer::Greet { peer: NodeId(0) });
    assert_eq!(alone.sent().len(), 1, "again, for it may be lost");
    let standings = [(0, 3), (1, 4)].map(|(node, began)| (NodeId(node), Standing::alive(began)));
    let standings: Standings = standings.into_iter().collect();
    let held = None;
    alone.hears(0, Message::View { held, standings });
    assert_eq!(alone.standing(1), Some(Standing::alive(4)));
    alone.rings(Timer::Greet { peer: NodeId(0) });
    assert!(alone.sent().is_empty(), "it has answered");
}

#[test]
fn who_left_answers_and_asks_nothing() {
    let mut alone = Alone::new(member(0, 3));
    alone.does(Input::Call(Call::Leave { ticket: 5 }));
    let left = Output::Event(Event::Left { ticket: 5 });
    assert!(alone.outputs.contains(&left));
    assert_eq!(alone.sent().len(), 2, "a good-bye to each");
    for peer in [1, 2] {
        assert!(alone.outputs.contains(&Output::Disarm(probe(peer))));
    }
    alone.hears(1, says(0, at(Status::Dead, 9)));
    assert_eq!(alone.standing(0), Some(at(Status::Left, 0)));
    let (origin, number, standings) = (NodeId(1), 1, Standings::new());
    let ping = Message::Ping {
        origin,
        number,
        standings,
    };
    assert!(matches!(
        alone.hears(1, ping).sent()[..],
        [(NodeId(1), Message::Ack { .. })]
    ));
}

fn node() -> impl Strategy<Value = NodeId> {
    prop_oneof![8 => 0..4_u64, 1 => Just(64_u64), 1 => any::<u64>()].prop_map(NodeId)
}

fn standing() -> impl Strategy<Value = Standing> {
    let status = prop_oneof![
        Just(Status::Alive),
        Just(Status::Suspect),
        Just(Status::Dead),
        Just(Status::Left),
    ];
    let incarnation = prop_oneof![8 => 0..4_u64, 1 => Just(u64::MAX), 1 => any::<u64>()];
    (status, incarnation).prop_map(|(status, incarnation)| at(status, incarnation))
}

fn message() -> impl Strategy<Value = Message> {
    let standings = vec((node(), standing()), 0..5).prop_map(Standings::from_iter);
    let number = prop_oneof![4 => 0..4_u64, 1 => any::<u64>()];
    let held = proptest::option::of(standing());
    (standings, number, held, node(), node(), 0..6_u8).prop_map(
        |(standings, number, held, target, origin, kind)| match kind {
            0 => Message::Ping {
                origin,
                number,
                standings,
            },
            1 => Message::PingRequest {
                target,
                number,
                standings,
            },
            2 => Message::Ack {
                target,
                origin,
                number,
                standings,
            },
            3 => Message::Greeting { held, standings },
            4 => Message::View { held, standings },
            _ => Message::Goodbye { standings },
        },
    )
}

fn timer() -> impl Strategy<Value = Timer> {
    (node(), 0..3_u8, 0..5_u8).prop_map(|(peer, health, kind)| match kind {
        0 => Timer::Probe { peer, health },
        1 => Timer::Direct { health },
        2 => Timer::Indirect { health },
        3 => Timer::Suspicion { peer },
        _ => Timer::Greet { peer },
    })
}

fn one_move() -> impl Strategy<Value = Move<Swim>> {
    prop_oneof![
        1 => any::<u64>().prop_map(|ticket| Move::Input(Input::Call(Call::Members { ticket }))),
        1 => any::<u64>().prop_map(|ticket| Move::Input(Input::Call(Call::Leave { ticket }))),
        24 => (node(), message())
            .prop_map(|(from, message)| Move::Input(Input::Message { from, message })),
        16 => timer().prop_map(|timer| Move::Input(Input::Timer(timer))),
        1 => Just(Move::Restart),
    ]
}

proptest! {
    #[test]
    fn the_laws_of_every_machine_hold(
        me in 0..4_u64,
        members in 0..4_usize,
        seeds in 0..3_usize,
        moves in vec(one_move(), 0..80),
    ) {
        let machine = Swim { seeds: NodeSet::first(seeds), ..member(me, members) };
        laws::check(&machine, moves);
    }
}
