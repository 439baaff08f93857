//! What is claimed of [`quorate::split_brain`]: of the machine, here, in [`theatre`]s; of the resolvers
//! in [`views`], where all views are tried.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use quorate::data::NodeSet;
use quorate::machine::NodeId;
use quorate::split_brain::{
    Alone, Answer, Call, Durable, Event, SplitBrain, Stage, Standing, Strategy, Timing, Verdict,
    resolve,
};

use crate::action::Cut;
use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::flaw::Twin;
use crate::ghost::Ghost;
use crate::snapshot::Snapshot;
use crate::world::World;

mod flaws;
pub mod theatre;
pub mod views;

use flaws::{Flaw, Flawed};
use theatre::{Actor, Asked, Line, Scene, Theatre};

/// When a node has taken over, nobody outside its side serves.
pub const ONE_SIDE: &str = "one side";
/// Who has stepped aside does not serve.
pub const ASIDE: &str = "aside is aside";
/// When a cut stays, whoever is to take over does, and everybody else steps aside.
pub const GOES_ON: &str = "a side goes on";
/// When everybody hears everybody, everybody serves.
pub const REJOIN: &str = "rejoin";

/// How the nodes stand, as they told, and whether one that had stepped aside served.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Stands {
    standing: BTreeMap<NodeId, Standing>,
    aside_serves: bool,
    aside_refuses: bool,
    /// Somebody has begun to come or to go.
    has_changed: bool,
}

impl fmt::Debug for Stands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (node, standing) in &self.standing {
            let event = Event::Stands(*standing);
            write!(f, "{comma}{:?}", Line { node: *node, event })?;
            comma = "; ";
        }
        if self.standing.is_empty() {
            write!(f, "all are aside still, as they booted")?;
        }
        if self.aside_serves {
            write!(f, "; and one that is aside serves")?;
        }
        Ok(())
    }
}

impl Stands {
    /// True if whoever has taken over did so from nodes that do not serve.
    fn has_one_side(&self) -> bool {
        self.standing.values().all(|standing| match standing {
            Standing::TookOver(side) => (self.standing.iter())
                .all(|(node, other)| side.contains(*node) || *other == Standing::Aside),
            Standing::Whole | Standing::Unsure | Standing::Stays | Standing::Aside => true,
        })
    }

    fn some(&self, is: impl Fn(Standing) -> bool) -> bool {
        self.standing.values().any(|standing| is(*standing))
    }
}

impl<M: Twin<SplitBrain>> Ghost<Theatre<M>> for Stands {
    fn ticket(_: &Call) -> Option<u64> {
        None
    }

    fn finished(_: &Line) -> Option<u64> {
        None
    }

    fn on_event(&mut self, _: NodeId, Line { node, event }: &Line) {
        match event {
            Event::Stands(standing) => {
                self.standing.insert(*node, *standing);
            }
            Event::Answered { answer, .. } => {
                let is_aside = self.standing.get(node) == Some(&Standing::Aside);
                self.aside_serves |= is_aside && *answer == Answer::Serve;
                self.aside_refuses |= is_aside && *answer == Answer::Refuse;
                self.has_changed |= *answer == Answer::Begun;
            }
        }
    }
}

/// Promises and worlds are stated for the right machine and for its flawed twins alike.
type Model<M> = World<Theatre<M>, Stands>;

/// In milliseconds, of which each is a tick. It is sound, with the least margin that is.
pub const TIMING: Timing = Timing {
    beat_ms: 1,
    missing_ms: 2,
    settle_ms: 2,
    limit_ms: 3,
    margin_ms: 7,
};

/// The least margin that two nodes need on a stage: less than is sound by a beat, for all heartbeats on
/// it are sent at once, and by what is less than a tick.
const NEEDED_MS: u64 = 5;

/// How many alarms ring in the calm before a cut is healed, at the least.
const UNHEALED: u32 = 40;
/// How many ring until it is healed and everybody is back.
const HEALED: u32 = 120;

/// The bounds of a world.
struct Bounds {
    nodes: usize,
    strategy: Strategy,
    cuts: Vec<Cut>,
    cuts_max: u32,
    crashes_max: u32,
    timing: Timing,
    /// The members at first, if not all nodes are.
    members: NodeSet,
    changes: Vec<Asked>,
}

fn bounds(nodes: usize, strategy: Strategy, cuts_max: u32) -> Bounds {
    let count = u64::try_from(nodes).expect("a few");
    Bounds {
        nodes,
        strategy,
        cuts: Cut::all(count),
        cuts_max,
        crashes_max: 0,
        timing: TIMING,
        members: NodeSet::first(nodes),
        changes: Vec::new(),
    }
}

/// The last of the nodes joins, or leaves, and of the first but one that is asked.
fn changing(nodes: usize, stage: Stage) -> Bounds {
    let last = NodeId(u64::try_from(nodes).expect("a few") - 1);
    let mut members = NodeSet::first(nodes);
    if stage == Stage::Joining {
        members.remove(last);
    }
    let asked = Asked {
        of: NodeId(1),
        node: last,
        stage,
    };
    Bounds {
        members,
        changes: vec![asked],
        ..majority(nodes)
    }
}

impl Bounds {
    /// So many crashes, of any nodes.
    fn crashing(self, crashes_max: u32) -> Self {
        Self {
            crashes_max,
            ..self
        }
    }
}

/// A world in which everything is promised.
fn world<M: Twin<SplitBrain>>(
    name: &str,
    bounds: Bounds,
    make: impl Fn(SplitBrain) -> M,
) -> Model<M> {
    let Bounds {
        nodes,
        strategy,
        cuts,
        cuts_max,
        crashes_max,
        timing,
        members,
        changes,
    } = bounds;
    let is_changing = !changes.is_empty();
    let node = |me| {
        make(SplitBrain {
            me,
            members,
            strategy: strategy.clone(),
            timing,
        })
    };
    let theatre = Theatre {
        actors: NodeSet::first(nodes).iter().map(node).collect(),
        cuts,
        cuts_max,
        crashes_max,
        changes,
    };
    let stage = theatre.clone();
    let world = World::new(name, vec![theatre], Stands::default())
        .always_told(ONE_SIDE, |told| told.ghost.has_one_side())
        .always_told(ASIDE, |told| !told.ghost.aside_serves)
        .recovers(GOES_ON, UNHEALED, move |snapshot| {
            scene(snapshot).is_some_and(|scene| is_as_settled(&stage, &strategy, scene))
        })
        .recovers(REJOIN, HEALED, |snapshot| {
            scene(snapshot).is_some_and(|scene| scene.cut.is_none() && is_rejoined(scene))
        })
        .sometimes_told("a side has taken over", |told| {
            told.ghost
                .some(|standing| matches!(standing, Standing::TookOver(_)))
        })
        .sometimes_told("one that is aside is asked, and refuses", |told| {
            told.ghost.aside_refuses
        })
        .sometimes_told("everybody serves", |told| {
            !told.ghost.standing.is_empty() && !told.ghost.some(|one| one != Standing::Whole)
        });
    if !is_changing {
        return world;
    }
    // Which side is to go on depends on who has heard of the change.
    (world.except(GOES_ON))
        .sometimes_told("somebody comes or goes", |told| told.ghost.has_changed)
        .sometimes("two nodes know different members", |snapshot| {
            let scene = scene(snapshot);
            let known = scene.into_iter().flat_map(|scene| &scene.actors);
            let known: BTreeSet<&Durable> = known.map(|actor| &actor.durable).collect();
            known.len() > 1
        })
}

/// Goal of *rejoin*: all members know who they are, and serve, and nobody else does.
fn is_rejoined(scene: &Scene) -> bool {
    let Some(first) = scene.actors.first() else {
        return false;
    };
    let roster = first.durable.roster();
    let is_settled = roster.joining.is_empty() && roster.leaving.is_empty();
    let is_right = |(node, actor): (NodeId, &Actor)| {
        if roster.up.contains(node) {
            actor.volatile.standing == Standing::Whole && actor.durable == first.durable
        } else {
            actor.volatile.standing == Standing::Aside
        }
    };
    is_settled && (0..).map(NodeId).zip(&scene.actors).all(is_right)
}

fn scene<M: Twin<SplitBrain>>(snapshot: &Snapshot<Theatre<M>, Stands>) -> Option<&Scene> {
    Some(&snapshot.nodes[0].up()?.volatile)
}

/// Goal of *a side goes on*: every node stands as the right resolver has it by how links are now.
fn is_as_settled<M: Twin<SplitBrain>>(
    theatre: &Theatre<M>,
    strategy: &Strategy,
    scene: &Scene,
) -> bool {
    (0..).map(NodeId).zip(&scene.actors).all(|(node, actor)| {
        let view = theatre.settled_view(scene, node);
        let expected = match (view.is_whole(), resolve(strategy, &view), view.side()) {
            (true, ..) => Standing::Whole,
            (false, Verdict::Stay, Some(side)) => Standing::TookOver(side),
            (false, ..) => Standing::Aside,
        };
        actor.volatile.standing == expected
    })
}

/// Split-brain prevention, its worlds and its flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "split_brain",
        summary: "split-brain prevention: each node decides alone which side of a cut goes on",
        worlds: worlds(),
        flaws: flaws(),
    }
}

fn right(name: &str, bounds: Bounds) -> Model<SplitBrain> {
    world(name, bounds, |right| right)
}

fn worlds() -> Vec<Box<dyn Exhibit>> {
    let oldest = || {
        let seniority = [2, 0, 1].map(NodeId).to_vec();
        Strategy::KeepOldest(seniority, Alone::Stays)
    };
    vec![
        Claimed::holds(100_593, 554_260, || {
            right("two", bounds(2, Strategy::KeepMajority, 6))
                .says("two nodes, of which the lower is kept; six cuts of any shape")
        }),
        Claimed::holds(24_497, 131_862, || {
            right(
                "two-crash",
                bounds(2, Strategy::KeepMajority, 2).crashing(1),
            )
            .says("the same, and one crash")
        }),
        Claimed::holds(146_003, 819_508, || {
            // What comes after is promised in the others, which are smaller.
            right("needed-margin", with_margin(NEEDED_MS))
                .except(GOES_ON)
                .except(REJOIN)
                .says("two nodes, with the least margin that they need; eight cuts of any shape")
        }),
        Claimed::holds(25_222, 134_292, || {
            right("three", bounds(3, Strategy::KeepMajority, 1))
                .says("three nodes, of which a majority is kept; one cut of any shape")
        }),
        Claimed::holds_deep(161_092, 970_440, || {
            right(
                "three-crash",
                bounds(3, Strategy::KeepMajority, 1).crashing(1),
            )
            .says("the same, and one crash")
        }),
        Claimed::holds_deep(681_084, 4_347_201, || {
            right("three-two-cuts", bounds(3, Strategy::KeepMajority, 2))
                .says("three nodes, of which a majority is kept; two cuts of any shape")
        }),
        Claimed::holds(25_222, 134_292, || {
            right("three-quorum", bounds(3, Strategy::StaticQuorum(2), 1))
                .says("three nodes, of which two are a quorum; one cut of any shape")
        }),
        Claimed::holds(22_953, 124_190, move || {
            right("three-oldest", bounds(3, oldest(), 1)).says(
                "three nodes, of which the oldest is kept, alone or not; one cut of any shape",
            )
        }),
        Claimed::holds(0, 0, || {
            right("joins", changing(3, Stage::Joining))
                .says("two members, and a third that joins by the second; one cut of any shape")
        }),
        Claimed::holds(0, 0, || {
            right("leaves", changing(3, Stage::Leaving))
                .says("three members, of which the third leaves; one cut of any shape")
        }),
        Claimed::holds_deep(0, 0, || {
            right("joins-crash", changing(3, Stage::Joining).crashing(1)).says(
                "two members, and a third that joins by the second; one cut of any shape, and one \
                 crash",
            )
        }),
        Claimed::holds_deep(481_224, 3_386_917, || {
            right("four", bounds(4, Strategy::KeepMajority, 1))
                .says("four nodes, of which a majority is kept; one cut of any shape")
        }),
    ]
}

fn flawed(flaw: Flaw, name: &str, bounds: Bounds) -> Model<Flawed> {
    world(name, bounds, move |right| Flawed { right, flaw })
}

/// Two nodes with such a margin, and all the cuts that the shortest story needs, and more.
fn with_margin(margin_ms: u64) -> Bounds {
    Bounds {
        timing: Timing {
            margin_ms,
            ..TIMING
        },
        cuts_max: 8,
        ..majority(2)
    }
}

fn majority(nodes: usize) -> Bounds {
    bounds(nodes, Strategy::KeepMajority, 1)
}

fn flaws() -> Vec<Box<dyn Exhibit>> {
    let all = [of_sides(), of_time(), of_standing(), of_members()];
    all.into_iter().flatten().collect()
}

/// What is wrong with how sides are told apart.
fn of_sides() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(ONE_SIDE, 13, || {
            let halves = Bounds {
                cuts: vec![Cut::Split(NodeSet::first(2))],
                ..majority(4)
            };
            flawed(Flaw::AnyQuorum, "any-quorum", halves)
                .says("a quorum is what is configured: two of four, as the textbook allows")
        }),
        Claimed::falls(ONE_SIDE, 13, || {
            let flaw = Flaw::MajorityOfTheHeard;
            flawed(flaw, "majority-of-the-heard", majority(3)).says(
                "a majority is counted of those that are heard, the others being taken for removed",
            )
        }),
        Claimed::falls(ONE_SIDE, 12, || {
            flawed(Flaw::TieUndecided, "tie-undecided", majority(2))
                .says("of two halves neither is told to stop")
        }),
        Claimed::falls(ONE_SIDE, 13, || {
            let flaw = Flaw::HearingIsBeingHeard;
            flawed(flaw, "hearing-is-being-heard", majority(3))
                .says("whom a node hears it takes for one that hears it, as the textbook does")
        }),
        Claimed::falls(GOES_ON, 1, || {
            flawed(Flaw::NobodyStays, "nobody-stays", majority(3)).says(
                "whoever misses somebody steps aside, though a majority is together, as of two that \
                 shoot each other",
            )
        }),
    ]
}

/// What is wrong with how members come and go.
fn of_members() -> Vec<Box<dyn Exhibit>> {
    let joins = || changing(3, Stage::Joining);
    vec![
        Claimed::falls(ONE_SIDE, 0, move || {
            flawed(Flaw::CountsAtOnce, "counts-at-once", joins()).says(
                "whoever is admitted counts at once, at the node that admits it, though others have \
                 not heard of it",
            )
        }),
        Claimed::falls(ONE_SIDE, 0, move || {
            flawed(Flaw::JoiningUncounted, "joining-uncounted", joins()).says(
                "a node that has not heard that a member is up counts without it, though others may \
                 count with it",
            )
        }),
        Claimed::falls(ONE_SIDE, 0, move || {
            flawed(Flaw::MembersForgotten, "members-forgotten", joins().crashing(1)).says(
                "who the members are is not on the disk: a node that restarts counts by what it was \
                 started with",
            )
        }),
    ]
}

/// What is wrong with how long is waited.
fn of_time() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(ONE_SIDE, 9, || {
            flawed(Flaw::NoMargin, "no-margin", majority(2)).says("who stays takes over at once")
        }),
        Claimed::falls(ONE_SIDE, 8, || {
            let moving = Bounds {
                cuts_max: 2,
                ..majority(3)
            };
            flawed(Flaw::NoSettling, "no-settling", moving)
                .says("a node decides at once and takes over at once, as the textbook does")
        }),
        Claimed::falls(ONE_SIDE, 14, || {
            let flaw = Flaw::OldDecision;
            flawed(flaw, "old-decision", Bounds { cuts_max: 2, ..majority(2) })
                .says("who has decided to stay takes over when the margin is over, whatever happens meanwhile")
        }),
        Claimed::falls(ONE_SIDE, 23, || {
            let timing = Timing {
                settle_ms: 4,
                limit_ms: 5,
                ..TIMING
            };
            let flapping = Bounds {
                cuts: vec![
                    Cut::Mute(NodeSet::from_iter([NodeId(1)])),
                    Cut::Isolate(NodeId(1)),
                ],
                cuts_max: 6,
                timing,
                ..majority(2)
            };
            flawed(Flaw::NoLimit, "no-limit", flapping)
                .says("a node whose view goes on changing goes on serving")
        }),
        Claimed::falls(ONE_SIDE, 17, || {
            right("short-margin", with_margin(NEEDED_MS - 1))
                .says("the margin is shorter than others may take to step aside")
        }),
    ]
}

/// What is wrong with what follows from it.
fn of_standing() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(ONE_SIDE, 13, || {
            let flaw = Flaw::ServesAsItBoots;
            flawed(flaw, "serves-as-it-boots", majority(2).crashing(1))
                .says("a node that restarts serves until it has looked")
        }),
        Claimed::falls(ASIDE, 10, || {
            flawed(Flaw::AsideServes, "aside-serves", majority(2))
                .says("to be aside is a status that nobody asks for, as in the textbook")
        }),
        Claimed::falls(REJOIN, 2, || {
            flawed(Flaw::AsideForGood, "aside-for-good", majority(2))
                .says("who has stepped aside is not brought back, as in the textbook")
        }),
        Claimed::falls(REJOIN, 1, || {
            flawed(Flaw::BeatsToTheHeard, "beats-to-the-heard", majority(2)).says(
                "heartbeats go to those that are heard, so that two who have lost each other never \
                 meet again",
            )
        }),
    ]
}
