//! The loop: alarms, the order of disk and world, and what stops a node.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::time::Duration;

use quorate::machine::{Durable, Input, Machine, NodeId, Outbox, Output, State};
use quorate::udp::journal::{Disk, JournalError, NoDisk, Problem};
use quorate::udp::node::{Node, Stop};
use quorate::udp::port::{CLIENTS_MAX, Port};
use quorate::udp::turn::{Core, Effect, OWN_MESSAGES_MAX};
use quorate::udp::wire::{Refusal, Wire};
use serde::{Deserialize, Serialize};

use crate::{Random, identity};

/// Does what it is told, and keeps the largest number that it was told to keep. It says of itself
/// that this is never 13.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Puppet;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Order {
    Keep(u64),
    Arm(u8),
    Disarm(u8),
    Forward(NodeId, Said),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Said {
    Keep(u64),
    Kept(u64),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Heard {
    Rang(u8),
    Message(NodeId, Said),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Kept(u64);

impl Durable for Kept {
    type Change = u64;

    fn changes_since(&self, older: &Self) -> Vec<u64> {
        (self != older).then_some(self.0).into_iter().collect()
    }

    fn apply(&mut self, change: u64) {
        self.0 = change;
    }
}

impl Machine for Puppet {
    type Call = Order;
    type Message = Said;
    type Timer = u8;
    type Event = Heard;
    type Durable = Kept;
    type Volatile = ();

    fn boot(&self, _: &mut Kept, _: &mut Outbox<Self>) {}

    fn on_call(&self, state: &mut State<Self>, call: Order, out: &mut Outbox<Self>) {
        match call {
            Order::Keep(number) => state.durable.0 = state.durable.0.max(number),
            Order::Arm(timer) => out.arm(timer),
            Order::Disarm(timer) => out.disarm(timer),
            Order::Forward(to, said) => out.send(to, said),
        }
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Said,
        out: &mut Outbox<Self>,
    ) {
        if let Said::Keep(number) = message {
            state.durable.0 = state.durable.0.max(number);
            out.send(from, Said::Kept(number));
        }
        out.tell(Heard::Message(from, message));
    }

    fn on_timer(&self, _: &mut State<Self>, timer: u8, out: &mut Outbox<Self>) {
        out.tell(Heard::Rang(timer));
        // The first, when it rings, disarms the second and arms the third.
        if timer == 1 {
            out.disarm(2);
            out.arm(3);
        }
    }

    fn delay(&self, _: &u8) -> Range<Duration> {
        Duration::from_millis(100)..Duration::from_millis(200)
    }

    fn holds(&self, state: &State<Self>) -> bool {
        state.durable.0 != 13
    }
}

const ME: NodeId = NodeId(0);

fn core(seed: u64) -> Core<Puppet> {
    let (mut core, sealed) = Core::boot(Puppet, ME, Kept::default(), seed).unwrap();
    assert!(sealed.is_clean());
    core.release(Vec::new());
    core
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A turn with a disk that takes everything.
fn turn(core: &mut Core<Puppet>, now: Duration, calls: Vec<Order>) -> Vec<Effect<Puppet>> {
    let sealed = core.turn(now, calls.into_iter().map(Input::Call)).unwrap();
    let outputs: Vec<Output<Puppet>> = sealed.map_or_else(Vec::new, |sealed| {
        sealed.persist(|_| Ok::<(), ()>(())).unwrap()
    });
    core.release(outputs)
}

fn rang(timer: u8) -> Vec<Effect<Puppet>> {
    vec![Effect::Event(Heard::Rang(timer))]
}

#[test]
fn an_alarm_rings_once_and_within_its_range() {
    for seed in 0..100 {
        let mut core = core(seed);
        turn(&mut core, ms(50), vec![Order::Arm(7)]);
        let at = core.wakes_at().unwrap();
        assert!((ms(150)..ms(250)).contains(&at), "{at:?}");
        let before = at.saturating_sub(Duration::from_nanos(1));
        assert_eq!(turn(&mut core, before, vec![]), []);
        assert_eq!(turn(&mut core, at, vec![]), rang(7));
        assert_eq!(core.wakes_at(), None);
        assert_eq!(turn(&mut core, ms(900), vec![]), []);
    }
}

#[test]
fn arming_again_begins_the_delay_anew() {
    let mut core = core(1);
    turn(&mut core, ms(0), vec![Order::Arm(7)]);
    turn(&mut core, ms(99), vec![Order::Arm(7)]);
    assert!(core.wakes_at().unwrap() >= ms(199));
    assert_eq!(turn(&mut core, ms(198), vec![]), []);
    assert_eq!(turn(&mut core, ms(300), vec![]), rang(7));
    assert_eq!(turn(&mut core, ms(900), vec![]), []);
}

#[test]
fn a_disarmed_alarm_does_not_ring_even_if_it_was_due_already() {
    let mut core = core(1);
    // The first is armed long before the second, so that it is the one due the longest.
    turn(&mut core, ms(0), vec![Order::Arm(1)]);
    turn(&mut core, ms(150), vec![Order::Arm(2)]);
    // Both are due; the first, ringing, disarms the second.
    assert_eq!(turn(&mut core, ms(1000), vec![]), rang(1));
    assert_eq!(turn(&mut core, ms(1000), vec![]), []);
    assert_eq!(turn(&mut core, ms(1200), vec![]), rang(3));
    assert_eq!(core.wakes_at(), None);
    turn(&mut core, ms(1300), vec![Order::Arm(5), Order::Disarm(5)]);
    assert_eq!(core.wakes_at(), None);
}

#[test]
fn delays_are_drawn_from_the_seed() {
    let delays = |seed| {
        let mut core = core(seed);
        let delays = (0..50).map(|_| {
            turn(&mut core, ms(0), vec![Order::Arm(7)]);
            core.wakes_at().unwrap()
        });
        delays.collect::<Vec<_>>()
    };
    assert_eq!(delays(1), delays(1));
    assert_ne!(delays(1), delays(2));
    let (least, most) = (delays(1).into_iter().min(), delays(1).into_iter().max());
    assert!(least.unwrap() < ms(120) && ms(180) < most.unwrap());
}

#[test]
fn what_a_node_sends_itself_arrives_in_a_later_turn_and_in_bounded_number() {
    let mut core = core(1);
    let forward = || Order::Forward(ME, Said::Kept(1));
    assert_eq!(turn(&mut core, ms(0), vec![forward()]), []);
    assert_eq!(core.wakes_at(), Some(Duration::ZERO));
    let heard = Effect::Event(Heard::Message(ME, Said::Kept(1)));
    assert_eq!(turn(&mut core, ms(0), vec![]), [heard]);
    assert_eq!(core.wakes_at(), None);
    let flood = (0..2 * OWN_MESSAGES_MAX).map(|_| forward()).collect();
    turn(&mut core, ms(0), flood);
    assert_eq!(turn(&mut core, ms(0), vec![]).len(), OWN_MESSAGES_MAX);
}

#[test]
fn a_turn_is_one_write_of_all_its_changes_in_order() {
    let mut core = core(1);
    let inputs = [3, 2, 5].map(|number| Input::Call(Order::Keep(number)));
    let sealed = core.turn(ms(0), inputs).unwrap().unwrap();
    let mut written = Vec::new();
    let write = |changes: &[u64]| {
        written.push(changes.to_vec());
        Ok::<(), ()>(())
    };
    sealed.persist(write).unwrap();
    assert_eq!(written, [vec![3, 5]]);
    assert!(core.turn(ms(0), []).unwrap().is_none());
}

#[test]
fn a_broken_invariant_leaves_nothing_to_persist_or_say() {
    let mut core = core(1);
    turn(&mut core, ms(0), vec![Order::Keep(5)]);
    let inputs = [12, 13].map(|number| Input::Call(Order::Keep(number)));
    let broken = core.turn(ms(0), inputs).unwrap_err();
    assert!(broken.to_string().contains("13"), "{broken}");
    assert_eq!(core.state().durable, Kept(5));
}

/// A disk that fails from its `fails_at`-th commit on.
#[derive(Debug, Default)]
struct Failing {
    fails_at: usize,
    written: Vec<u64>,
}

impl Disk<Kept> for Failing {
    fn commit(&mut self, changes: &[u64]) -> Result<(), JournalError> {
        if self.written.len() >= self.fails_at {
            return Err(JournalError {
                path: "/a/full/disk".into(),
                problem: Problem::Unwritable(std::io::ErrorKind::StorageFull.into()),
            });
        }
        self.written.extend(changes);
        Ok(())
    }

    fn tidy(&mut self, _: &Kept) -> Result<(), JournalError> {
        Ok(())
    }
}

/// A node on loopback, with a member beside it that the test plays.
struct Stage<D> {
    node: Node<Puppet, D>,
    address: SocketAddr,
    other: UdpSocket,
    wire: Wire,
}

fn stage<D: Disk<Kept>>(disk: D) -> Stage<D> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    other.set_read_timeout(Some(ms(50))).unwrap();
    let address = socket.local_addr().unwrap();
    let members = BTreeMap::from([
        (NodeId(0), address),
        (NodeId(1), other.local_addr().unwrap()),
    ]);
    let port = Port::new(socket, &identity(0), members, CLIENTS_MAX).unwrap();
    let (node, _) = Node::boot(Puppet, ME, Kept::default(), disk, port, 1).unwrap();
    Stage {
        node,
        address,
        other,
        wire: Wire::new(&identity(1)),
    }
}

impl<D: Disk<Kept>> Stage<D> {
    fn tell(&self, said: &Said) {
        let datagram = self.wire.seal(ME, said).unwrap();
        self.other.send_to(&datagram, self.address).unwrap();
    }

    fn hears(&self) -> Option<Said> {
        let mut buffer = [0; 1500];
        let (length, _) = self.other.recv_from(&mut buffer).ok()?;
        Some(self.wire.open(&buffer[..length]).unwrap().1)
    }
}

#[test]
fn a_disk_that_fails_stops_the_node_and_nothing_is_said_that_rested_on_it() {
    let mut stage = stage(Failing {
        fails_at: 1,
        ..Failing::default()
    });
    stage.tell(&Said::Keep(1));
    stage.node.turn([], ms(500)).unwrap();
    assert_eq!(stage.hears(), Some(Said::Kept(1)));
    // Two of one turn: the first changes nothing, but it is of the turn whose write fails.
    stage.tell(&Said::Keep(1));
    stage.tell(&Said::Keep(2));
    let stop = stage.node.turn([], ms(500)).unwrap_err();
    assert!(matches!(stop, Stop::Disk(_)));
    assert!(
        stop.to_string()
            .contains("disk of the journal /a/full/disk is full"),
        "{stop}"
    );
    assert_eq!(stage.hears(), None);
    assert_eq!(stage.node.disk().written, [1]);
}

#[test]
fn a_broken_invariant_stops_the_node_before_it_persists() {
    let mut stage = stage(Failing {
        fails_at: 9,
        ..Failing::default()
    });
    stage.tell(&Said::Keep(13));
    let stop = stage.node.turn([], ms(500)).unwrap_err();
    assert!(matches!(stop, Stop::Broken(_)));
    assert_eq!(stage.hears(), None);
    assert!(stage.node.disk().written.is_empty());
}

#[test]
fn a_node_does_not_listen_to_a_member_from_another_address() {
    let mut stage = stage(NoDisk);
    let elsewhere = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |as_node: u64| {
        let datagram = Wire::new(&identity(as_node)).seal(ME, &Said::Keep(1));
        elsewhere
            .send_to(&datagram.unwrap(), stage.address)
            .unwrap();
    };
    send(1); // A member that is elsewhere.
    send(0); // The node itself.
    send(5); // The number of a member that there is not.
    send(70_000); // A client may be anywhere.
    let mut events = Vec::new();
    while stage.node.counters().datagrams_in < 4 {
        events.extend(stage.node.turn([], ms(500)).unwrap());
    }
    assert_eq!(events, [Heard::Message(NodeId(70_000), Said::Keep(1))]);
    assert_eq!(stage.node.counters().dropped(Refusal::Impostor), 2);
    assert_eq!(stage.node.counters().dropped(Refusal::Stranger), 1);
    assert_eq!(stage.node.first_drops().len(), 2);
    assert_eq!(stage.node.first_drops().len(), 0);
}

#[test]
fn clients_are_forgotten_oldest_first_and_never_in_the_turn_that_answers_them() {
    let mut stage = stage(NoDisk);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(ms(500))).unwrap();
    let clients = 2 * u64::try_from(CLIENTS_MAX).unwrap();
    let mut buffer = [0; 1500];
    for number in 0..clients {
        let wire = Wire::new(&identity(70_000 + number));
        let datagram = wire.seal(ME, &Said::Keep(1)).unwrap();
        client.send_to(&datagram, stage.address).unwrap();
        stage.node.turn([], ms(500)).unwrap();
        let length = client.recv(&mut buffer).unwrap();
        assert_eq!(wire.open(&buffer[..length]), Ok((ME, Said::Kept(1))));
    }
    let forward = |client| Order::Forward(NodeId(client), Said::Kept(1));
    let latest = 70_000 + clients - 1;
    stage
        .node
        .turn([forward(latest), forward(70_000)], ms(0))
        .unwrap();
    assert_eq!(stage.node.counters().messages_unaddressed, 1);
}

#[test]
fn a_flood_of_rubbish_is_counted_and_does_not_keep_an_alarm_waiting() {
    let mut stage = stage(NoDisk);
    stage.node.turn([Order::Arm(7)], ms(0)).unwrap();
    let mut random = Random(2);
    let mut rang = false;
    let mut sent = 0;
    while !rang && sent < 1_000_000 {
        for _ in 0..50 {
            let rubbish: Vec<u8> = (0..random.below(1400)).map(|_| random.byte()).collect();
            stage.other.send_to(&rubbish, stage.address).unwrap();
            sent += 1;
        }
        rang = stage
            .node
            .turn([], ms(500))
            .unwrap()
            .contains(&Heard::Rang(7));
    }
    assert!(rang);
    let counters = stage.node.counters();
    assert_eq!(counters.messages_in, 0);
    let dropped: u64 = Refusal::ALL.iter().map(|it| counters.dropped(*it)).sum();
    assert_eq!(counters.datagrams_in, dropped);
    assert!(dropped > 0);
}
