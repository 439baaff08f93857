//! Several workers, on one machine or on many: each owns the states whose fingerprints fall to it.
//!
//! Each worker is an engine of its own. It expands its states, keeps the successors that are its own,
//! and sends each of the others to its owner ([`super::link`]). A dataflow (the `timely` crate) carries
//! them and says when all of a level have arrived; then the workers tell each other how it went, and
//! all decide alike whether there is a next one. So levels are as strict as with one worker, the
//! counts are the same, and so are the verdict and the story.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use quorate::machine::Machine;
use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator as _;
use timely::dataflow::operators::{Input as _, Probe as _};
use timely::dataflow::{InputHandle, ProbeHandle};
use timely::worker::Worker;

use super::hosts::Hosts;
use super::link::{Definition, Listener, Teller};
use super::space::Space;
use super::{BATCH, Options, Outcome, Part, Progress, Search, Stop, name};
use crate::ghost::Ghost;
use crate::world::World;

/// Who searches.
#[derive(Clone, Debug)]
pub struct Crew {
    /// How many threads of this process.
    pub workers: usize,
    /// The processes, if there are several.
    pub hosts: Option<Hosts>,
}

impl Default for Crew {
    fn default() -> Self {
        Self {
            workers: 1,
            hosts: None,
        }
    }
}

/// How many states go together.
const PARCEL: usize = 4 * BATCH;
/// How long an idle worker waits for mail before it looks again.
const NAP: Duration = Duration::from_millis(1);
/// How often progress is shown.
const GLIMPSE: Duration = Duration::from_millis(100);

/// What one worker sends to another.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Mail {
    to: u64,
    from: usize,
    level: usize,
    body: Body,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Body {
    States(Parcel),
    /// How the level went.
    Level(Account),
    /// What the worker found in all.
    Done(Part),
}

/// States of the level, and the definitions of what is new in them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Parcel {
    definitions: Vec<Definition>,
    numbers: Vec<u32>,
    ends: Vec<u32>,
    prints: Vec<u64>,
    /// Under which fingerprint each is known.
    keys: Vec<u64>,
}

/// How a level went for one worker.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Account {
    /// States found at it.
    fresh: usize,
    /// A promise was broken.
    violated: bool,
    /// It stopped early.
    spent: bool,
}

/// What the threads of a process see of each other.
#[derive(Default)]
struct Board {
    unique: AtomicUsize,
    generated: AtomicUsize,
    depth: AtomicUsize,
    queue: AtomicUsize,
    /// Stop at the next opportunity.
    halt: AtomicBool,
}

/// As [`super::search`], with several workers.
///
/// # Errors
///
/// If other processes cannot be reached, or do not check the same world with the same build. If one
/// is lost later, this process ends with a message, and there is no outcome.
pub fn search_with<M: Machine, G: Ghost<M>>(
    world: &Arc<World<M, G>>,
    options: Options,
    crew: &Crew,
    watch: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Outcome<M>, String> {
    if crew.workers <= 1 && crew.hosts.is_none() {
        return Ok(super::search(world, options, watch));
    }
    let started = std::time::Instant::now();
    let (builders, others) = match &crew.hosts {
        None => timely::CommunicationConfig::Process(crew.workers.max(1)).try_build()?,
        Some(hosts) => hosts.connect(world.name(), crew.workers.max(1))?,
    };
    let board = Arc::new(Board::default());
    let (result, results) = mpsc::channel();
    let (job_world, job_board) = (Arc::clone(world), Arc::clone(&board));
    let guards = timely::execute::execute_from(
        builders,
        others,
        timely::WorkerConfig::default(),
        move |worker| {
            let found = Hand::new(&job_world, options, &job_board, worker).run(worker);
            // The receiver may have gone, with an error of its own.
            let _ = result.send(found);
        },
    )?;
    let found = loop {
        match results.recv_timeout(GLIMPSE) {
            Ok(found) => break found,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err("every worker stopped before it had a result".to_owned());
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let of = |number: &AtomicUsize| number.load(Ordering::Relaxed);
                let progress = Progress {
                    unique: of(&board.unique),
                    generated: of(&board.generated),
                    depth: of(&board.depth),
                    queue: of(&board.queue),
                    elapsed: started.elapsed(),
                };
                if watch(&progress).is_break() {
                    board.halt.store(true, Ordering::Relaxed);
                }
            }
        }
    };
    for worker in guards.join() {
        worker?;
    }
    let mut parts = found?.into_iter();
    let first = parts.next().ok_or("there are no workers")?;
    let whole = parts.fold(first, Part::join);
    Ok(whole.outcome(&mut Space::new(world), started.elapsed()))
}

/// One worker.
struct Hand<'w, M: Machine, G: Ghost<M>> {
    search: Search<'w, M, G>,
    me: usize,
    tellers: Vec<Teller>,
    listeners: Vec<Listener>,
    parcels: Vec<Parcel>,
    inbox: Rc<RefCell<VecDeque<Mail>>>,
    accounts: Vec<Account>,
    done: Vec<Part>,
    board: &'w Board,
    /// What of the search is on the board.
    shown: (usize, usize),
}

type Outgoing = InputHandle<u64, timely::container::CapacityContainerBuilder<Vec<Mail>>>;

impl<'w, M: Machine, G: Ghost<M>> Hand<'w, M, G> {
    fn new(world: &'w World<M, G>, options: Options, board: &'w Board, worker: &Worker) -> Self {
        let peers = worker.peers();
        // A budget is shared out.
        let states_max = options.states_max.map(|most| most.div_ceil(peers));
        let options = Options {
            states_max,
            ..options
        };
        let mut search = Search::new(world, options);
        let (initial, _) = search.space.row(&world.initial());
        Self {
            me: worker.index(),
            tellers: (0..peers)
                .map(|_| Teller::new(&search.space, &initial))
                .collect(),
            listeners: (0..peers).map(|_| Listener::default()).collect(),
            parcels: (0..peers).map(|_| Parcel::default()).collect(),
            inbox: Rc::default(),
            accounts: Vec::new(),
            done: Vec::new(),
            search,
            board,
            shown: (0, 0),
        }
    }

    /// What each worker found, or that they do not agree on what the world does.
    fn run(mut self, worker: &mut Worker) -> Result<Vec<Part>, String> {
        let mut input: Outgoing = InputHandle::new();
        let probe = ProbeHandle::new();
        let inbox = Rc::clone(&self.inbox);
        worker.dataflow(|scope| {
            let mail = scope.input_from(&mut input);
            let sink = mail.unary::<timely::container::CapacityContainerBuilder<Vec<()>>, _, _, _>(
                Exchange::new(|mail: &Mail| mail.to),
                "deliver",
                |_, _| {
                    move |input, _output| {
                        input.for_each(|_, data| inbox.borrow_mut().extend(data.drain(..)));
                    }
                },
            );
            sink.probe_with(&probe);
        });
        let found = self.levels(worker, &mut input, &probe);
        if found.is_err() {
            // The others wait for this worker, and must not wait for ever.
            self.board.halt.store(true, Ordering::Relaxed);
        }
        found
    }

    fn levels(
        &mut self,
        worker: &mut Worker,
        input: &mut Outgoing,
        probe: &ProbeHandle<u64>,
    ) -> Result<Vec<Part>, String> {
        let world = self.search.space.world;
        let (row, print) = self.search.space.row(&world.initial());
        self.search.batch.rows.push(&row, print);
        name(
            &self.search.space,
            &mut self.search.mirrors,
            &self.search.batch.rows,
            &mut self.search.keys,
        );
        if self.owner(self.search.keys[0]) == self.me {
            self.search.generated = 1;
            self.search.accept(0);
        }
        self.search.batch.rows.clear();
        self.search.turn();
        let mut spent = false;
        while self.go_on(worker, input, probe, spent)? {
            self.search.depth += 1;
            spent = self.expand(worker, input)?;
            self.settle(worker, input, probe)?;
            self.search.turn();
        }
        self.search.waiting += self.search.level.len();
        let part = self.search.part();
        self.tell_all(input, &Body::Done(part));
        self.settle(worker, input, probe)?;
        if self.done.len() < self.parcels.len() {
            return Err("another worker gave up".to_owned());
        }
        Ok(std::mem::take(&mut self.done))
    }

    /// Tells the others how the last level went, and hears it of them. True if there is a next one.
    fn go_on(
        &mut self,
        worker: &mut Worker,
        input: &mut Outgoing,
        probe: &ProbeHandle<u64>,
        spent: bool,
    ) -> Result<bool, String> {
        let account = Account {
            fresh: self.search.level.len(),
            violated: self.search.judge.violated,
            spent,
        };
        self.tell_all(input, &Body::Level(account));
        self.settle(worker, input, probe)?;
        let all = std::mem::take(&mut self.accounts);
        if all.len() < self.parcels.len() {
            return Err("another worker gave up".to_owned());
        }
        let stops = self.search.options.stop == Stop::AtViolation;
        Ok(all.iter().any(|account| 0 < account.fresh)
            && !all.iter().any(|account| account.spent)
            && !(stops && all.iter().any(|account| account.violated)))
    }

    fn owner(&self, key: u64) -> usize {
        let peers = self.parcels.len() as u64;
        // The upper bits choose the place in the table.
        usize::try_from((key & 0xffff_ffff) * peers >> 32).expect("there are few workers")
    }

    /// Expands the level. True if it was left before its end.
    fn expand(&mut self, worker: &mut Worker, input: &mut Outgoing) -> Result<bool, String> {
        for at in 0..self.search.level.len() {
            if self.search.is_spent() || self.board.halt.load(Ordering::Relaxed) {
                self.route(input);
                self.search.waiting += self.search.level.len() - at;
                return Ok(true);
            }
            let (row, print) = self.search.level.get(at);
            self.search.generated += self.search.space.expand(row, print, &mut self.search.batch);
            if self.search.batch.rows.len() >= BATCH && self.route(input) {
                self.show(self.search.level.len() - at);
                worker.step();
                self.receive()?;
            }
        }
        self.route(input);
        Ok(false)
    }

    /// Keeps what is this worker's own of the batch, and packs the rest. True if something was sent.
    fn route(&mut self, input: &mut Outgoing) -> bool {
        let search = &mut self.search;
        name(
            &search.space,
            &mut search.mirrors,
            &search.batch.rows,
            &mut search.keys,
        );
        search.glance();
        let mut sent = false;
        for at in 0..self.search.batch.rows.len() {
            let key = self.search.keys[at];
            let owner = self.owner(key);
            if owner == self.me {
                self.search.accept(at);
                continue;
            }
            let (row, print) = self.search.batch.rows.get(at);
            self.tellers[owner].define(&self.search.space, row);
            let parcel = &mut self.parcels[owner];
            parcel.numbers.extend_from_slice(row);
            let end = u32::try_from(parcel.numbers.len()).expect("a parcel is small");
            parcel.ends.push(end);
            parcel.prints.push(print);
            parcel.keys.push(key);
            if parcel.ends.len() >= PARCEL {
                self.send(input, owner);
                sent = true;
            }
        }
        self.search.batch.rows.clear();
        sent
    }

    fn send(&mut self, input: &mut Outgoing, to: usize) {
        let mut parcel = std::mem::take(&mut self.parcels[to]);
        parcel.definitions = std::mem::take(&mut self.tellers[to].definitions);
        input.send(Mail {
            to: to as u64,
            from: self.me,
            level: self.search.depth,
            body: Body::States(parcel),
        });
        input.flush();
    }

    fn tell_all(&mut self, input: &mut Outgoing, body: &Body) {
        for to in 0..self.parcels.len() as u64 {
            input.send(Mail {
                to,
                from: self.me,
                level: self.search.depth,
                body: body.clone(),
            });
        }
        input.flush();
    }

    /// Sends what is left, and waits until everybody has sent everything.
    fn settle(
        &mut self,
        worker: &mut Worker,
        input: &mut Outgoing,
        probe: &ProbeHandle<u64>,
    ) -> Result<(), String> {
        for to in 0..self.parcels.len() {
            if !self.parcels[to].ends.is_empty() {
                self.send(input, to);
            }
        }
        let next = *input.time() + 1;
        input.advance_to(next);
        input.flush();
        while probe.less_than(&next) {
            worker.step_or_park(Some(NAP));
            self.receive()?;
        }
        self.receive()
    }

    /// Takes in what arrived, less what belongs to a level that has not begun.
    fn receive(&mut self) -> Result<(), String> {
        let mut early = VecDeque::new();
        loop {
            let Some(mail) = self.inbox.borrow_mut().pop_front() else {
                break;
            };
            match mail.body {
                _ if mail.level > self.search.depth => early.push_back(mail),
                Body::States(parcel) => self.unpack(mail.from, &parcel)?,
                Body::Level(account) => self.accounts.push(account),
                Body::Done(part) => self.done.push(part),
            }
        }
        self.inbox.borrow_mut().extend(early);
        Ok(())
    }

    fn unpack(&mut self, from: usize, parcel: &Parcel) -> Result<(), String> {
        let search = &mut self.search;
        let listener = &mut self.listeners[from];
        let stranger = |_| {
            "two workers do not agree on what the world does: run the same build everywhere"
                .to_owned()
        };
        for definition in &parcel.definitions {
            listener
                .learn(&mut search.space, definition)
                .map_err(stranger)?;
        }
        let mut start = 0;
        search.keys.clear();
        for ((end, print), key) in parcel.ends.iter().zip(&parcel.prints).zip(&parcel.keys) {
            let end = *end as usize;
            let theirs = parcel.numbers.get(start..end).unwrap_or_default();
            let rows = &mut search.batch.rows;
            let begin = rows.numbers.len();
            listener
                .translate(search.space.places, theirs, &mut rows.numbers)
                .map_err(stranger)?;
            if search.space.print(&rows.numbers[begin..]) != *print {
                return Err(stranger(super::link::Stranger));
            }
            rows.ends.push(rows.numbers.len());
            rows.prints.push(*print);
            search.keys.push(*key);
            start = end;
        }
        search.glance();
        for at in 0..search.batch.rows.len() {
            search.accept(at);
        }
        search.batch.rows.clear();
        Ok(())
    }

    /// Says how far it is.
    fn show(&mut self, waiting: usize) {
        let (unique, generated) = (self.search.met.len(), self.search.generated);
        let add = |to: &AtomicUsize, more| to.fetch_add(more, Ordering::Relaxed);
        add(&self.board.unique, unique - self.shown.0);
        add(&self.board.generated, generated - self.shown.1);
        self.shown = (unique, generated);
        self.board.depth.store(self.search.depth, Ordering::Relaxed);
        let queue = (waiting + self.search.next.len()) * self.parcels.len();
        self.board.queue.store(queue, Ordering::Relaxed);
    }
}
