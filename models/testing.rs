//! What tests of models are written with: one line each.

use std::path::PathBuf;

use crate::catalogue::{Claim, Depth, Exhibit, How, Report, protocol};
use crate::engine::unwatched;
use crate::purge::Discharged;

fn with<T>(protocol_name: &str, name: &str, act: impl FnOnce(&dyn Exhibit) -> T) -> T {
    let protocol = protocol(protocol_name)
        .unwrap_or_else(|| panic!("no protocol is called {protocol_name:?}"));
    let exhibit = (protocol.exhibit(name))
        .unwrap_or_else(|| panic!("no world or flaw of {protocol_name} is called {name:?}"));
    act(exhibit)
}

fn check(protocol: &str, name: &str) -> Option<Report> {
    with(protocol, name, |exhibit| {
        let wanted = exhibit.depth() == Depth::Default || std::env::var_os("DEEP").is_some();
        wanted.then(|| {
            let report = exhibit.check(&How::default(), &mut unwatched);
            report.expect("nobody else is needed")
        })
    })
}

/// Every promise of the world holds, the search was exhausted, and it found exactly this many states:
/// the number that the catalogue claims too.
///
/// # Panics
///
/// If not. The message has the story.
pub fn holds(protocol: &str, world: &str, unique: usize) {
    let Some(report) = check(protocol, world) else {
        return;
    };
    let story = report.story.unwrap_or_default();
    assert_eq!(
        report.verdict, "EXHAUSTED",
        "{:?} fell\n{story}",
        report.refuted
    );
    let generated = report.generated;
    assert_eq!(
        report.unique, unique,
        "distinct states of {world}, of {generated} that were generated"
    );
    assert_eq!(
        report.surprise, None,
        "{world} is not as the catalogue claims"
    );
}

/// The promise falls, and the shortest story of it is the page in `tests/stories`. With `BLESS=1` in
/// the environment the page is written instead; read it before you commit it.
///
/// # Panics
///
/// If not.
pub fn refutes(protocol: &str, flaw: &str, promise: &str) {
    let Some(report) = check(protocol, flaw) else {
        return;
    };
    let claimed =
        matches!(report.claim, Claim::Falls { promise: claimed, .. } if claimed == promise);
    assert!(
        claimed,
        "the catalogue claims that {flaw} refutes something else"
    );
    assert_eq!(report.refuted, Some(promise), "{flaw} refutes {promise:?}");
    let story = report.story.expect("what is refuted has a story");
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/stories");
    let path = root.join(format!("{protocol}-{flaw}.txt"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(&root).expect("tests/stories can be made");
        std::fs::write(&path, &story).expect("a story can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        story, kept,
        "the story differs from tests/stories/{protocol}-{flaw}.txt; if it should, BLESS=1 writes it"
    );
    assert_eq!(
        report.surprise, None,
        "{flaw} is not as the catalogue claims"
    );
}

/// Both of stateright's numbers are those of our own search, with every mirror image of every state;
/// and those by full equality are the ones that are claimed.
///
/// # Panics
///
/// If not.
pub fn audits(protocol: &str, world: &str) {
    with(protocol, world, |exhibit| {
        let Claim::Holds { unique, generated } = exhibit.claim() else {
            panic!("{world} is claimed to fall: audit a world that holds");
        };
        let [theirs, ours] = exhibit.reference();
        assert_eq!(theirs, ours, "stateright's search");
        assert_eq!(
            exhibit.audit(),
            (unique, generated),
            "states told apart by full equality"
        );
    });
}

/// What is claimed of an exhibit that stands in no catalogue is so.
///
/// # Panics
///
/// If not. The message has the story.
pub fn is_as_claimed(exhibit: &dyn Exhibit) {
    let report = exhibit.check(&How::default(), &mut unwatched);
    let report = report.expect("nobody else is needed");
    let story = report.story.unwrap_or_default();
    assert_eq!(report.surprise, None, "{story}");
}

/// Every obligation of a purge was discharged, and none for nothing.
///
/// # Panics
///
/// If not.
pub fn discharges(obligations: Result<Vec<Discharged>, String>) {
    let discharged = obligations.unwrap_or_else(|failure| panic!("{failure}"));
    for one in discharged {
        assert!(
            0 < one.inert && 0 < one.stays_dead,
            "something is dead: {one:?}"
        );
        assert!(one.reduced < one.states, "something is gained: {one:?}");
    }
}
