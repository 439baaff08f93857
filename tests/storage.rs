//! What the engine keeps its states in: the set of fingerprints, rows on disk, and the names of variants.

use std::collections::BTreeSet;

use proptest::prelude::*;
use quorate_models::engine::rows::Rows;
use quorate_models::engine::spill::Spill;
use quorate_models::engine::table::Table;
use quorate_models::engine::variant;

proptest! {
    #[test]
    fn a_table_is_a_set(
        prints in proptest::collection::vec(
            prop_oneof![any::<u64>(), 0..40_u64, (u64::MAX - 40)..=u64::MAX],
            0..4_000,
        ),
    ) {
        let (mut table, mut model) = (Table::default(), BTreeSet::new());
        for print in prints {
            prop_assert_eq!(table.contains(print), model.contains(&print.max(1)));
            prop_assert_eq!(table.insert(print), model.insert(print.max(1)));
            prop_assert!(table.contains(print));
        }
        prop_assert_eq!(table.len(), model.len());
    }
}

#[test]
fn a_large_table_stays_small() {
    let mut table = Table::default();
    let mut print = 1_u64;
    for _ in 0..1_000_000 {
        print = print
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        table.insert(print ^ print >> 29);
    }
    assert!(table.bytes() < 16 * table.len());
}

#[test]
fn what_was_put_is_taken_in_order() {
    let rows = |from: u32| {
        let mut rows = Rows::default();
        for row in from..from + 10 {
            rows.push(&vec![row; row as usize % 4], u64::from(row) << 40);
        }
        rows
    };
    let mut spill = Spill::new().expect("a temporary file");
    for from in [0, 10] {
        spill.put(&mut rows(from)).expect("room on the disk");
    }
    assert_eq!(spill.len(), 20);
    let mut back = Rows::default();
    for from in [0, 10] {
        assert!(spill.take(&mut back).expect("it can be read"));
        assert_eq!(back.len(), 10);
        for at in 0..10 {
            assert_eq!(back.get(at), rows(from).get(at));
        }
    }
    assert!(!spill.take(&mut back).expect("nothing is read"));
    assert_eq!((spill.len(), back.len()), (0, 0));
}

#[derive(Debug)]
#[expect(dead_code, reason = "it is printed")]
enum Outer {
    Plain,
    Inner(Inner),
    Number(u8),
    Named { inner: Inner },
}

#[derive(Debug)]
#[expect(dead_code, reason = "it is printed")]
enum Inner {
    Deep { with: u8 },
}

#[test]
fn variants_are_named_as_they_are_written() {
    let inner = || Inner::Deep { with: 1 };
    assert_eq!(variant(&Outer::Plain), "Plain");
    assert_eq!(variant(&Outer::Inner(inner())), "Inner Deep");
    assert_eq!(variant(&Outer::Number(3)), "Number");
    assert_eq!(variant(&Outer::Named { inner: inner() }), "Named");
    assert_eq!(variant(&()), "()");
    assert_eq!(variant(&7_u8), "7");
}
