//! A replica of PBFT that lies: a thread with the socket and the secret of one member, for
//! demonstrations and tests. No setting of `quorate serve` makes one.
//!
//! It says what it likes in its own name and whatever it likes in that of others, but it has only its own
//! key. As primary it orders different requests at one place: at first so that two replicas agree and go
//! on while the third is misled, then so that nobody can agree, until it is replaced. As backup it votes
//! for what was ordered and for what was not, answers clients falsely, vouches for states that nobody
//! has, offers views that nobody left for, signs as others, and repeats what others signed.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

use crate::data::Map;
use crate::machine::NodeId;
use crate::pbft::{
    Answer, Assignment, Batch, Certificate, Checkpoint, Commit, Digest, Entry, Keys as _, Message,
    NewView, Page, Pbft, PrePrepare, Prepare, Proof, Reading, Reply, Request, Sequence, Session,
    Signature, Signed, Sizes, Stable, View, ViewChange,
};
use crate::udp::configuration::Cluster;
use crate::udp::keys::{KeyRing, SecretKey};
use crate::udp::port::{CLIENTS_MAX, Port, Received};
use crate::udp::served::Served as _;
use crate::udp::std::io;
use crate::udp::std::net::UdpSocket;
use crate::udp::std::thread::{self, JoinHandle};

/// How many places it orders so that two of the others can go on.
const MISLEADING_MAX: u64 = 10;
/// How many places it orders at all: fewer than lie between the watermarks.
const ORDERS_MAX: u64 = 20;
/// How many messages of others it keeps to repeat.
const REPEATED_MAX: usize = 64;
const WAIT_MAX: Duration = Duration::from_millis(20);

/// How often it did what.
#[derive(Debug, Default)]
pub struct Lies {
    /// Places at which it ordered different batches.
    pub orders: AtomicU64,
    /// Votes for what nobody ordered.
    pub votes: AtomicU64,
    /// False answers to clients.
    pub answers: AtomicU64,
    /// States, views and certificates that are made up.
    pub inventions: AtomicU64,
    /// Statements in the name of another.
    pub forgeries: AtomicU64,
    /// Messages of others, said again.
    pub repetitions: AtomicU64,
}

impl Lies {
    /// In words.
    pub fn told(&self) -> String {
        let counted = [
            (
                &self.orders,
                "places ordered differently for different members",
            ),
            (&self.votes, "votes for what nobody ordered"),
            (&self.answers, "false answers"),
            (&self.inventions, "states and views made up"),
            (&self.forgeries, "signatures of others forged"),
            (&self.repetitions, "old messages repeated"),
        ];
        let counted = counted.map(|(count, what)| format!("{} {what}", read(count)));
        counted.join(", ")
    }
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

/// It lies until this value is gone.
#[derive(Debug)]
pub struct Traitor {
    stop: Arc<AtomicBool>,
    lies: Arc<Lies>,
    thread: Option<JoinHandle<()>>,
}

impl Traitor {
    /// Lets `node`, whose secret this is, be a traitor.
    ///
    /// # Errors
    ///
    /// If the operating system gives no socket at the member's address, or no thread.
    pub fn start(cluster: &Cluster, node: NodeId, secret: SecretKey) -> io::Result<Self> {
        let nowhere = || io::Error::other(format!("{node} is no member"));
        let address = *cluster.members.get(&node).ok_or_else(nowhere)?;
        let socket = UdpSocket::bind(address)?;
        let identity = <Pbft<KeyRing>>::identity(cluster, node);
        let port = Port::new(socket, &identity, cluster.members.clone(), CLIENTS_MAX)?;
        let keys = KeyRing::new(cluster.id, node, secret, cluster.public_keys.clone());
        let lies = Arc::new(Lies::default());
        let stop = Arc::new(AtomicBool::new(false));
        let mut liar = Liar {
            port,
            keys,
            me: node,
            sizes: Sizes::of(cluster.members.len()),
            view: View::default(),
            place: 0,
            known: BTreeSet::new(),
            last: None,
            heard: VecDeque::new(),
            lies: Arc::clone(&lies),
        };
        let stopped = Arc::clone(&stop);
        let lie = move || {
            // A socket that fails silences it.
            while !stopped.load(Ordering::Relaxed) && liar.turn().is_ok() {}
        };
        let thread = thread::Builder::new().name(node.to_string()).spawn(lie)?;
        Ok(Self {
            stop,
            lies,
            thread: Some(thread),
        })
    }

    /// How often it did what, so far.
    pub fn lies(&self) -> &Lies {
        &self.lies
    }
}

impl Drop for Traitor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // That it panicked is no harm: it is a traitor.
            let _ = thread.join();
        }
    }
}

struct Liar {
    port: Port,
    keys: KeyRing,
    me: NodeId,
    sizes: Sizes,
    view: View,
    place: u64,
    known: BTreeSet<(NodeId, Session)>,
    last: Option<Signed<Request>>,
    heard: VecDeque<Message>,
    lies: Arc<Lies>,
}

impl Liar {
    fn turn(&mut self) -> io::Result<()> {
        match self.port.receive()? {
            Received::Nothing => self.port.wait(WAIT_MAX)?,
            Received::Dropped | Received::Part => {}
            Received::Message { from, message } => self.hear(from, message),
        }
        Ok(())
    }

    fn others(&self) -> Vec<NodeId> {
        let replicas = self.sizes.replicas.iter();
        replicas.filter(|node| *node != self.me).collect()
    }

    fn tell_all(&mut self, message: &Message) {
        for to in self.others() {
            self.port.send(to, message);
        }
    }

    fn count(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn hear(&mut self, from: NodeId, message: Message) {
        match &message {
            Message::Request(request) => self.on_request(request.clone()),
            Message::Read(request) => self.on_read(request),
            Message::PrePrepare { order, .. } => self.on_order(order.value.0),
            Message::Prepare(prepare) => {
                let forged = self.forged(prepare.by, Prepare(prepare.value.0));
                self.tell_all(&Message::Prepare(forged));
            }
            Message::Commit(commit) => {
                let forged = self.forged(commit.by, Commit(commit.value.0));
                self.tell_all(&Message::Commit(forged));
            }
            Message::Checkpoint(checkpoint) => self.on_checkpoint(checkpoint.value),
            Message::ViewChange(change) => self.on_view_change(change.value.view),
            Message::NewView(new_view) => {
                self.view = self.view.max(new_view.value.view);
            }
            Message::Status { executed, .. } => self.on_status(from, *executed),
            Message::Answer(_)
            | Message::Reading(_)
            | Message::State { .. }
            | Message::Fetch { .. }
            | Message::Page { .. } => {}
        }
        self.repeat(message);
    }

    /// Says again, to everyone, something that was said a while ago.
    fn repeat(&mut self, message: Message) {
        self.heard.push_back(message);
        if REPEATED_MAX < self.heard.len()
            && let Some(old) = self.heard.pop_front()
        {
            Self::count(&self.lies.repetitions);
            self.tell_all(&old);
        }
    }

    /// A statement that another is to have made: signed with the traitor's own key, for it has no other.
    fn forged<T: crate::pbft::Statement>(&self, alleged: NodeId, value: T) -> Signed<T> {
        Self::count(&self.lies.forgeries);
        let others = self.others();
        let other = others.iter().find(|node| **node != alleged);
        Signed {
            by: other.copied().unwrap_or(alleged),
            signature: self.keys.sign(&value),
            value,
        }
    }

    fn on_request(&mut self, request: Signed<Request>) {
        if !self.known.insert((request.by, request.value.session)) {
            return;
        }
        let answer = self.false_answer(&request);
        let to = request.by;
        let mine = self.keys.signed(self.me, answer.clone());
        self.port.send(to, &Message::Answer(mine));
        let forged = self.forged(self.me, answer);
        self.port.send(to, &Message::Answer(forged));
        if self.sizes.primary(self.view) == self.me && self.place < ORDERS_MAX {
            self.equivocate(&request);
        }
        self.last = Some(request);
    }

    fn on_read(&mut self, request: &Signed<Request>) {
        let reading = Reading(self.false_answer(request));
        let to = request.by;
        let mine = self.keys.signed(self.me, reading.clone());
        self.port.send(to, &Message::Reading(mine));
        let forged = self.forged(self.me, reading);
        self.port.send(to, &Message::Reading(forged));
    }

    fn false_answer(&self, request: &Signed<Request>) -> Answer {
        Self::count(&self.lies.answers);
        Answer {
            view: self.view,
            client: request.by,
            session: request.value.session,
            reply: Reply::Value(Some("a lie".into())),
        }
    }

    /// Orders one thing for some and another for others, and votes for both.
    fn equivocate(&mut self, request: &Signed<Request>) {
        self.place += 1;
        Self::count(&self.lies.orders);
        let one = Batch(alloc::vec![request.clone()]);
        let other = Batch(self.last.iter().cloned().collect());
        let nothing = Batch::default();
        let misleads = self.place <= MISLEADING_MAX;
        for (at, to) in self.others().into_iter().enumerate() {
            let batch = match at {
                0 => &one,
                1 => &other,
                _ if misleads => &one,
                _ => &nothing,
            };
            let assignment = Assignment {
                view: self.view,
                sequence: Sequence(self.place),
                digest: self.keys.digest(batch),
            };
            let order = self.keys.signed(self.me, PrePrepare(assignment));
            let batch = batch.clone();
            self.port.send(to, &Message::PrePrepare { order, batch });
            let commit = self.keys.signed(self.me, Commit(assignment));
            self.tell_all(&Message::Commit(commit));
        }
    }

    /// Votes for what was ordered, so as to be counted, and for what was not.
    fn on_order(&mut self, ordered: Assignment) {
        self.view = self.view.max(ordered.view);
        let mut other = ordered;
        other.digest = Digest([0x5a; 32]);
        for assignment in [ordered, other] {
            let prepare = self.keys.signed(self.me, Prepare(assignment));
            self.tell_all(&Message::Prepare(prepare));
            let commit = self.keys.signed(self.me, Commit(assignment));
            self.tell_all(&Message::Commit(commit));
        }
        Self::count(&self.lies.votes);
    }

    fn on_checkpoint(&mut self, checkpoint: Checkpoint) {
        Self::count(&self.lies.inventions);
        let false_one = Checkpoint {
            digest: Digest([0x5a; 32]),
            ..checkpoint
        };
        let false_one = self.keys.signed(self.me, false_one);
        self.tell_all(&Message::Checkpoint(false_one));
    }

    /// Leaves for the view, too, with a certificate that is none for some and without any for others;
    /// and begins a later one, for which nobody left.
    fn on_view_change(&mut self, view: View) {
        Self::count(&self.lies.inventions);
        let invented = Certificate {
            assignment: Assignment {
                view: self.view,
                sequence: Sequence(1),
                digest: Digest([0x5a; 32]),
            },
            pre_prepare: Signature::default(),
            prepares: Proof::default(),
        };
        for (prepared, to) in [alloc::vec![invented], Vec::new(), Vec::new()]
            .into_iter()
            .zip(self.others())
        {
            let change = ViewChange {
                view,
                stable: None,
                prepared,
            };
            let change = self.keys.signed(self.me, change);
            self.port.send(to, &Message::ViewChange(change));
        }
        let mut mine = view.next();
        while self.sizes.primary(mine) != self.me {
            mine = mine.next();
        }
        let new_view = NewView {
            view: mine,
            changes: Map::default(),
            pre_prepares: Vec::new(),
        };
        let new_view = self.keys.signed(self.me, new_view);
        self.tell_all(&Message::NewView(new_view));
    }

    /// Offers a state that nobody has.
    fn on_status(&mut self, from: NodeId, executed: Sequence) {
        Self::count(&self.lies.inventions);
        let page = Page {
            executed: Sequence(executed.0.saturating_add(1_000)),
            entries: alloc::vec![Entry::Value("colour".into(), "a lie".into())],
            rest: None,
        };
        let checkpoint = Checkpoint {
            sequence: page.executed,
            digest: self.keys.digest(&page),
        };
        let signature = self.keys.sign(&checkpoint);
        let signers = self.sizes.replicas.iter().take(self.sizes.checkpoints);
        let proof = Proof(signers.map(|node| (node, signature.clone())).collect());
        let stable = Stable { checkpoint, proof };
        self.port.send(from, &Message::State { stable, page });
    }
}
