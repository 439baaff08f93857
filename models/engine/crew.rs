//! Several workers, on one machine or on many.
//!
//! Each worker is an engine of its own, and each *fingerprint* has an owner among them. Whoever comes
//! upon a state asks its owner whether it is new, with eight bytes, and if it is, keeps the state and
//! expands it in its turn. So states stay where they were found, near their siblings, which are made
//! of the same parts, and what each worker knows of those parts is in its own cache. Rows travel only
//! to make levels even ([`super::link`]), or with [`Options::exact`], where the owner keeps them.
//!
//! A dataflow (the `timely` crate) carries the questions and says when all of a level were asked and
//! answered. Then the workers tell each other how it went, and all decide alike whether there is a next
//! one. So levels are as strict as with one worker, the counts are the same, and so are the verdict
//! and the story.

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

use super::contents::Subject;
use super::hosts::Hosts;
use super::link::{Definition, Listener, Stranger, Teller};
use super::space::{Row, Sink, Space};
use super::{BATCH, Found, Options, Outcome, Part, Progress, Rows, Search, Stop};
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

/// How many questions go together.
const PARCEL: usize = 4 * BATCH;
/// A level is made even if somebody has this part more than its share, and more than this many.
const UNEVEN: usize = 16;
const UNEVEN_MIN: usize = 64;
/// How long an idle worker waits for mail before it looks again.
const NAP: Duration = Duration::from_millis(1);
/// How often progress is shown.
const GLIMPSE: Duration = Duration::from_millis(100);

/// What one worker sends to another.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Mail {
    to: u64,
    from: usize,
    body: Body,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Body {
    /// Which of these are new? With whole states, if those are kept.
    Ask(Vec<u64>, Option<Parcel>),
    /// Of what was asked first and not yet answered: a bit for each, set if it is new.
    Answer(Vec<u64>),
    /// States to expand.
    States(Parcel),
    /// How the level went.
    Level(Account),
    /// What the worker found in all.
    Done(Part),
}

/// States, and the definitions of what is new in them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Parcel {
    definitions: Vec<Definition>,
    numbers: Vec<u32>,
    ends: Vec<u32>,
    prints: Vec<u64>,
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

impl Parcel {
    fn push(&mut self, row: &Row, print: u64) {
        self.numbers.extend_from_slice(row);
        let end = u32::try_from(self.numbers.len()).expect("a parcel is small");
        self.ends.push(end);
        self.prints.push(print);
    }
}

fn disagree() -> String {
    "two workers do not agree on what the world does: run the same build everywhere".to_owned()
}

/// Who gives how many states to whom, so that all have about as many. Nothing if they are about even.
fn transfers(counts: &[usize]) -> Vec<(usize, usize, usize)> {
    let total: usize = counts.iter().sum();
    let share = total.div_ceil(counts.len());
    let most = counts.iter().copied().max().unwrap_or(0);
    if most <= share + (share / UNEVEN).max(UNEVEN_MIN) {
        return Vec::new();
    }
    let mut transfers = Vec::new();
    let mut takers = counts
        .iter()
        .map(|count| share.saturating_sub(*count))
        .enumerate();
    let (mut to, mut room) = takers.next().unwrap_or((0, 0));
    for (from, count) in counts.iter().enumerate() {
        let mut surplus = count.saturating_sub(share);
        while 0 < surplus {
            while room == 0 {
                let Some(next) = takers.next() else {
                    return transfers;
                };
                (to, room) = next;
            }
            let moved = surplus.min(room);
            transfers.push((from, to, moved));
            surplus -= moved;
            room -= moved;
        }
    }
    transfers
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
    /// A worker of this process is gone before its time.
    lost: AtomicBool,
}

/// Says so if a worker panics: the others would wait for it for ever.
struct Watchman<'b>(&'b Board);

impl Drop for Watchman<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lost.store(true, Ordering::Relaxed);
        }
    }
}

/// As [`super::search`], with several workers.
///
/// # Errors
///
/// If states waited on disk and could not be read; if other processes cannot be reached, or do not
/// check the same world with the same build. If one is lost later, this process ends with a message,
/// and there is no outcome.
pub fn search_with<M: Machine, G: Ghost<M>>(
    world: &Arc<World<M, G>>,
    options: Options,
    crew: &Crew,
    watch: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Outcome<M>, String> {
    let subject: Arc<dyn Subject> = world.clone();
    let found = if crew.workers <= 1 && crew.hosts.is_none() {
        super::try_search(&*subject, options, watch)?
    } else {
        search_together(world.name(), &subject, options, crew, watch)?
    };
    Ok(found.told(world))
}

fn search_together(
    name: &str,
    subject: &Arc<dyn Subject>,
    options: Options,
    crew: &Crew,
    watch: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Found, String> {
    let started = std::time::Instant::now();
    let (builders, others) = match &crew.hosts {
        None => timely::CommunicationConfig::Process(crew.workers.max(1)).try_build()?,
        Some(hosts) => hosts.connect(name, crew.workers.max(1))?,
    };
    let board = Arc::new(Board::default());
    let (result, results) = mpsc::channel();
    let (job, job_board) = (Arc::clone(subject), Arc::clone(&board));
    let guards = timely::execute::execute_from(
        builders,
        others,
        timely::WorkerConfig::default(),
        move |worker| {
            let _watchman = Watchman(&job_board);
            let found = Hand::new(&*job, options, &job_board, worker).run(worker);
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
    Ok(whole.found(&mut Space::new(&**subject), started, options))
}

/// Successors, by the owner of each.
struct Trays {
    by_owner: Vec<Tray>,
    lately: Vec<u64>,
    /// All go there, because their owners are not known yet.
    only: Option<usize>,
}

/// Successors that wait to be looked up.
#[derive(Default)]
struct Tray {
    rows: Rows,
    /// Under which fingerprint each is known, if not under its own.
    keys: Vec<u64>,
}

/// Who says whether a state is new.
#[inline]
fn owner(key: u64, peers: usize) -> usize {
    // The upper bits choose the place in the table.
    (((key & 0xffff_ffff) * peers as u64) >> 32) as usize
}

impl Sink for Trays {
    #[inline]
    fn wants(&mut self, print: u64) -> bool {
        super::wants(&mut self.lately, print)
    }

    #[inline]
    fn tray(&mut self, print: u64) -> &mut Rows {
        let at = match self.only {
            Some(at) => at,
            None => owner(print, self.by_owner.len()),
        };
        &mut self.by_owner[at].rows
    }
}

/// One worker.
struct Hand<'w> {
    search: Search<'w>,
    me: usize,
    trays: Trays,
    /// What was asked of each owner and not yet answered, in order.
    asked: Vec<VecDeque<Rows>>,
    tellers: Vec<Teller>,
    listeners: Vec<Listener>,
    inbox: Rc<RefCell<VecDeque<Mail>>>,
    accounts: Vec<(usize, Account)>,
    done: Vec<Part>,
    board: &'w Board,
    /// What of the search is on the board.
    shown: (usize, usize),
}

type Outgoing = InputHandle<u64, timely::container::CapacityContainerBuilder<Vec<Mail>>>;

impl<'w> Hand<'w> {
    fn new(subject: &'w dyn Subject, options: Options, board: &'w Board, worker: &Worker) -> Self {
        let peers = worker.peers();
        // A budget is shared out.
        let states_max = options.states_max.map(|most| most.div_ceil(peers));
        let options = Options {
            states_max,
            ..options
        };
        let mut search = Search::new(subject, options);
        let (initial, _) = search.space.initial();
        let me = worker.index();
        let mut trays = Vec::new();
        trays.resize_with(peers, Tray::default);
        Self {
            me,
            trays: Trays {
                by_owner: trays,
                lately: std::mem::take(&mut search.batch.lately),
                only: search.mirrors.is_some().then_some(me),
            },
            asked: (0..peers).map(|_| VecDeque::new()).collect(),
            tellers: (0..peers)
                .map(|_| Teller::new(&search.space, &initial))
                .collect(),
            listeners: (0..peers).map(|_| Listener::default()).collect(),
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
            // The others may be gone too: this worker must not wait for them.
            for dataflow in worker.installed_dataflows() {
                worker.drop_dataflow(dataflow);
            }
        }
        found
    }

    fn levels(
        &mut self,
        worker: &mut Worker,
        input: &mut Outgoing,
        probe: &ProbeHandle<u64>,
    ) -> Result<Vec<Part>, String> {
        let peers = self.asked.len();
        let (row, print) = self.search.space.initial();
        let search = &mut self.search;
        let key = super::key(&search.space, &mut search.mirrors, &row, print);
        if owner(key, peers) == self.me {
            search.generated = 1;
            search.accept(&row, print, key);
        }
        search.turn();
        let mut spent = false;
        while self.go_on(worker, input, probe, spent)? {
            self.search.depth += 1;
            spent = self.expand(worker, input)?;
            // All questions, then all answers.
            self.settle(worker, input, probe)?;
            self.settle(worker, input, probe)?;
            self.search.turn();
        }
        self.search.waiting += self.search.level.len();
        let part = self.search.part();
        self.tell_all(input, &Body::Done(part));
        self.settle(worker, input, probe)?;
        if self.done.len() < peers {
            return Err("another worker gave up".to_owned());
        }
        Ok(std::mem::take(&mut self.done))
    }

    /// Tells the others how the last level went, hears it of them, and makes the next one even. True
    /// if there is a next one.
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
        let mut all = std::mem::take(&mut self.accounts);
        if all.len() < self.asked.len() {
            return Err("another worker gave up".to_owned());
        }
        all.sort_unstable_by_key(|(from, _)| *from);
        let all: Vec<Account> = all.into_iter().map(|(_, account)| account).collect();
        let stops = self.search.options.stop == Stop::AtViolation;
        let is_over = all.iter().all(|account| account.fresh == 0)
            || all.iter().any(|account| account.spent)
            || stops && all.iter().any(|account| account.violated);
        if is_over {
            return Ok(false);
        }
        let transfers = transfers(&all.iter().map(|account| account.fresh).collect::<Vec<_>>());
        if !transfers.is_empty() {
            for (from, to, count) in transfers {
                if from == self.me {
                    self.give(input, to, count);
                }
            }
            self.settle(worker, input, probe)?;
        }
        Ok(true)
    }

    /// Gives the last states of the level to somebody else.
    fn give(&mut self, input: &mut Outgoing, to: usize, count: usize) {
        let start = self.search.level.len() - count;
        let mut parcel = Parcel::default();
        for at in start..self.search.level.len() {
            let (row, print) = self.search.level.get(at);
            parcel.push(row, print);
            self.tellers[to].define(&self.search.space, row);
            if parcel.prints.len() == PARCEL {
                parcel.definitions = std::mem::take(&mut self.tellers[to].definitions);
                let full = std::mem::take(&mut parcel);
                self.send(input, to, Body::States(full));
            }
        }
        self.search.level.truncate(start);
        parcel.definitions = std::mem::take(&mut self.tellers[to].definitions);
        self.send(input, to, Body::States(parcel));
    }

    /// Expands the level. True if it was left before its end.
    fn expand(&mut self, worker: &mut Worker, input: &mut Outgoing) -> Result<bool, String> {
        for at in 0..self.search.level.len() {
            if self.search.is_spent() || self.board.halt.load(Ordering::Relaxed) {
                self.sort(input, 0);
                self.search.waiting += self.search.level.len() - at;
                return Ok(true);
            }
            let (row, print) = self.search.level.get(at);
            self.search.generated += self.search.space.expand(row, print, &mut self.trays);
            if self.sort(input, BATCH) {
                self.show(self.search.level.len() - at);
                worker.step();
                self.receive(input)?;
            }
        }
        self.sort(input, 0);
        Ok(false)
    }

    /// Looks up what is this worker's own and asks the owners of the rest, where more than so many
    /// wait. True if anybody was asked.
    fn sort(&mut self, input: &mut Outgoing, most: usize) -> bool {
        let own = &mut self.trays.by_owner[self.me].rows;
        if own.len() > most {
            std::mem::swap(&mut self.search.batch.rows, own);
            let mut rows = self.search.name();
            for at in 0..rows.len() {
                let (row, print) = rows.get(at);
                let key = self.search.keys[at];
                let owner = match self.trays.only {
                    None => self.me,
                    Some(_) => owner(key, self.asked.len()),
                };
                if owner == self.me {
                    self.search.accept(row, print, key);
                } else {
                    self.trays.by_owner[owner].rows.push(row, print);
                    self.trays.by_owner[owner].keys.push(key);
                }
            }
            rows.clear();
            self.search.batch.rows = rows;
        }
        let mut asked = false;
        for owner in 0..self.asked.len() {
            let waiting = self.trays.by_owner[owner].rows.len();
            if owner != self.me && waiting > most * (PARCEL / BATCH) {
                self.ask(input, owner);
                asked = true;
            }
        }
        asked
    }

    fn ask(&mut self, input: &mut Outgoing, owner: usize) {
        let mut tray = std::mem::take(&mut self.trays.by_owner[owner]);
        if self.trays.only.is_none() {
            tray.keys.clone_from(&tray.rows.prints);
        }
        if self.search.space.rules.has_boundary {
            self.search.keep_within(&mut tray.rows, &mut tray.keys);
        }
        let parcel = self.search.options.exact.then(|| {
            let mut parcel = Parcel::default();
            for at in 0..tray.rows.len() {
                let (row, print) = tray.rows.get(at);
                self.tellers[owner].define(&self.search.space, row);
                parcel.push(row, print);
            }
            parcel.definitions = std::mem::take(&mut self.tellers[owner].definitions);
            parcel
        });
        self.asked[owner].push_back(tray.rows);
        self.send(input, owner, Body::Ask(tray.keys, parcel));
    }

    fn send(&self, input: &mut Outgoing, to: usize, body: Body) {
        input.send(Mail {
            to: to as u64,
            from: self.me,
            body,
        });
        input.flush();
    }

    fn tell_all(&self, input: &mut Outgoing, body: &Body) {
        for to in 0..self.asked.len() {
            self.send(input, to, body.clone());
        }
    }

    /// Waits until everybody has come here, and everything they sent before has been taken in.
    fn settle(
        &mut self,
        worker: &mut Worker,
        input: &mut Outgoing,
        probe: &ProbeHandle<u64>,
    ) -> Result<(), String> {
        let next = *input.time() + 1;
        input.advance_to(next);
        input.flush();
        while probe.less_than(&next) {
            if self.board.lost.load(Ordering::Relaxed) {
                return Err("another worker was lost".to_owned());
            }
            worker.step_or_park(Some(NAP));
            self.receive(input)?;
        }
        self.receive(input)
    }

    /// Takes in what arrived.
    fn receive(&mut self, input: &mut Outgoing) -> Result<(), String> {
        loop {
            let Some(mail) = self.inbox.borrow_mut().pop_front() else {
                return Ok(());
            };
            match mail.body {
                Body::Ask(keys, parcel) => {
                    let answer = self.answer(mail.from, &keys, parcel)?;
                    self.send(input, mail.from, Body::Answer(answer));
                }
                Body::Answer(answer) => self.hear(mail.from, &answer)?,
                Body::States(parcel) => {
                    let rows = self.unpack(mail.from, &parcel)?;
                    for at in 0..rows.len() {
                        let (row, print) = rows.get(at);
                        self.search.level.push(row, print);
                    }
                }
                Body::Level(account) => self.accounts.push((mail.from, account)),
                Body::Done(part) => self.done.push(part),
            }
        }
    }

    fn answer(
        &mut self,
        from: usize,
        keys: &[u64],
        parcel: Option<Parcel>,
    ) -> Result<Vec<u64>, String> {
        let rows = match parcel {
            Some(parcel) => self.unpack(from, &parcel)?,
            None => Rows::default(),
        };
        let search = &mut self.search;
        search.met.glance(keys);
        let mut answer = vec![0; keys.len().div_ceil(64)];
        for (at, key) in keys.iter().enumerate() {
            let is_new = if search.options.exact {
                let (row, print) = rows.get(at);
                search.insert(row, print, *key)
            } else {
                search.met.insert(&[], *key)
            };
            answer[at / 64] |= u64::from(is_new) << (at % 64);
        }
        Ok(answer)
    }

    /// Of what was asked, keeps what is new.
    fn hear(&mut self, from: usize, answer: &[u64]) -> Result<(), String> {
        let rows = self.asked[from].pop_front().ok_or_else(disagree)?;
        if answer.len() != rows.len().div_ceil(64) {
            return Err(disagree());
        }
        for at in 0..rows.len() {
            if answer[at / 64] >> (at % 64) & 1 == 1 {
                let (row, print) = rows.get(at);
                self.search.welcome(row, print);
            }
        }
        Ok(())
    }

    /// The states of a parcel, in our numbers.
    fn unpack(&mut self, from: usize, parcel: &Parcel) -> Result<Rows, String> {
        let space = &mut self.search.space;
        let listener = &mut self.listeners[from];
        for definition in &parcel.definitions {
            listener
                .learn(space, definition)
                .map_err(|Stranger| disagree())?;
        }
        let mut rows = Rows::default();
        let mut start = 0;
        for (end, print) in parcel.ends.iter().zip(&parcel.prints) {
            let end = *end as usize;
            let theirs = parcel.numbers.get(start..end).unwrap_or_default();
            let begin = rows.numbers.len();
            let row = listener.translate(space.places, theirs, &mut rows.numbers);
            row.map_err(|Stranger| disagree())?;
            if space.print(&rows.numbers[begin..]) != *print {
                return Err(disagree());
            }
            rows.ends.push(rows.numbers.len());
            rows.prints.push(*print);
            start = end;
        }
        Ok(rows)
    }

    /// Says how far it is.
    fn show(&mut self, waiting: usize) {
        let (unique, generated) = (self.search.met.len(), self.search.generated);
        let add = |to: &AtomicUsize, more| to.fetch_add(more, Ordering::Relaxed);
        add(&self.board.unique, unique - self.shown.0);
        add(&self.board.generated, generated - self.shown.1);
        self.shown = (unique, generated);
        self.board.depth.store(self.search.depth, Ordering::Relaxed);
        let queue = (waiting + self.search.next.len()) * self.asked.len();
        self.board.queue.store(queue, Ordering::Relaxed);
    }
}
