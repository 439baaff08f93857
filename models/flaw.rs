//! What flawed machines are made with.
//!
//! A flaw is a machine that delegates to the right one and gets one thing wrong. It has the same
//! calls, messages, alarms, events and states, so that the same worlds, ghosts and promises apply.

use quorate::machine::{Machine, Outbox, Output, State};

/// A machine with all the types of `R`.
pub trait Twin<R: Machine>:
    Machine<
        Call = R::Call,
        Message = R::Message,
        Timer = R::Timer,
        Event = R::Event,
        Durable = R::Durable,
        Volatile = R::Volatile,
    >
{
}

impl<R: Machine, F> Twin<R> for F where
    F: Machine<
            Call = R::Call,
            Message = R::Message,
            Timer = R::Timer,
            Event = R::Event,
            Durable = R::Durable,
            Volatile = R::Volatile,
        >
{
}

/// Boots the right machine, and passes on what it says.
pub fn boot<R: Machine, F: Twin<R>>(
    right: &R,
    durable: &mut R::Durable,
    out: &mut Outbox<F>,
) -> R::Volatile {
    let mut inner = Outbox::default();
    let volatile = right.boot(durable, &mut inner);
    for output in inner.drain() {
        out.push(twin(output));
    }
    volatile
}

/// Lets the right machine act on the state of its flawed twin, and gives its outputs, for the flaw
/// to spoil.
pub fn delegate<R: Machine, F: Twin<R>>(
    state: &mut State<F>,
    act: impl FnOnce(&mut State<R>, &mut Outbox<R>),
) -> Vec<Output<F>> {
    let mut right = State {
        durable: state.durable.clone(),
        volatile: state.volatile.clone(),
    };
    let mut out = Outbox::default();
    act(&mut right, &mut out);
    state.durable = right.durable;
    state.volatile = right.volatile;
    out.drain().map(twin).collect()
}

/// An output of one machine as that of its twin.
pub fn twin<R: Machine, F: Twin<R>>(output: Output<R>) -> Output<F> {
    match output {
        Output::Send { to, message } => Output::Send { to, message },
        Output::Arm(timer) => Output::Arm(timer),
        Output::Disarm(timer) => Output::Disarm(timer),
        Output::Event(event) => Output::Event(event),
    }
}
