//! The laws of every machine, for property tests: they take any machine and any run of it.

use std::collections::BTreeSet;
use std::fmt::Debug;

use quorate::machine::{Durable, Input, Machine, Output, State, Step, boot, step};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One thing that happens to a lone node in a property test.
#[derive(Clone, Debug)]
pub enum Move<M: Machine> {
    /// Any input: a forged message too. Of alarms, those that are armed are rung.
    Input(Input<M>),
    /// It crashes, and restarts from its disk.
    Restart,
}

/// Runs `moves` through `machine`, and asserts what is promised of every machine: equal arguments
/// give equal results; nothing panics; [`Machine::holds`] of every state; every value survives its
/// encoding; and the changes of a step, applied to the disk as it was, give the disk as it is.
///
/// # Panics
///
/// If a law is broken.
pub fn check<M: Machine>(machine: &M, moves: Vec<Move<M>>) {
    let mut journal = M::Durable::default();
    let mut armed = BTreeSet::new();
    let mut state = take(
        machine,
        boot(machine, journal.clone()),
        &mut journal,
        &mut armed,
    );
    for one in moves {
        match one {
            Move::Restart => {
                armed.clear();
                let booted = boot(machine, journal.clone());
                state = take(machine, booted, &mut journal, &mut armed);
            }
            Move::Input(input) => {
                if let Input::Timer(timer) = &input
                    && !armed.remove(timer)
                {
                    continue;
                }
                encoded(&input);
                let twice = step(machine, state.clone(), input.clone());
                let once = step(machine, state, input);
                assert_eq!(once, twice, "equal arguments give equal results");
                state = take(machine, once, &mut journal, &mut armed);
            }
        }
    }
}

fn take<M: Machine>(
    machine: &M,
    taken: Step<M>,
    journal: &mut M::Durable,
    armed: &mut BTreeSet<M::Timer>,
) -> State<M> {
    let Step { state, sealed } = taken;
    assert!(machine.holds(&state), "the local invariant of {state:?}");
    let clean = sealed.is_clean();
    let before = journal.clone();
    let outputs = sealed.persist(|changes| {
        for change in changes {
            encoded(change);
            journal.apply(change.clone());
        }
        Ok::<(), ()>(())
    });
    assert_eq!(
        *journal, state.durable,
        "the changes, applied, give the disk"
    );
    assert_eq!(
        clean,
        before == state.durable,
        "clean if and only if nothing changed"
    );
    encoded(&state.durable);
    encoded(&state.volatile);
    for output in outputs.expect("this disk does not fail") {
        encoded(&output);
        match output {
            Output::Arm(timer) => {
                let range = machine.delay(&timer);
                assert!(range.start < range.end, "some delay is possible");
                armed.insert(timer);
            }
            Output::Disarm(timer) => {
                armed.remove(&timer);
            }
            Output::Send { .. } | Output::Event(_) => {}
        }
    }
    state
}

fn encoded<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let bytes = postcard::to_stdvec(value).expect("plain data can be encoded");
    let back = postcard::from_bytes::<T>(&bytes).expect("what was encoded can be decoded");
    assert_eq!(*value, back, "a value survives its encoding");
}
