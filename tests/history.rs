//! Histories are canonical, and their checkers agree with oracles that share no code with them.

#![expect(
    clippy::trivially_copy_pass_by_ref,
    clippy::type_complexity,
    reason = "oracles take what the specifications take"
)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};

use proptest::prelude::*;
use quorate_models::history::{
    CasCall, CasRegister, CasReply, Event, History, KeyValue, KeyValueCall, Misuse, Operation,
    OperationId, Refutation, Register, RegisterCall, RegisterReply, Specification, linearizable,
    regular,
};
use stateright::semantics::register as theirs;
use stateright::semantics::{ConsistencyTester, LinearizabilityTester};

type RegisterHistory = History<RegisterCall<u8>, RegisterReply<u8>>;

const A: OperationId = OperationId(0);
const B: OperationId = OperationId(1);
const C: OperationId = OperationId(2);
const D: OperationId = OperationId(3);
const E: OperationId = OperationId(4);

fn get<V>(id: OperationId) -> Event<RegisterCall<V>, RegisterReply<V>> {
    Event::Called(id, RegisterCall::Get)
}

fn put<V>(id: OperationId, value: V) -> Event<RegisterCall<V>, RegisterReply<V>> {
    Event::Called(id, RegisterCall::Put(value))
}

fn done<V>(id: OperationId) -> Event<RegisterCall<V>, RegisterReply<V>> {
    Event::Returned(id, RegisterReply::Done)
}

fn value<V>(id: OperationId, value: V) -> Event<RegisterCall<V>, RegisterReply<V>> {
    Event::Returned(id, RegisterReply::Value(value))
}

fn history<C, R>(events: impl IntoIterator<Item = Event<C, R>>) -> History<C, R> {
    let mut history = History::default();
    for event in events {
        history.record(event).expect("the test records what can be");
    }
    history
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

// The examples that everyone knows. The register holds 0 at first.

fn is_linearizable(history: &RegisterHistory) -> bool {
    linearizable(&Register(0), history).is_ok()
}

fn is_regular(history: &RegisterHistory) -> bool {
    regular(&Register(0), history).is_ok()
}

#[test]
fn the_empty_history_is_linearizable() {
    let empty = RegisterHistory::default();
    assert!(empty.is_empty() && empty.is_empty());
    assert_eq!(linearizable(&Register(0), &empty), Ok(Vec::new()));
    assert_eq!(regular(&Register(0), &empty), Ok(()));
}

#[test]
fn new_old_inversion_is_regular_but_not_linearizable() {
    let inversion = history([put(A, 1), get(B), value(B, 1), get(C), value(C, 0), done(A)]);
    assert!(is_regular(&inversion));
    let refutation = Refutation {
        unexplained: C,
        explained: vec![A, B],
    };
    assert_eq!(linearizable(&Register(0), &inversion), Err(refutation));
}

#[test]
fn a_stale_read_is_neither_linearizable_nor_regular() {
    let stale = history([put(A, 1), done(A), get(B), value(B, 0)]);
    let refutation = Refutation {
        unexplained: B,
        explained: vec![A],
    };
    assert_eq!(refutation.to_string(), "no order explains B; without it: A");
    assert_eq!(regular(&Register(0), &stale), Err(refutation.clone()));
    assert_eq!(linearizable(&Register(0), &stale), Err(refutation));
}

#[test]
fn a_read_of_what_nobody_wrote_is_neither_linearizable_nor_regular() {
    let invented = history([put(A, 1), get(B), value(B, 7)]);
    assert!(!is_linearizable(&invented) && !is_regular(&invented));
}

#[test]
fn a_pending_write_may_take_effect_late() {
    let events = [put(A, 1), get(B), value(B, 0), get(C), value(C, 1)];
    assert_eq!(
        linearizable(&Register(0), &history(events)),
        Ok(vec![B, A, C])
    );
}

#[test]
fn a_pending_write_may_never_take_effect() {
    let events = [put(A, 1), put(B, 2), done(B), get(C), value(C, 2)];
    assert_eq!(linearizable(&Register(0), &history(events)), Ok(vec![B, C]));
}

#[test]
fn a_pending_write_takes_effect_once() {
    let late = [put(A, 1), get(B), value(B, 1), put(C, 2), done(C)];
    let again = [get(D), value(D, 1)];
    assert!(is_linearizable(&history(late)));
    assert!(!is_linearizable(&history(late.into_iter().chain(again))));
    // As for regularity: each read alone may be where the write took effect.
    assert!(is_regular(&history(late.into_iter().chain(again))));
}

#[test]
fn a_pending_write_cannot_take_effect_before_its_call() {
    let early = history([get(B), value(B, 1), put(A, 1)]);
    assert!(!is_linearizable(&early) && !is_regular(&early));
}

#[test]
fn reads_of_unknown_outcome_say_nothing() {
    let open = history([put(A, 1), get(B), done(A), get(C), value(C, 1)]);
    assert_eq!(linearizable(&Register(0), &open), Ok(vec![A, C]));
}

#[test]
fn either_of_two_concurrent_writes_may_be_the_last_whichever_returned_last() {
    let writes = [put(A, 1), put(B, 2), done(B), get(C), done(A), get(D)];
    for last in [1, 2] {
        let history = history(writes.into_iter().chain([value(D, last)]));
        assert!(is_linearizable(&history) && is_regular(&history));
    }
}

#[test]
fn reads_that_disagree_about_the_order_of_writes_are_regular_but_not_linearizable() {
    let writes = [put(A, 1), put(B, 2), done(A), done(B)];
    let reads = [
        get(C),
        value(C, 1),
        get(D),
        value(D, 2),
        get(E),
        value(E, 1),
    ];
    let disagreement = history(writes.into_iter().chain(reads));
    assert!(is_regular(&disagreement) && !is_linearizable(&disagreement));
}

#[test]
fn a_value_that_was_overwritten_is_not_regular_though_another_is_being_written() {
    // The cheap test, that some write of the value began before the read ended, lets this pass.
    let events = [put(A, 1), done(A), put(B, 2), done(B)];
    let read = [put(C, 3), get(D), value(D, 1), done(C)];
    let overwritten = history(events.into_iter().chain(read));
    assert!(!is_regular(&overwritten) && !is_linearizable(&overwritten));
}

#[test]
fn a_compare_and_swap_that_failed_tells_what_the_value_was_not() {
    let swap = |expected, new| CasCall::CompareAndSwap { expected, new };
    let with_reply = |reply| {
        history([
            Event::Called(A, swap(0, 1)),
            Event::Called(B, swap(0, 2)),
            Event::Returned(A, CasReply::Swapped),
            Event::Returned(B, reply),
        ])
    };
    assert!(linearizable(&CasRegister(0), &with_reply(CasReply::Mismatched)).is_ok());
    assert!(linearizable(&CasRegister(0), &with_reply(CasReply::Swapped)).is_err());
    // A reply to another question is no reply.
    assert!(linearizable(&CasRegister(0), &with_reply(CasReply::Done)).is_err());
    // What is no read is held to its reply by regularity too.
    assert!(regular(&CasRegister(0), &with_reply(CasReply::Swapped)).is_err());
}

#[test]
fn a_store_is_linearizable_if_each_key_is_and_the_witness_orders_them_all() {
    let at = |key, call| KeyValueCall { key, call };
    let initial = KeyValue(BTreeMap::from([('x', 1)]));
    let events = [
        Event::Called(A, at('y', CasCall::Put(Some(2)))),
        Event::Called(B, at('x', CasCall::Get)),
        Event::Returned(B, CasReply::Value(Some(1))),
        Event::Called(C, at('y', CasCall::Get)),
        Event::Returned(C, CasReply::Value(None)),
        Event::Called(D, at('x', CasCall::Put(None))),
        Event::Returned(D, CasReply::Done),
        Event::Returned(A, CasReply::Done),
    ];
    let witness = linearizable(&initial, &history(events)).unwrap();
    assert_eq!(witness, [B, C, A, D]);
    let stale = [
        Event::Called(E, at('x', CasCall::Get)),
        Event::Returned(E, CasReply::Value(Some(1))),
    ];
    let refutation = linearizable(&initial, &history(events.into_iter().chain(stale)));
    assert_eq!(refutation.unwrap_err().unexplained, E);
}

// What a history is.

#[test]
fn adjacent_calls_and_adjacent_returns_commute_and_nothing_else_does() {
    let one = history([put(A, 1), get(B), done(A), value(B, 0)]);
    for same in [
        [get(B), put(A, 1), done(A), value(B, 0)],
        [put(A, 1), get(B), value(B, 0), done(A)],
        [get(B), put(A, 1), value(B, 0), done(A)],
    ] {
        assert_eq!(history(same), one);
        assert_eq!(hash_of(&history(same)), hash_of(&one));
    }
    let other = history([put(A, 1), done(A), get(B), value(B, 0)]);
    assert_ne!(other, one);
}

#[test]
fn an_impossible_event_is_refused_and_changes_nothing() {
    let mut history = history([put(A, 1), done(A), get(B)]);
    let before = history.clone();
    let misuses = [
        (get(A), Misuse::CalledTwice(A), "A was called twice"),
        (get(B), Misuse::CalledTwice(B), "B was called twice"),
        (done(A), Misuse::ReturnedTwice(A), "A returned twice"),
        (
            done(C),
            Misuse::NeverCalled(C),
            "C returned but was never called",
        ),
    ];
    for (event, misuse, text) in misuses {
        assert_eq!(history.record(event), Err(misuse));
        assert_eq!(misuse.to_string(), text);
        assert_eq!(history, before);
    }
}

#[test]
fn overlap_can_be_read_off_the_line() {
    let history = history([
        put(A, 1),
        done(A),
        put(B, 2),
        get(C),
        value(C, 1),
        put(OperationId(30), 3),
        done(B),
    ]);
    let line = "A: put 1 -> done; B: put 2 ..; C: get -> 1; E1: put 3 ..; .. B -> done";
    assert_eq!(history.to_string(), line);
    let line = "A: Put(1) -> Done; B: Put(2) ..; C: Get -> Value(1); E1: Put(3) ..; .. B -> Done";
    assert_eq!(format!("{history:?}"), line);
}

#[test]
fn operations_know_their_place_and_whom_they_precede() {
    let history = history([put(A, 1), get(B), done(A), put(C, 2)]);
    let operations = history.operations();
    let expected = Operation {
        id: A,
        call: &RegisterCall::Put(1),
        reply: Some(&RegisterReply::Done),
        called_at: 0,
        returned_at: Some(2),
    };
    assert_eq!(operations[0], expected);
    assert_eq!(
        (operations[1].reply, operations[1].returned_at),
        (None, None)
    );
    assert!(operations[0].precedes(&operations[2]));
    assert!(!operations[0].precedes(&operations[1]) && !operations[1].precedes(&operations[2]));
    assert_eq!(history.len(), 3);
}

#[test]
fn a_stored_history_is_recorded_anew() {
    let written = history([put(A, 1), get(B), done(A)]);
    let json = serde_json::to_string(&written).unwrap();
    assert_eq!(
        serde_json::from_str::<RegisterHistory>(&json).unwrap(),
        written
    );
    let unsorted = r#"[{"Called":[1,"Get"]},{"Called":[0,{"Put":1}]},{"Returned":[0,"Done"]}]"#;
    assert_eq!(
        serde_json::from_str::<RegisterHistory>(unsorted).unwrap(),
        written
    );
    assert!(serde_json::from_str::<RegisterHistory>(r#"[{"Returned":[0,"Done"]}]"#).is_err());
}

// Random histories, made by clients that do one thing at a time and may give up.

/// What a client does when it is its turn: begin, or end what it began, or give it up.
#[derive(Clone, Debug)]
struct Turn<C, R> {
    client: usize,
    call: C,
    reply: Option<R>,
}

fn turns<C: Debug, R: Debug>(
    clients: usize,
    length: usize,
    call: impl Strategy<Value = C>,
    reply: impl Strategy<Value = R>,
) -> impl Strategy<Value = Vec<Turn<C, R>>> {
    let reply = proptest::option::weighted(0.85, reply);
    let turn = (0..clients, call, reply).prop_map(|(client, call, reply)| Turn {
        client,
        call,
        reply,
    });
    proptest::collection::vec(turn, 0..=length)
}

/// The events of these turns, each with a number for the client. One that gave up is another after.
fn played<C: Clone, R: Clone>(
    turns: &[Turn<C, R>],
    operations: u32,
    fits: impl Fn(&C, &R) -> bool,
) -> Vec<(usize, Event<C, R>)> {
    let mut open: BTreeMap<usize, (usize, OperationId, C)> = BTreeMap::new();
    let (mut events, mut begun, mut given_up) = (Vec::new(), 0, 0);
    for turn in turns {
        match (open.remove(&turn.client), &turn.reply) {
            (None, _) if begun == operations => {}
            (None, _) => {
                let (id, thread) = (OperationId(begun), turn.client + 100 * given_up);
                events.push((thread, Event::Called(id, turn.call.clone())));
                open.insert(turn.client, (thread, id, turn.call.clone()));
                begun += 1;
            }
            (Some(_), None) => given_up += 1,
            (Some((thread, id, call)), Some(reply)) if fits(&call, reply) => {
                events.push((thread, Event::Returned(id, reply.clone())));
            }
            (Some(still), Some(_)) => {
                open.insert(turn.client, still);
            }
        }
    }
    events
}

fn register_turns() -> impl Strategy<Value = Vec<Turn<RegisterCall<u8>, RegisterReply<u8>>>> {
    let call = prop_oneof![
        Just(RegisterCall::Get),
        (0..3_u8).prop_map(RegisterCall::Put)
    ];
    let found = (0..3_u8).prop_map(RegisterReply::Value);
    turns(4, 24, call, prop_oneof![Just(RegisterReply::Done), found])
}

fn register_fits(call: &RegisterCall<u8>, reply: &RegisterReply<u8>) -> bool {
    match call {
        RegisterCall::Get => matches!(reply, RegisterReply::Value(_)),
        RegisterCall::Put(_) => matches!(reply, RegisterReply::Done),
    }
}

fn cas_turns() -> impl Strategy<Value = Vec<Turn<CasCall<u8>, CasReply<u8>>>> {
    let swap = (0..3_u8, 0..3_u8);
    let call = prop_oneof![
        Just(CasCall::Get),
        (0..3_u8).prop_map(CasCall::Put),
        swap.prop_map(|(expected, new)| CasCall::CompareAndSwap { expected, new }),
    ];
    let reply = prop_oneof![
        Just(CasReply::Done),
        (0..3_u8).prop_map(CasReply::Value),
        Just(CasReply::Swapped),
        Just(CasReply::Mismatched),
    ];
    turns(4, 24, call, reply)
}

fn cas_fits<V>(call: &CasCall<V>, reply: &CasReply<V>) -> bool {
    match call {
        CasCall::Get => matches!(reply, CasReply::Value(_)),
        CasCall::Put(_) => matches!(reply, CasReply::Done),
        CasCall::CompareAndSwap { .. } => {
            matches!(reply, CasReply::Swapped | CasReply::Mismatched)
        }
    }
}

type StoreCall = KeyValueCall<u8, u8>;
type StoreReply = CasReply<Option<u8>>;

fn store_turns() -> impl Strategy<Value = Vec<Turn<StoreCall, StoreReply>>> {
    let value = || proptest::option::of(0..2_u8);
    let call = prop_oneof![
        Just(CasCall::Get),
        value().prop_map(CasCall::Put),
        (value(), value()).prop_map(|(expected, new)| CasCall::CompareAndSwap { expected, new }),
    ];
    let call = (0..2_u8, call).prop_map(|(key, call)| KeyValueCall { key, call });
    let reply = prop_oneof![
        Just(CasReply::Done),
        value().prop_map(CasReply::Value),
        Just(CasReply::Swapped),
        Just(CasReply::Mismatched),
    ];
    turns(4, 24, call, reply)
}

fn recorded<C, R>(events: Vec<(usize, Event<C, R>)>) -> History<C, R> {
    history(events.into_iter().map(|(_, event)| event))
}

// The oracles.

fn stateright_says(events: &[(usize, Event<RegisterCall<u8>, RegisterReply<u8>>)]) -> bool {
    let mut tester = LinearizabilityTester::new(theirs::Register(0));
    for (thread, event) in events {
        let accepted = match event {
            Event::Called(_, RegisterCall::Get) => {
                tester.on_invoke(*thread, theirs::RegisterOp::Read)
            }
            Event::Called(_, RegisterCall::Put(value)) => {
                tester.on_invoke(*thread, theirs::RegisterOp::Write(*value))
            }
            Event::Returned(_, RegisterReply::Done) => {
                tester.on_return(*thread, theirs::RegisterRet::WriteOk)
            }
            Event::Returned(_, RegisterReply::Value(value)) => {
                tester.on_return(*thread, theirs::RegisterRet::ReadOk(*value))
            }
        };
        accepted.expect("a thread does one thing at a time");
    }
    tester.is_consistent()
}

/// Tries every order: no memory, no parts, and the object as a function of the state.
fn some_order_explains<S: Clone, C, R: PartialEq>(
    state: &S,
    apply: &impl Fn(&mut S, &C) -> R,
    left: &[Operation<'_, C, R>],
) -> bool {
    if left.iter().all(|operation| operation.reply.is_none()) {
        return true;
    }
    (0..left.len()).any(|index| {
        let next = left[index];
        let mut rest = left.to_vec();
        rest.remove(index);
        let mut state = state.clone();
        let reply = apply(&mut state, next.call);
        !rest.iter().any(|other| other.precedes(&next))
            && next.reply.is_none_or(|told| *told == reply)
            && some_order_explains(&state, apply, &rest)
    })
}

fn swap_or_so<V: Copy + PartialEq>(value: &mut V, call: &CasCall<V>) -> CasReply<V> {
    match *call {
        CasCall::Get => CasReply::Value(*value),
        CasCall::Put(new) => {
            *value = new;
            CasReply::Done
        }
        CasCall::CompareAndSwap { expected, .. } if *value != expected => CasReply::Mismatched,
        CasCall::CompareAndSwap { new, .. } => {
            *value = new;
            CasReply::Swapped
        }
    }
}

fn stored(store: &mut BTreeMap<u8, Option<u8>>, call: &StoreCall) -> StoreReply {
    swap_or_so(store.entry(call.key).or_default(), &call.call)
}

/// A store as one object: what the checker makes of it when it may not split it.
struct WholeStore;

impl Specification for WholeStore {
    type Call = StoreCall;
    type Reply = StoreReply;
    type Key = ();
    type Part = BTreeMap<u8, Option<u8>>;

    fn key_of(_: &StoreCall) -> &() {
        &()
    }

    fn part(&self, (): &()) -> Self::Part {
        BTreeMap::new()
    }

    fn apply(part: &Self::Part, call: &StoreCall) -> (Self::Part, StoreReply) {
        let mut next = part.clone();
        let reply = stored(&mut next, call);
        (next, reply)
    }

    fn only_reads(call: &StoreCall) -> bool {
        KeyValue::<u8, u8>::only_reads(call)
    }
}

/// For a register, where every write is blind: a read found the initial value and nothing was
/// written before it, or the value of a write that is not after it, and that no write between
/// them followed.
fn every_read_found_a_last_write(history: &RegisterHistory) -> bool {
    let operations = history.operations();
    let writes = || {
        let put = |call: &RegisterCall<u8>| match call {
            RegisterCall::Get => None,
            RegisterCall::Put(value) => Some(*value),
        };
        operations
            .iter()
            .filter_map(move |write| Some((write, put(write.call)?)))
    };
    operations.iter().all(|read| match read.reply {
        None | Some(RegisterReply::Done) => true,
        Some(RegisterReply::Value(found)) => {
            let untouched = *found == 0 && !writes().any(|(write, _)| write.precedes(read));
            untouched
                || writes().any(|(write, value)| {
                    let followed = |(other, _): (&Operation<'_, _, _>, u8)| {
                        write.precedes(other) && other.precedes(read)
                    };
                    value == *found && !read.precedes(write) && !writes().any(followed)
                })
        }
    })
}

/// Checks a witness against the definition.
fn explains<S: Specification>(
    initial: &S,
    history: &History<S::Call, S::Reply>,
    witness: &[OperationId],
) -> bool {
    let mut parts: BTreeMap<&S::Key, S::Part> = BTreeMap::new();
    let mut left = history.operations();
    for id in witness {
        let index = left.iter().position(|operation| operation.id == *id);
        let next = left.remove(index.expect("nothing happens twice"));
        let key = S::key_of(next.call);
        let part = parts.entry(key).or_insert_with(|| initial.part(key));
        let Some(after) = S::allows(part, next.call, next.reply) else {
            return false;
        };
        *part = after;
        if left.iter().any(|other| other.precedes(&next)) {
            return false;
        }
    }
    left.iter().all(|operation| operation.reply.is_none())
}

/// A verdict must carry its proof, if it is a good one; and if not, name what is not explained.
fn verdict<S: Specification>(
    initial: &S,
    history: &History<S::Call, S::Reply>,
) -> Result<bool, TestCaseError> {
    match linearizable(initial, history) {
        Ok(witness) => {
            prop_assert!(explains(initial, history, &witness));
            Ok(true)
        }
        Err(refutation) => {
            let operations = history.operations();
            let unexplained = operations
                .iter()
                .find(|one| one.id == refutation.unexplained);
            prop_assert!(unexplained.is_some_and(|one| one.reply.is_some()));
            prop_assert!(!refutation.explained.contains(&refutation.unexplained));
            Ok(false)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_verdict_on_a_register_is_that_of_stateright(turns in register_turns()) {
        let events = played(&turns, 6, register_fits);
        let expected = stateright_says(&events);
        prop_assert_eq!(verdict(&Register(0), &recorded(events))?, expected);
    }

    #[test]
    fn the_verdict_on_a_compare_and_swap_register_is_that_of_trying_every_order(
        turns in cas_turns(),
    ) {
        let history = recorded(played(&turns, 5, cas_fits));
        let expected = some_order_explains(&0, &swap_or_so, &history.operations());
        prop_assert_eq!(verdict(&CasRegister(0), &history)?, expected);
    }

    #[test]
    fn the_verdict_on_a_store_is_that_of_trying_every_order_and_that_on_the_whole(
        turns in store_turns(),
    ) {
        let history = recorded(played(&turns, 5, |call, reply| cas_fits(&call.call, reply)));
        let expected = some_order_explains(&BTreeMap::new(), &stored, &history.operations());
        prop_assert_eq!(verdict(&KeyValue::default(), &history)?, expected);
        prop_assert_eq!(verdict(&WholeStore, &history)?, expected);
    }

    #[test]
    fn larger_stores_get_the_same_verdict_split_and_whole(turns in store_turns()) {
        let history = recorded(played(&turns, 24, |call, reply| cas_fits(&call.call, reply)));
        let split = verdict(&KeyValue::default(), &history)?;
        prop_assert_eq!(split, verdict(&WholeStore, &history)?);
    }

    #[test]
    fn regular_is_that_every_read_found_a_write_that_may_be_the_last(turns in register_turns()) {
        let history = recorded(played(&turns, 8, register_fits));
        prop_assert_eq!(is_regular(&history), every_read_found_a_last_write(&history));
        prop_assert!(is_regular(&history) || !is_linearizable(&history));
    }

    #[test]
    fn histories_are_equal_just_if_they_have_the_same_precedence(
        turns in register_turns(),
        swaps in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let events = played(&turns, 6, register_fits);
        let mut other = events.clone();
        for swap in swaps.iter().filter(|_| events.len() > 1) {
            let at = swap.index(events.len() - 1);
            // A call stays before its own return; anything else may be exchanged.
            if other[at].1.id() != other[at + 1].1.id() {
                other.swap(at, at + 1);
            }
        }
        let (one, other) = (recorded(events), recorded(other));
        prop_assert_eq!(one == other, precedence(&one) == precedence(&other));
        prop_assert_eq!(one == other, hash_of(&one) == hash_of(&other));
    }
}

type Precedence = Vec<(OperationId, OperationId)>;

fn precedence(history: &RegisterHistory) -> Precedence {
    let operations = history.operations();
    let mut pairs = Vec::new();
    for one in &operations {
        let after = operations.iter().filter(|other| one.precedes(other));
        pairs.extend(after.map(|other| (one.id, other.id)));
    }
    pairs.sort_unstable();
    pairs
}

// Histories that are linearizable because they were made so.

/// Steele, Lea & Flood's generator: the tests draw the seed.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

enum Client {
    Idle,
    Called(OperationId, RegisterCall<u32>),
    Answered(OperationId, RegisterReply<u32>),
}

type LongHistory = Vec<Event<RegisterCall<u32>, RegisterReply<u32>>>;

/// `length` calls of `clients`, each of which takes effect at some instant before it returns. Of a
/// hundred, `lost` get no reply: half take effect, at some time, and half never do.
fn made(seed: u64, clients: u64, length: u32, lost: u64) -> LongHistory {
    let mut random = SplitMix(seed);
    let mut register = 0;
    let mut events = Vec::new();
    let mut states: Vec<Client> = (0..clients).map(|_| Client::Idle).collect();
    let mut begun = 0;
    while begun < length || states.iter().any(|state| !matches!(state, Client::Idle)) {
        let state = &mut states[usize::try_from(random.below(clients)).unwrap()];
        let gives_up = random.below(100) < lost;
        *state = match std::mem::replace(state, Client::Idle) {
            Client::Idle if begun == length => Client::Idle,
            Client::Idle => {
                let id = OperationId(begun);
                begun += 1;
                let call = match random.below(2) {
                    0 => RegisterCall::Get,
                    _ => RegisterCall::Put(begun),
                };
                events.push(Event::Called(id, call));
                Client::Called(id, call)
            }
            Client::Called(..) if gives_up && random.below(2) == 0 => Client::Idle,
            Client::Called(id, call) => {
                let (next, reply) = Register::apply(&register, &call);
                register = next;
                Client::Answered(id, reply)
            }
            Client::Answered(..) if gives_up => Client::Idle,
            Client::Answered(id, reply) => {
                events.push(Event::Returned(id, reply));
                Client::Idle
            }
        };
    }
    events
}

/// The same, but for one read, about half way or later, that finds what nobody ever wrote.
fn corrupted(mut events: LongHistory) -> Option<(LongHistory, OperationId)> {
    let half = events.len() / 2;
    let read = events[half..].iter_mut().find_map(|event| match event {
        Event::Returned(id, RegisterReply::Value(found)) => {
            *found = u32::MAX;
            Some(*id)
        }
        Event::Called(..) | Event::Returned(_, RegisterReply::Done) => None,
    })?;
    Some((events, read))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_made_linearizable_is_accepted_and_one_invented_value_refused(
        seed: u64,
        clients in 1..6_u64,
        lost in 0..20_u64,
    ) {
        let events = made(seed, clients, 400, lost);
        let long = history(events.clone());
        let witness = linearizable(&Register(0), &long);
        prop_assert!(witness.is_ok_and(|witness| explains(&Register(0), &long, &witness)));
        prop_assert_eq!(regular(&Register(0), &long), Ok(()));
        if let Some((events, read)) = corrupted(events) {
            let refutation = linearizable(&Register(0), &history(events.clone()));
            prop_assert_eq!(refutation.map_err(|why| why.unexplained), Err(read));
            let refutation = regular(&Register(0), &history(events));
            prop_assert_eq!(refutation.map_err(|why| why.unexplained), Err(read));
        }
    }
}

// Size.

#[test]
fn five_thousand_operations_of_ten_clients_take_no_time() {
    for (seed, lost) in [(1, 0), (2, 2)] {
        let events = made(seed, 10, 5_000, lost);
        assert!(linearizable(&Register(0), &history(events.clone())).is_ok());
        let (events, read) = corrupted(events).expect("half are reads");
        let refutation = linearizable(&Register(0), &history(events)).unwrap_err();
        assert_eq!(refutation.unexplained, read);
    }
}

#[test]
fn the_search_needs_no_stack() {
    let search = || linearizable(&Register(0), &history(made(3, 1, 5_000, 0))).is_ok();
    let thread = std::thread::Builder::new()
        .stack_size(64 << 10)
        .spawn(search);
    assert!(thread.unwrap().join().unwrap());
}

#[test]
fn many_pending_writes_do_not_multiply() {
    // Forty writes that nobody heard of again, of few values and of many, and a read of another.
    for values in [2, 40] {
        let pending = (0..40).map(|id| put(OperationId(id), 1 + id % values));
        let read = |id, found| [get(OperationId(id)), value(OperationId(id), found)];
        let reads = (0..40).flat_map(|id| read(100 + id, 1 + id % values));
        let all = pending.clone().chain(reads);
        assert!(linearizable(&Register(0), &history(all.clone())).is_ok());
        let invented = all.chain(read(200, 99));
        assert!(linearizable(&Register(0), &history(invented)).is_err());
    }
}
