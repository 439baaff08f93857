//! The adapter through a thousand storms: the deployed loop, journal, frames and desk, on a clock, a
//! network and disks that are made up from a seed.
#![cfg(feature = "udp")]

use std::fs;
use std::io::Cursor;
use std::path::PathBuf;

use quorate::machine::NodeId;
use quorate::udp::configuration::Protocol;
use quorate::udp::recording::{Recording, RecordingError, Replayed, replay};
use quorate::udp::served::{ForServed, Served, with};
use quorate_models::cluster::{Plan, SIMULATED, Sabotage, Violation, run, storms};
use quorate_models::recordings::judge;
use tempfile::TempDir;

/// How many seeds each protocol goes through, unless `CLUSTER_SEEDS` says otherwise.
const SEEDS: u64 = 1_000;

fn seeds() -> u64 {
    let asked = std::env::var("CLUSTER_SEEDS").ok();
    asked.and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS)
}

fn weathers(protocol: Protocol) {
    let report = storms(protocol, 0..seeds(), None);
    let name = protocol.name();
    if let Some((seed, violation)) = report.broken.first() {
        let log = run(plan(protocol, *seed)).log;
        let end = log.len().saturating_sub(200);
        panic!(
            "{} of {} runs of {name} broke something; seed {seed}: {violation}\n\
             cargo model cluster {name} --from {seed} --seeds 1 --log\n{}",
            report.broken.len(),
            report.runs,
            log[end..].join("\n")
        );
    }
    // It was a storm.
    for what in [
        "acknowledged",
        "unknown",
        "power cuts",
        "bytes torn off",
        "torn ends cut",
        "kills",
        "pauses",
        "cuts",
        "disk failures",
        "datagrams lost",
    ] {
        assert!(report.tally.of(what) > 0, "{name} met no {what}");
    }
}

#[test]
fn the_register_weathers_every_storm() {
    weathers(Protocol::Register);
}

#[test]
fn raft_weathers_every_storm() {
    weathers(Protocol::Raft);
}

#[test]
fn the_store_weathers_every_storm() {
    weathers(Protocol::Store);
}

#[test]
fn the_consistent_store_weathers_every_storm() {
    weathers(Protocol::CapCp);
}

#[test]
fn the_available_store_weathers_every_storm() {
    weathers(Protocol::CapAp);
}

fn plan(protocol: Protocol, seed: u64) -> Plan {
    Plan {
        protocol,
        seed,
        sabotage: None,
        log: true,
    }
}

#[test]
fn a_run_happens_again_byte_for_byte_and_another_seed_is_another_run() {
    for protocol in SIMULATED {
        let (one, again) = (run(plan(protocol, 5)), run(plan(protocol, 5)));
        assert_eq!(one.digest, again.digest);
        assert_eq!(one.tally, again.tally);
        assert_eq!(one.log, again.log);
        assert_eq!(one.recordings, again.recordings);
        assert_ne!(one.digest, run(plan(protocol, 6)).digest);
    }
}

/// What each sabotage is caught by, and in how many of how many seeds at least.
const CAUGHT: [(Sabotage, Protocol, u64); Sabotage::ALL.len()] = [
    (Sabotage::NoFlush, Protocol::Register, 10),
    (Sabotage::SendBeforeFlush, Protocol::Register, 300),
    (Sabotage::ReplyBeforeFlush, Protocol::CapAp, 300),
    (Sabotage::NoJournal, Protocol::Raft, 10),
    (Sabotage::BootForgotten, Protocol::Register, 2_000),
    (Sabotage::DamageCut, Protocol::Raft, 500),
    (Sabotage::FailureIgnored, Protocol::Register, 300),
    (Sabotage::StaleSnapshot, Protocol::CapCp, 200),
    (Sabotage::RenameBeforeFlush, Protocol::CapAp, 100),
    (Sabotage::NamesReused, Protocol::Raft, 300),
    (Sabotage::UnknownToldAsFailure, Protocol::CapCp, 10),
    (Sabotage::BlindRetry, Protocol::Raft, 20),
    (Sabotage::ReceiverUnchecked, Protocol::Register, 3_000),
    (Sabotage::ChecksumUnchecked, Protocol::Register, 200),
];

#[test]
fn an_adapter_that_gets_one_thing_wrong_is_caught() {
    for (listed, sabotage) in CAUGHT.iter().zip(Sabotage::ALL) {
        assert_eq!(listed.0, sabotage);
    }
    for (sabotage, protocol, seeds) in CAUGHT {
        let caught = (0..seeds).find_map(|seed| {
            let sabotaged = Plan {
                protocol,
                seed,
                sabotage: Some(sabotage),
                log: false,
            };
            run(sabotaged).violation.map(|violation| (seed, violation))
        });
        let (name, of) = (sabotage.name(), protocol.name());
        let Some((seed, violation)) = caught else {
            panic!("none of {seeds} seeds of {of} catches {name}");
        };
        // It is the sabotage that is caught.
        let clean = run(Plan {
            protocol,
            seed,
            sabotage: None,
            log: false,
        });
        assert_eq!(
            clean.violation, None,
            "{name}, seed {seed} of {of}: {violation}"
        );
    }
}

struct Again(Vec<u8>);

impl ForServed for Again {
    type Output = Result<(usize, usize), RecordingError>;

    fn with<M: Served>(self) -> Result<(usize, usize), RecordingError> {
        let mut recording = Recording::open(Cursor::new(self.0))?;
        let settings = recording.settings()?;
        let cluster = settings.cluster().unwrap();
        let machine = M::machine(&cluster, NodeId(settings.id.unwrap()));
        let Replayed { steps, outputs, .. } = replay(&machine, &mut recording)?;
        Ok((steps, outputs))
    }
}

#[test]
fn what_nodes_recorded_their_machines_say_again() {
    for protocol in SIMULATED {
        let (mut boots, mut steps, mut outputs) = (0, 0, 0);
        for seed in 0..20 {
            for recording in run(plan(protocol, seed)).recordings {
                let of_one = with(protocol, Again(recording)).unwrap();
                boots += 1;
                steps += of_one.0;
                outputs += of_one.1;
            }
        }
        assert!(
            boots > 100 && steps > 1_000 && outputs > 1_000,
            "{boots} {steps} {outputs}"
        );
    }
}

#[test]
fn the_judge_of_recordings_says_what_the_judge_of_the_run_does() {
    let judged = |sabotage, seed| {
        let outcome = run(Plan {
            sabotage,
            ..plan(Protocol::Raft, seed)
        });
        let directory = TempDir::new().unwrap();
        let files: Vec<PathBuf> = (0..outcome.recordings.len())
            .map(|number| directory.path().join(number.to_string()))
            .collect();
        for (file, recording) in files.iter().zip(outcome.recordings) {
            fs::write(file, recording).unwrap();
        }
        (outcome.violation, judge(&files, 0))
    };
    for seed in 0..10 {
        let (violation, verdict) = judged(None, seed);
        assert_eq!(violation, None);
        assert!(verdict.unwrap().ends_with("are linearizable"));
    }
    let mut refuted = 0;
    for seed in 0..20 {
        let (violation, verdict) = judged(Some(Sabotage::NoJournal), seed);
        if matches!(violation, Some(Violation::History(_))) {
            refuted += usize::from(verdict.is_err());
        }
    }
    assert!(refuted > 3, "{refuted} histories were refuted twice");
}

#[test]
fn a_recording_that_is_cut_anywhere_replays_to_the_cut() {
    // Of first boots, which begin with nothing.
    let recordings = run(plan(Protocol::Raft, 1)).recordings.into_iter().take(3);
    let whole = recordings.max_by_key(Vec::len).unwrap();
    let all = with(Protocol::Raft, Again(whole.clone())).unwrap();
    let mut fewer = 0;
    for end in (600..whole.len()).step_by(whole.len() / 50) {
        let some = with(Protocol::Raft, Again(whole[..end].to_vec())).unwrap();
        assert!(some <= all);
        fewer += usize::from(some < all);
    }
    assert!(fewer > 40);
}

#[test]
fn a_recording_of_another_machine_differs_and_one_that_is_damaged_is_refused() {
    let recordings = run(plan(Protocol::Register, 1)).recordings;
    let whole = recordings.into_iter().max_by_key(Vec::len).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 100) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        match with(Protocol::Register, Again(damaged)) {
            Err(RecordingError::Damaged { .. } | RecordingError::NotARecording) => {}
            // A length that leads beyond the end is a cut.
            Ok((steps, _)) => {
                let all = with(Protocol::Register, Again(whole.clone())).unwrap();
                assert!(steps <= all.0, "byte {at}");
            }
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    // Node 1 says what node 0 would not.
    let swapped = {
        let mut recording = Recording::open(Cursor::new(whole.clone())).unwrap();
        let settings = recording.settings().unwrap();
        let cluster = settings.cluster().unwrap();
        let other = (settings.id.unwrap() + 1) % 3;
        type Machine = quorate::register::Register;
        replay(&Machine::machine(&cluster, NodeId(other)), &mut recording)
    };
    assert!(matches!(swapped, Err(RecordingError::Differs { .. })));
}
