//! The catalogue: every world and every flaw of every protocol, and what is claimed of each.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use quorate::machine::Machine;
use serde::Serialize;
use stateright::Model;

use crate::action::Action;
use crate::audit::audit;
use crate::engine::{
    Crew, Fired, Options, Outcome, Progress, Stop, Verdict, collision, search, search_with,
    unwatched,
};
use crate::erased::Erased;
use crate::ghost::Ghost;
use crate::promise::Kind;
use crate::simulate::{Walks, simulate};
use crate::world::World;
use crate::{
    backoff, batch, cache, cap, causal, clock, commit, database, detector, gossip, lease,
    membership, merkle, paxos_commit, pbft, raft, rebalance, register, service, singleton,
    split_brain, store, story, swim, sync,
};

mod reference;

pub use reference::{Count, Factors};

/// What is claimed of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// Every promise holds in every state, and this is how many there are.
    Holds {
        /// Distinct states.
        unique: usize,
        /// Transitions, and the initial state.
        generated: usize,
    },
    /// This promise falls, and `tests/stories/` has the story.
    Falls {
        /// Which.
        promise: &'static str,
        /// In how many steps, at least.
        steps: usize,
    },
}

/// How much of the world a check explores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// In every `cargo test`.
    Default,
    /// With `cargo model check --deep`, or `DEEP=1 cargo test`.
    Deep,
}

/// A world, and what is claimed of it. The world is made when it is needed.
pub struct Claimed<M: Machine, G: Ghost<M>> {
    make: Box<dyn Fn() -> World<M, G> + Send + Sync>,
    claim: Claim,
    depth: Depth,
}

impl<M: Machine, G: Ghost<M>> Claimed<M, G> {
    /// Claims that every promise of the world holds, in so many states and transitions.
    pub fn holds(
        unique: usize,
        generated: usize,
        make: impl Fn() -> World<M, G> + Send + Sync + 'static,
    ) -> Box<dyn Exhibit> {
        Self::boxed(Claim::Holds { unique, generated }, Depth::Default, make)
    }

    /// The same, of a world too large for every test run.
    pub fn holds_deep(
        unique: usize,
        generated: usize,
        make: impl Fn() -> World<M, G> + Send + Sync + 'static,
    ) -> Box<dyn Exhibit> {
        Self::boxed(Claim::Holds { unique, generated }, Depth::Deep, make)
    }

    /// Claims that `promise` falls in the world, in no fewer than so many steps.
    pub fn falls(
        promise: &'static str,
        steps: usize,
        make: impl Fn() -> World<M, G> + Send + Sync + 'static,
    ) -> Box<dyn Exhibit> {
        Self::boxed(Claim::Falls { promise, steps }, Depth::Default, make)
    }

    /// The same, where that takes more states than every test run can have.
    pub fn falls_deep(
        promise: &'static str,
        steps: usize,
        make: impl Fn() -> World<M, G> + Send + Sync + 'static,
    ) -> Box<dyn Exhibit> {
        Self::boxed(Claim::Falls { promise, steps }, Depth::Deep, make)
    }

    fn boxed(
        claim: Claim,
        depth: Depth,
        make: impl Fn() -> World<M, G> + Send + Sync + 'static,
    ) -> Box<dyn Exhibit> {
        Box::new(Self {
            make: Box::new(make),
            claim,
            depth,
        })
    }

    /// The world. Of a flaw, with the claimed promise alone.
    fn world(&self) -> World<M, G> {
        let world = (self.make)();
        match self.claim {
            Claim::Holds { .. } => world,
            Claim::Falls { promise, .. } => world.only(&[promise]),
        }
    }
}

/// What a check found, in numbers and words.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The world.
    pub world: String,
    /// What was claimed.
    pub claim: Claim,
    /// Distinct states.
    pub unique: usize,
    /// Transitions, and the initial state.
    pub generated: usize,
    /// Levels.
    pub depth: usize,
    /// Transitions across the boundary, not followed.
    pub cut_off: usize,
    /// Seconds.
    pub seconds: f64,
    /// How likely it is, at most, that two states were taken for one.
    pub collision: f64,
    /// What happened and changed something, and how often.
    pub coverage: Vec<Fired>,
    /// How many promises were checked.
    pub promises: usize,
    /// The verdict, in a word.
    pub verdict: String,
    /// The promise that fell or never came true.
    pub refuted: Option<&'static str>,
    /// The shortest story of it.
    pub story: Option<String>,
    /// What differs from the claim, if anything does.
    pub surprise: Option<String>,
}

/// How to explore.
#[derive(Clone, Debug, Default)]
pub struct How {
    /// When it stops is up to the claim.
    pub options: Options,
    /// Who explores.
    pub crew: Crew,
}

/// Is told how far an exploration is, and may stop it.
pub type Watch<'a> = dyn FnMut(&Progress) -> ControlFlow<()> + 'a;

/// What random walks met. It is never a proof.
#[derive(Clone, Debug)]
pub struct Simulated {
    /// How many walks there were.
    pub walks: usize,
    /// How many steps they took in all.
    pub steps: usize,
    /// Of each `sometimes`, whether a walk met an example.
    pub shown: Vec<(&'static str, bool)>,
    /// The promise that the last walk broke, and the story of it.
    pub broken: Option<(&'static str, String)>,
}

/// A world of any machine.
pub trait Exhibit: Send + Sync {
    /// Its name, unique within its protocol.
    fn name(&self) -> String;
    /// What it is, in a sentence.
    fn summary(&self) -> String;
    /// What is claimed of it.
    fn claim(&self) -> Claim;
    /// When it is checked.
    fn depth(&self) -> Depth;
    /// The names of its promises.
    fn promises(&self) -> Vec<&'static str>;
    /// Explores it, and compares what it finds with the claim.
    ///
    /// # Errors
    ///
    /// If there are other processes, and they cannot be reached or do not do the same.
    fn check(&self, how: &How, watch: &mut Watch<'_>) -> Result<Report, String>;
    /// Walks through it at random, with all its promises. `watch` is told how many walks there were,
    /// and may stop it.
    fn simulate(&self, walks: Walks, watch: &mut dyn FnMut(usize) -> ControlFlow<()>) -> Simulated;
    /// Explores it by stateright's own breadth-first search, as far as it gets, and compares as well.
    /// Where nodes are alike the count is not the claimed one, for stateright looks at every mirror
    /// image.
    fn check_by_stateright(&self) -> Report;
    /// Counts its states with and without its reductions, each time up to a budget.
    fn factors(&self, states_max: usize) -> Factors;
    /// The distinct states and transitions that stateright's own search finds, and those that ours
    /// does, with every mirror image of every state.
    fn reference(&self) -> [(usize, usize); 2];
    /// The distinct states, told apart by full equality, and the transitions.
    fn audit(&self) -> (usize, usize);
    /// The place of the counterexample in stateright's Explorer, after `#/steps/`.
    fn link(&self) -> Option<String>;
    /// Opens stateright's Explorer, and does not return.
    fn explore(&self, address: SocketAddr);
    /// The sequence diagram of the counterexample, as SVG.
    fn diagram(&self) -> Option<String>;
}

impl<M: Machine, G: Ghost<M>> Claimed<M, G> {
    fn options(&self, options: Options) -> Options {
        Options {
            stop: match self.claim {
                Claim::Holds { .. } => Stop::Never,
                Claim::Falls { .. } => Stop::AtViolation,
            },
            ..options
        }
    }

    fn counterexample(&self, world: &World<M, G>) -> Option<Vec<Action<M>>> {
        search(world, self.options(Options::default()), &mut unwatched).story
    }

    /// What differs from the claim: the verdict, the counts where they are comparable, or the steps.
    fn surprise(
        &self,
        verdict: &Verdict,
        counts: Option<(usize, usize)>,
        story: Option<&Vec<Action<M>>>,
    ) -> Option<String> {
        match (self.claim, verdict) {
            (Claim::Holds { unique, generated }, Verdict::Exhausted) => {
                let found = counts.filter(|found| *found != (unique, generated))?;
                Some(format!(
                    "claimed {unique} states and {generated} transitions, found {} and {}",
                    found.0, found.1
                ))
            }
            (Claim::Holds { .. }, Verdict::Bounded { cut_off, waiting }) => Some(format!(
                "a boundary cut {cut_off} transitions off, and {waiting} states were not expanded"
            )),
            (Claim::Holds { .. }, Verdict::Refuted { promise }) => {
                Some(format!("claimed to hold, but {promise:?} fell"))
            }
            (Claim::Falls { promise, steps }, Verdict::Refuted { .. }) => {
                let found = story.map_or(0, Vec::len);
                (found != steps).then(|| {
                    format!("claimed that {promise:?} falls in {steps} steps, found {found}")
                })
            }
            (Claim::Falls { promise, .. }, Verdict::Exhausted | Verdict::Bounded { .. }) => {
                Some(format!("claimed to refute {promise:?}, which held"))
            }
        }
    }
}

/// All that should have fired in a world that was explored, and did not; or did, against its word.
fn silence<M: Machine, G: Ghost<M>>(world: &World<M, G>, outcome: &Outcome<M>) -> Option<String> {
    if outcome.verdict != Verdict::Exhausted {
        return None;
    }
    let wrong = outcome.coverage.iter().filter_map(|Fired { what, times }| {
        match (*times, world.never.contains(&what.as_str())) {
            (0, false) => Some(format!("\"{what}\" never changed anything")),
            (0, true) | (_, false) => None,
            (times, true) => Some(format!("\"{what}\" happened {times} times")),
        }
    });
    let wrong: Vec<String> = wrong.collect();
    (!wrong.is_empty()).then(|| wrong.join(", "))
}

impl<M: Machine, G: Ghost<M>> Exhibit for Claimed<M, G> {
    fn name(&self) -> String {
        self.world().name().into()
    }

    fn summary(&self) -> String {
        self.world().summary().into()
    }

    fn claim(&self) -> Claim {
        self.claim
    }

    fn depth(&self) -> Depth {
        self.depth
    }

    fn promises(&self) -> Vec<&'static str> {
        let world = self.world();
        world
            .promises()
            .iter()
            .map(|promise| promise.name)
            .collect()
    }

    fn check(&self, how: &How, watch: &mut Watch<'_>) -> Result<Report, String> {
        let world = Arc::new(self.world());
        let outcome = search_with(&world, self.options(how.options), &how.crew, watch)?;
        let refuted = match outcome.verdict {
            Verdict::Refuted { promise } => Some(promise),
            Verdict::Exhausted | Verdict::Bounded { .. } => None,
        };
        let finding = (outcome.findings.iter()).find(|finding| Some(finding.promise) == refuted);
        let story = finding.and_then(|finding| {
            let path = outcome.story.as_ref()?;
            Some(story::page(
                &world,
                finding.promise,
                finding.kind,
                path,
                story::Source::Search,
            ))
        });
        Ok(Report {
            world: world.name().into(),
            claim: self.claim,
            unique: outcome.unique,
            generated: outcome.generated,
            depth: outcome.depth,
            cut_off: outcome.cut_off,
            seconds: outcome.elapsed.as_secs_f64(),
            collision: if how.options.exact {
                0.0
            } else {
                collision(outcome.unique)
            },
            coverage: outcome.coverage.clone(),
            promises: world.promises().len(),
            verdict: outcome.verdict.to_string(),
            refuted,
            story,
            surprise: self
                .surprise(
                    &outcome.verdict,
                    Some((outcome.unique, outcome.generated)),
                    outcome.story.as_ref(),
                )
                .or_else(|| silence(&world, &outcome)),
        })
    }

    fn simulate(&self, walks: Walks, watch: &mut dyn FnMut(usize) -> ControlFlow<()>) -> Simulated {
        let world = self.world();
        let met = simulate(&world, walks, watch);
        Simulated {
            walks: met.walks,
            steps: met.steps,
            shown: met.shown,
            broken: met.broken.map(|(promise, path)| {
                let kind = world.promises().iter().find(|p| p.name == promise);
                let kind = kind.map_or(Kind::Always, |promise| promise.kind);
                (
                    promise,
                    story::page(&world, promise, kind, &path, story::Source::Walk),
                )
            }),
        }
    }

    fn check_by_stateright(&self) -> Report {
        let world = self.world();
        let found = reference::by_stateright(self.world());
        let refuted = found.refuted.as_ref();
        let verdict = refuted.map_or(Verdict::Exhausted, |(promise, ..)| Verdict::Refuted {
            promise,
        });
        // stateright counts every mirror image.
        let counts = (!world.is_symmetric()).then_some((found.unique, found.generated));
        let surprise = self.surprise(&verdict, counts, refuted.map(|(.., story)| story));
        // It does not look at runs.
        let is_of_runs = world.promises().iter().any(|p| p.kind == Kind::Eventually);
        let surprise = surprise.filter(|_| refuted.is_some() || !is_of_runs);
        Report {
            world: world.name().into(),
            claim: self.claim,
            unique: found.unique,
            generated: found.generated,
            depth: found.depth,
            cut_off: 0,
            seconds: found.seconds,
            collision: collision(found.unique),
            coverage: Vec::new(),
            promises: world.promises().len(),
            verdict: verdict.to_string(),
            refuted: refuted.map(|(promise, ..)| *promise),
            story: refuted.map(|(promise, kind, path)| {
                story::page(&world, promise, *kind, path, story::Source::Search)
            }),
            surprise,
        }
    }

    fn factors(&self, states_max: usize) -> Factors {
        reference::factors(|| self.world(), states_max)
    }

    fn reference(&self) -> [(usize, usize); 2] {
        use stateright::Checker as _;
        let world = || self.world().asymmetric();
        let theirs = Erased::new(world()).checker().spawn_bfs().join();
        let ours = search(&world(), Options::default(), &mut unwatched);
        [
            (theirs.unique_state_count(), theirs.state_count()),
            (ours.unique, ours.generated),
        ]
    }

    fn audit(&self) -> (usize, usize) {
        let audit = audit(self.world());
        (audit.unique, audit.generated)
    }

    fn link(&self) -> Option<String> {
        let world = self.world();
        let path = self.counterexample(&world)?;
        Some(crate::path::link(&world, &path))
    }

    fn explore(&self, address: SocketAddr) {
        let _ = Erased::new(self.world()).checker().serve(address);
    }

    fn diagram(&self) -> Option<String> {
        let world = self.world();
        let path = self.counterexample(&world)?;
        Some(crate::diagram::svg(
            &world,
            &crate::path::replay(&world, &path),
        ))
    }
}

/// One protocol: its worlds, in which it holds, and the flaws and weakened worlds that refute it.
pub struct Protocol {
    /// The name of its module, in all three places.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub summary: &'static str,
    /// Where it holds.
    pub worlds: Vec<Box<dyn Exhibit>>,
    /// What breaks it.
    pub flaws: Vec<Box<dyn Exhibit>>,
}

impl Protocol {
    /// The world or the flaw of this name.
    pub fn exhibit(&self, name: &str) -> Option<&dyn Exhibit> {
        let mut all = self.worlds.iter().chain(&self.flaws);
        all.find(|exhibit| exhibit.name() == name)
            .map(|found| &**found)
    }
}

/// Every protocol, in the order in which they are best read.
pub fn protocols() -> Vec<Protocol> {
    vec![
        register::protocol(),
        raft::protocol(),
        pbft::protocol(),
        commit::protocol(),
        database::protocol(),
        rebalance::protocol(),
        paxos_commit::protocol(),
        cap::protocol(),
        store::protocol(),
        clock::protocol(),
        causal::protocol(),
        gossip::protocol(),
        merkle::protocol(),
        sync::protocol(),
        detector::protocol(),
        swim::protocol(),
        split_brain::protocol(),
        lease::protocol(),
        singleton::protocol(),
        membership::protocol(),
        service::protocol(),
        batch::protocol(),
        cache::protocol(),
        backoff::protocol(),
    ]
}

/// The protocol of this name.
pub fn protocol(name: &str) -> Option<Protocol> {
    protocols()
        .into_iter()
        .find(|protocol| protocol.name == name)
}
