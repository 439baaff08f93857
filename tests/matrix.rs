//! The CAP matrix: what the checker computes is what is printed, and says what the theorem says.

use std::path::Path;
use std::sync::LazyLock;

use quorate::cap::Level;
use quorate_models::matrix::{FALLS, FAULTS, Fault, LEVELS, Matrix, Property, matrix, protocol};

/// Computed once, for it takes a while.
static MATRIX: LazyLock<Matrix> = LazyLock::new(matrix);

const TEXT: &str = "\
gets     puts      no fault    one crash   one cut
local    local     . . . A C   . . . A C   . . . A C
quorum   local     . . . A C   . . . A C   . . . . C
all      local     . . R A C   . . R . C   . . R . C
local    quorum    . . . A .   . . . A .   . . . . .
quorum   quorum    L S R A .   L S R A .   L S R . .
all      quorum    L S R A .   L S R . .   L S R . .
local    all       . . R A C   . . R . .   . . R . C
quorum   all       L S R A C   L S R . .   L S R . C
all      all       L S R A C   L S R . .   L S R . C

L linearizable, S sequential, R read your writes, A available, C convergent; a dot is refuted
";

#[test]
fn the_matrix_is_what_it_was() {
    assert_eq!(MATRIX.text(), TEXT, "{}", MATRIX.text());
}

#[test]
fn each_refuted_cell_is_an_exhibit_in_as_many_steps() {
    let found: Vec<(&str, usize, usize)> = (MATRIX.cells.iter())
        .flat_map(|cell| &cell.verdicts)
        .filter_map(|verdict| verdict.refuted.as_ref())
        .map(|refuted| (&*refuted.exhibit, refuted.world, refuted.steps))
        .collect();
    assert_eq!(found, FALLS, "{found:#?}");
    assert_eq!(protocol().flaws.len(), FALLS.len());
}

/// Gilbert and Lynch: a store that answers everywhere while a node is cut off is not linearizable.
#[test]
fn no_cell_is_linearizable_and_available_during_a_cut() {
    for cell in MATRIX.cells.iter().filter(|cell| cell.fault == Fault::Cut) {
        let both = cell.keeps(Property::Linearizable) && cell.keeps(Property::Available);
        assert!(!both, "{cell:?}");
    }
}

/// And if no node is cut off, some are both: the choice is forced by the cut alone.
#[test]
fn some_cells_are_both_while_nothing_is_cut() {
    for fault in [Fault::None, Fault::Crash] {
        let both = MATRIX
            .cell(Level::Quorum, Level::Quorum, fault)
            .expect("a cell");
        assert!(both.keeps(Property::Linearizable) && both.keeps(Property::Available));
    }
}

/// Gifford's R + W > N makes clients read what they wrote, but it takes majorities on both sides to be
/// linearizable: who reads all and writes one may lose a write to an earlier one.
#[test]
fn quorums_that_meet_are_not_enough_to_be_linearizable() {
    let size = |level| match level {
        Level::Local => 1,
        Level::Quorum => 2,
        Level::All => 3,
    };
    for cell in &MATRIX.cells {
        let (reads, writes) = (size(cell.reads), size(cell.writes));
        assert_eq!(
            cell.keeps(Property::ReadYourWrites),
            reads + writes > 3,
            "{cell:?}"
        );
        let majorities = reads.min(writes) > 1;
        assert_eq!(cell.keeps(Property::Linearizable), majorities, "{cell:?}");
    }
}

/// To clients that move, which these do, the order of each client's own calls is as much to ask as the
/// order on the wall.
#[test]
fn sequential_falls_wherever_linearizable_does() {
    for cell in &MATRIX.cells {
        let keeps = |property| cell.keeps(property);
        assert_eq!(keeps(Property::Sequential), keeps(Property::Linearizable));
    }
}

#[test]
fn every_pair_of_levels_has_a_cell_for_every_fault() {
    for reads in LEVELS {
        for writes in LEVELS {
            for fault in FAULTS {
                assert!(MATRIX.cell(reads, writes, fault).is_some());
            }
        }
    }
    assert_eq!(MATRIX.cells.len(), 27);
}

#[test]
fn the_picture_is_the_matrix() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/matrix/matrix.svg");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, MATRIX.svg()).expect("the picture can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        kept,
        MATRIX.svg(),
        "BLESS=1 cargo test --test matrix draws it"
    );
}
