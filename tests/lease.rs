//! Leases and fencing: what rests on clocks holds while they are good, what rests on tokens always
//! does, and each falls when something is taken away.

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::data::NodeSet;
use quorate::lease::{
    Call, Durable, Ending, Epoch, Event, Lease, Message, Request, Timer, VALUE_BYTES_MAX,
};
use quorate::machine::{Input, Machine, NodeId, Output, Step, boot, step};
use quorate_models::laws::{self, Move};
use quorate_models::lease::{
    CALLS_RETURN, LARGER, NEVER_FALL, NO_INTERLEAVING, ONE_HOLDER, ONLY_DEPOSED, PASSES_ON,
};
use quorate_models::testing::{audits, holds, refutes};

#[test]
fn promises_hold_without_faults() {
    holds("lease", "calm", 29_697);
}

#[test]
fn promises_hold_with_one_crash() {
    holds("lease", "crash", 213_484);
}

#[test]
fn promises_hold_with_two_crashes() {
    holds("lease", "two-crashes", 831_576);
}

#[test]
fn promises_hold_when_a_lease_is_renewed() {
    holds("lease", "renewal", 9_673);
}

#[test]
fn promises_hold_when_a_lease_is_renewed_and_a_node_crashes() {
    holds("lease", "renewal-crash", 873_828);
}

#[test]
fn promises_hold_when_who_gets_nothing_asks_again() {
    holds("lease", "attempts", 780_251);
}

#[test]
fn a_lease_passes_on_whoever_crashes() {
    holds("lease", "succession", 475_434);
}

#[test]
fn one_holder_falls_when_the_holder_stops_after_the_whole_term() {
    refutes("lease", "stops-at-term", ONE_HOLDER);
}

#[test]
fn one_holder_falls_when_the_holder_does_not_stop() {
    refutes("lease", "never-stops", ONE_HOLDER);
}

#[test]
fn one_holder_falls_when_the_term_is_counted_from_the_answer() {
    refutes("lease", "counts-from-answer", ONE_HOLDER);
}

#[test]
fn one_holder_falls_when_an_earlier_answer_is_taken_for_a_later_one() {
    refutes("lease", "any-answer", ONE_HOLDER);
}

#[test]
fn one_holder_falls_when_a_renewal_extends_nothing() {
    refutes("lease", "extends-nothing", ONE_HOLDER);
}

#[test]
fn one_holder_falls_when_the_authority_forgets_what_it_granted() {
    refutes("lease", "grant-forgotten", ONE_HOLDER);
}

#[test]
fn one_holder_falls_when_names_of_requests_repeat() {
    refutes("lease", "incarnation-forgotten", ONE_HOLDER);
}

#[test]
fn one_holder_falls_when_drift_is_past_its_bound() {
    refutes("lease", "drift-past-the-bound", ONE_HOLDER);
}

#[test]
fn larger_tokens_fall_when_an_owner_gets_its_token_again() {
    refutes("lease", "token-reused", LARGER);
}

#[test]
fn larger_tokens_fall_when_the_token_is_not_kept() {
    refutes("lease", "token-forgotten", LARGER);
}

#[test]
fn larger_tokens_fall_when_the_disk_lies() {
    refutes("lease", "lying-disk", LARGER);
}

#[test]
fn no_interleaving_falls_without_the_fence() {
    refutes("lease", "no-fence", NO_INTERLEAVING);
}

#[test]
fn accepted_tokens_fall_when_the_resource_forgets_its_fence() {
    refutes("lease", "fence-forgotten", NEVER_FALL);
}

#[test]
fn accepted_tokens_fall_when_the_disk_of_the_resource_lies() {
    refutes("lease", "lying-resource", NEVER_FALL);
}

#[test]
fn only_the_deposed_are_refused_falls_when_a_token_is_good_once() {
    refutes("lease", "fence-too-strict", ONLY_DEPOSED);
}

#[test]
fn a_lease_passes_on_falls_when_leases_do_not_end() {
    refutes("lease", "never-expires", PASSES_ON);
}

#[test]
fn a_lease_passes_on_falls_when_a_denial_is_final() {
    refutes("lease", "denial-is-final", PASSES_ON);
}

#[test]
fn calls_return_falls_when_a_request_is_waited_for_without_end() {
    refutes("lease", "waits-without-end", CALLS_RETURN);
}

#[test]
fn small_worlds_have_the_same_states_under_full_equality_and_under_stateright() {
    audits("lease", "calm");
    audits("lease", "renewal");
}

const AUTHORITY: NodeId = NodeId(2);
const RESOURCE: NodeId = NodeId(3);

/// Two holders, an authority and a resource, with terms of ten seconds.
fn node(me: u64) -> Lease {
    Lease {
        me: NodeId(me),
        authority: AUTHORITY,
        resource: RESOURCE,
        holders: NodeSet::first(2),
        term_ms: 10_000,
        drift_ms: 500,
        attempts: 2,
    }
}

/// What a node says when it is given these inputs, one after the other.
fn said(machine: &Lease, inputs: impl IntoIterator<Item = Input<Lease>>) -> Vec<Output<Lease>> {
    let Step { mut state, sealed } = boot(machine, Durable::default());
    let disk = |_: &[_]| Ok::<(), ()>(());
    let mut said = sealed.persist(disk).expect("a disk");
    for input in inputs {
        let after = step(machine, state, input);
        state = after.state;
        said.extend(after.sealed.persist(disk).expect("a disk"));
    }
    said
}

fn endings(outputs: &[Output<Lease>]) -> Vec<Ending> {
    let ending = |output: &Output<Lease>| match output {
        Output::Event(Event::Done { ending, .. }) => Some(*ending),
        Output::Event(_) | Output::Send { .. } | Output::Arm(_) | Output::Disarm(_) => None,
    };
    outputs.iter().filter_map(ending).collect()
}

fn call(call: Call) -> Input<Lease> {
    Input::Call(call)
}

fn message(from: NodeId, message: Message) -> Input<Lease> {
    Input::Message { from, message }
}

fn request(number: u64) -> Request {
    Request {
        incarnation: 1,
        number,
    }
}

/// A holder that has acquired, and then is given more.
fn holder_given(more: impl IntoIterator<Item = Input<Lease>>) -> Vec<Ending> {
    let granted = Message::Granted {
        request: request(1),
        epoch: Epoch(7),
    };
    let inputs = [
        call(Call::Acquire { ticket: 0 }),
        message(AUTHORITY, granted),
    ];
    endings(&said(&node(0), inputs.into_iter().chain(more)))
}

#[test]
fn a_holder_stops_before_the_authority_expires_by_as_much_as_clocks_may_differ() {
    let (stop, expire) = (
        node(0).delay(&Timer::Stop(1)),
        node(2).delay(&Timer::Expire),
    );
    assert_eq!(stop.end.as_millis(), 9_500);
    assert_eq!(expire.start.as_millis(), 10_000);
}

#[test]
fn who_does_not_hold_neither_writes_nor_renews() {
    let value = String::new();
    let write = call(Call::Write { ticket: 0, value });
    let renew = call(Call::Renew { ticket: 1 });
    let ended = endings(&said(&node(0), [write, renew]));
    assert_eq!(ended, [Ending::NotHolding, Ending::NotHolding]);
}

#[test]
fn what_cannot_be_done_now_is_refused_at_once() {
    let acquired = Ending::Acquired(Epoch(7));
    let acquire = call(Call::Acquire { ticket: 1 });
    assert_eq!(holder_given([acquire]), [acquired, Ending::Busy]);
    let write = |bytes| {
        let value = "v".repeat(bytes);
        call(Call::Write { ticket: 1, value })
    };
    assert_eq!(holder_given([write(VALUE_BYTES_MAX)]), [acquired]);
    assert_eq!(
        holder_given([write(VALUE_BYTES_MAX + 1)]),
        [acquired, Ending::TooLong]
    );
    assert_eq!(holder_given([write(1), write(1)]), [acquired, Ending::Busy]);
    let elsewhere = [call(Call::Acquire { ticket: 0 })];
    assert_eq!(
        endings(&said(&node(2), elsewhere.clone())),
        [Ending::NoHolder]
    );
    assert_eq!(endings(&said(&node(9), elsewhere)), [Ending::NoHolder]);
}

#[test]
fn a_holder_that_is_fenced_holds_no_longer() {
    let value = String::new();
    let given = [
        call(Call::Write { ticket: 1, value }),
        message(RESOURCE, Message::Fenced { epoch: Epoch(7) }),
        call(Call::Renew { ticket: 2 }),
    ];
    assert_eq!(
        holder_given(given),
        [
            Ending::Acquired(Epoch(7)),
            Ending::Fenced,
            Ending::NotHolding
        ]
    );
}

#[test]
fn an_old_fence_is_nothing_to_a_later_lease() {
    let old = message(RESOURCE, Message::Fenced { epoch: Epoch(6) });
    let renew = call(Call::Renew { ticket: 1 });
    let acquired = Ending::Acquired(Epoch(7));
    assert_eq!(holder_given([old, renew]), [acquired], "and it renews");
}

/// A node that crashed does not wait for the lease that it had: its own word says that it is over.
#[test]
fn who_asks_anew_has_let_go() {
    let ask = |incarnation, number| {
        let request = Request {
            incarnation,
            number,
        };
        let renews = None;
        message(NodeId(0), Message::Ask { request, renews })
    };
    let granted = |inputs: Vec<Input<Lease>>| {
        let outputs = said(&node(2), inputs);
        let tokens = outputs.into_iter().filter_map(|output| match output {
            Output::Send {
                message: Message::Granted { epoch, .. },
                ..
            } => Some(epoch.0),
            Output::Send { .. } | Output::Event(_) | Output::Arm(_) | Output::Disarm(_) => None,
        });
        tokens.collect::<Vec<u64>>()
    };
    assert_eq!(granted(vec![ask(1, 1), ask(2, 1)]), [1, 2]);
    assert_eq!(granted(vec![ask(1, 1), ask(1, 1)]), [1, 1], "asked again");
    assert_eq!(granted(vec![ask(2, 1), ask(1, 9)]), [1], "an old letter");
}

/// Each write of a holder takes effect once, in the order in which they were made.
#[test]
fn a_write_that_comes_again_has_no_effect() {
    let write = |epoch, number| {
        let value = String::new();
        let epoch = Epoch(epoch);
        message(
            NodeId(0),
            Message::Write {
                epoch,
                number,
                value,
            },
        )
    };
    let writes = [
        write(1, 1),
        write(1, 2),
        write(1, 1),
        write(2, 1),
        write(1, 3),
    ];
    let events: Vec<_> = (said(&node(3), writes).into_iter())
        .filter_map(|output| match output {
            Output::Event(event) => Some(event),
            Output::Send { .. } | Output::Arm(_) | Output::Disarm(_) => None,
        })
        .collect();
    let accepted = |epoch| Event::Accepted {
        from: NodeId(0),
        epoch: Epoch(epoch),
    };
    let refused = Event::Refused { epoch: Epoch(1) };
    assert_eq!(events, [accepted(1), accepted(1), accepted(2), refused]);
}

fn some_request() -> impl Strategy<Value = Request> {
    (0..3_u64, 0..4_u64).prop_map(|(incarnation, number)| Request {
        incarnation,
        number,
    })
}

fn some_message() -> impl Strategy<Value = Message> {
    let epoch = || prop_oneof![8 => 0..4_u64, 1 => any::<u64>()].prop_map(Epoch);
    let value = prop_oneof![8 => "[ab]", 1 => "v{769}"];
    prop_oneof![
        (some_request(), proptest::option::of(epoch()))
            .prop_map(|(request, renews)| Message::Ask { request, renews }),
        (some_request(), epoch()).prop_map(|(request, epoch)| Message::Granted { request, epoch }),
        some_request().prop_map(|request| Message::Denied { request }),
        (epoch(), any::<u64>(), value).prop_map(|(epoch, number, value)| Message::Write {
            epoch,
            number,
            value
        }),
        (epoch(), 0..3_u64).prop_map(|(epoch, number)| Message::Written { epoch, number }),
        epoch().prop_map(|epoch| Message::Fenced { epoch }),
    ]
}

fn one_move() -> impl Strategy<Value = Move<Lease>> {
    let value = prop_oneof![8 => "[ab]", 1 => "v{769}"];
    let calls = prop_oneof![
        2 => any::<u64>().prop_map(|ticket| Call::Acquire { ticket }),
        1 => any::<u64>().prop_map(|ticket| Call::Renew { ticket }),
        1 => (any::<u64>(), value).prop_map(|(ticket, value)| Call::Write { ticket, value }),
    ];
    let timers = prop_oneof![
        Just(Timer::Expire),
        (0..4_u64).prop_map(Timer::Stop),
        Just(Timer::Retry),
        Just(Timer::Again),
    ];
    prop_oneof![
        3 => calls.prop_map(|call| Move::Input(Input::Call(call))),
        9 => (0..5_u64, some_message()).prop_map(|(from, message)| {
            Move::Input(Input::Message { from: NodeId(from), message })
        }),
        3 => timers.prop_map(|timer| Move::Input(Input::Timer(timer))),
        1 => Just(Move::Restart),
    ]
}

proptest! {
    #[test]
    fn the_laws_of_every_machine_hold(me in 0..5_u64, moves in vec(one_move(), 0..80)) {
        laws::check(&node(me), moves);
    }
}
