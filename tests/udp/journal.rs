//! What is on the disk, and what is not taken from it.

use std::fs;
use std::path::Path;

use quorate::machine::{Durable as _, NodeId};
use quorate::register::{Change, Durable};
use quorate::udp::Identity;
use quorate::udp::journal::{Disk, Journal, JournalError, Problem, Recovered};
use tempfile::TempDir;

use crate::{identity, version};

fn create(directory: &Path) -> Journal {
    Journal::create::<Durable>(directory, &identity(1)).unwrap()
}

fn open(directory: &Path) -> Result<Recovered<Durable>, JournalError> {
    Journal::open(directory, &identity(1))
}

fn commit(journal: &mut Journal, changes: &[Change]) {
    Disk::<Durable>::commit(journal, changes).unwrap();
}

/// What the `number`-th commit of these tests writes.
fn changes(number: u64) -> Vec<Change> {
    let key = format!("key-{}", number % 3);
    let value = "v".repeat(usize::try_from(number).unwrap());
    vec![
        Change::Booted(number),
        Change::Version(key, version(number, 2, &value)),
    ]
}

/// What the first `count` commits add up to.
fn sum(count: u64) -> Durable {
    let mut durable = Durable::default();
    for change in (1..=count).flat_map(changes) {
        durable.apply(change);
    }
    durable
}

/// A journal of so many commits, closed, and where each record ends, its header first.
fn written(directory: &Path, commits: u64) -> Vec<usize> {
    let mut journal = create(directory);
    let mut ends = vec![usize::try_from(journal.bytes()).unwrap()];
    for number in 1..=commits {
        commit(&mut journal, &changes(number));
        ends.push(usize::try_from(journal.bytes()).unwrap());
    }
    ends
}

fn refused(directory: &Path) -> Problem {
    let path = directory.join("journal");
    let before = fs::read(&path).ok();
    let error = open(directory).unwrap_err();
    assert_eq!(fs::read(&path).ok(), before, "nothing is overwritten");
    assert!(error.to_string().contains(path.to_str().unwrap()));
    assert_eq!(error.to_string().lines().count(), 1);
    error.problem
}

#[test]
fn what_was_committed_is_recovered() {
    let directory = TempDir::new().unwrap();
    written(directory.path(), 5);
    let recovered = open(directory.path()).unwrap();
    assert_eq!(recovered.durable, sum(5));
    assert_eq!((recovered.journal.commits(), recovered.torn_bytes), (5, 0));
}

/// What is written of a file, without the zeros behind it.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let last = bytes.iter().rposition(|byte| *byte != 0);
    &bytes[..last.map_or(0, |last| last + 1)]
}

#[test]
fn a_journal_cut_anywhere_in_its_last_record_has_all_earlier_commits_and_goes_on() {
    let directory = TempDir::new().unwrap();
    let ends = written(directory.path(), 4);
    let path = directory.path().join("journal");
    let whole = fs::read(&path).unwrap();
    for end in ends[3]..ends[4] {
        fs::write(&path, &whole[..end]).unwrap();
        let Recovered {
            mut journal,
            durable,
            torn_bytes,
        } = open(directory.path()).unwrap();
        assert_eq!(durable, sum(3), "cut at {end}");
        assert_eq!(torn_bytes, end - ends[3]);
        commit(&mut journal, &changes(4));
        drop(journal);
        let again = fs::read(&path).unwrap();
        assert_eq!(trimmed(&again), trimmed(&whole));
        assert_eq!(open(directory.path()).unwrap().durable, sum(4));
    }
}

#[test]
fn a_last_record_of_which_any_sectors_are_missing_is_cut_and_the_journal_goes_on() {
    let directory = TempDir::new().unwrap();
    let mut journal = create(directory.path());
    commit(&mut journal, &changes(1));
    let before = fs::read(journal.path()).unwrap();
    let start = usize::try_from(journal.bytes()).unwrap();
    commit(&mut journal, &changes(2500));
    let end = usize::try_from(journal.bytes()).unwrap();
    drop(journal);
    let path = directory.path().join("journal");
    let whole = fs::read(&path).unwrap();
    let sectors: Vec<usize> = (start / 512..end.div_ceil(512)).collect();
    assert_eq!(sectors.len(), 6);
    for kept in 0..1_usize << sectors.len() {
        let mut torn = before.clone();
        for (number, sector) in sectors.iter().enumerate() {
            let range = sector * 512..(sector + 1) * 512;
            if kept & (1 << number) != 0 {
                torn[range.clone()].copy_from_slice(&whole[range]);
            }
        }
        fs::write(&path, &torn).unwrap();
        let mut recovered = open(directory.path()).unwrap();
        let is_whole = kept + 1 == 1 << sectors.len();
        assert_eq!(recovered.journal.commits(), if is_whole { 2 } else { 1 });
        assert_eq!(recovered.torn_bytes == 0, is_whole || kept == 0);
        if !is_whole {
            assert_eq!(recovered.durable, sum(1));
            // A shorter one in its place: nothing of the longer one may show behind it.
            commit(&mut recovered.journal, &changes(2));
            drop(recovered);
            assert_eq!(open(directory.path()).unwrap().durable, sum(2));
        }
    }
}

#[test]
fn a_journal_cut_before_its_last_record_is_recovered_to_the_cut() {
    // A file system that lost acknowledged records whole cannot be told from one that never had
    // them. That is what `Assumes` in the protocols is about: a disk keeps what it acknowledged.
    let directory = TempDir::new().unwrap();
    let ends = written(directory.path(), 4);
    let path = directory.path().join("journal");
    fs::write(&path, &fs::read(&path).unwrap()[..ends[2]]).unwrap();
    assert_eq!(open(directory.path()).unwrap().durable, sum(2));
}

#[test]
fn zeros_that_do_not_begin_where_a_sector_does_are_damage() {
    let directory = TempDir::new().unwrap();
    let mut journal = create(directory.path());
    commit(&mut journal, &changes(1));
    let start = usize::try_from(journal.bytes()).unwrap();
    commit(&mut journal, &changes(700));
    let end = usize::try_from(journal.bytes()).unwrap();
    drop(journal);
    let path = directory.path().join("journal");
    let mut damaged = fs::read(&path).unwrap();
    let sector = start.next_multiple_of(512);
    assert!(sector + 100 < end && end < sector + 512);
    damaged[sector + 5..].fill(0);
    fs::write(&path, &damaged).unwrap();
    assert!(
        matches!(refused(directory.path()), Problem::Damaged { offset, .. } if offset == start)
    );
}

#[test]
fn a_missing_sector_is_damage_if_a_later_commit_is_whole() {
    let directory = TempDir::new().unwrap();
    let mut journal = create(directory.path());
    for number in [1, 1500, 3] {
        commit(&mut journal, &changes(number));
    }
    drop(journal);
    let path = directory.path().join("journal");
    let whole = fs::read(&path).unwrap();
    for sector in [1, 2] {
        let mut damaged = whole.clone();
        damaged[sector * 512..(sector + 1) * 512].fill(0);
        fs::write(&path, &damaged).unwrap();
        assert!(matches!(refused(directory.path()), Problem::Damaged { .. }));
    }
}

#[test]
fn a_flip_behind_the_last_record_costs_no_commit() {
    let directory = TempDir::new().unwrap();
    let end = *written(directory.path(), 4).last().unwrap();
    let path = directory.path().join("journal");
    let whole = fs::read(&path).unwrap();
    for at in (end..whole.len()).step_by(509) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&path, &damaged).unwrap();
        if at / 512 == end / 512 {
            // It might be what is left of a record.
            assert!(matches!(refused(directory.path()), Problem::Damaged { .. }));
        } else {
            assert_eq!(open(directory.path()).unwrap().durable, sum(4));
        }
    }
}

#[test]
fn every_flipped_byte_is_refused_in_whatever_record() {
    let directory = TempDir::new().unwrap();
    let end = *written(directory.path(), 4).last().unwrap();
    let path = directory.path().join("journal");
    let whole = fs::read(&path).unwrap();
    for at in 0..end {
        for flip in [1 << (at % 8), 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            fs::write(&path, &damaged).unwrap();
            let problem = refused(directory.path());
            let as_expected = matches!(
                &problem,
                Problem::NotAJournal if at < 8
            ) || matches!(
                &problem,
                Problem::FromTheFuture(_) if (8..12).contains(&at)
            ) || matches!(
                &problem,
                Problem::Damaged { offset, .. } if *offset <= at
            );
            assert!(as_expected, "byte {at}: {problem:?}");
        }
    }
}

#[test]
fn zeros_within_a_journal_are_damage_and_no_torn_end() {
    let directory = TempDir::new().unwrap();
    let ends = written(directory.path(), 4);
    let path = directory.path().join("journal");
    let mut bytes = fs::read(&path).unwrap();
    bytes[ends[1]..ends[2]].fill(0);
    fs::write(&path, &bytes).unwrap();
    assert!(
        matches!(refused(directory.path()), Problem::Damaged { offset, .. } if offset == ends[1])
    );
}

#[test]
fn a_missing_or_repeated_record_is_refused() {
    let directory = TempDir::new().unwrap();
    let ends = written(directory.path(), 4);
    let path = directory.path().join("journal");
    let whole = fs::read(&path).unwrap();
    for bytes in [
        [&whole[..ends[1]], &whole[ends[2]..]].concat(),
        [&whole[..ends[2]], &whole[ends[1]..]].concat(),
    ] {
        fs::write(&path, bytes).unwrap();
        assert!(matches!(refused(directory.path()), Problem::Damaged { .. }));
    }
}

#[test]
fn the_first_record_and_the_header_are_never_torn() {
    let directory = TempDir::new().unwrap();
    let ends = written(directory.path(), 1);
    let path = directory.path().join("journal");
    let whole = fs::read(&path).unwrap();
    for end in 0..ends[0] {
        fs::write(&path, &whole[..end]).unwrap();
        assert!(matches!(refused(directory.path()), Problem::Damaged { .. }));
    }
}

#[test]
fn the_journal_of_another_is_refused() {
    let directory = TempDir::new().unwrap();
    written(directory.path(), 2);
    let ours = identity(1);
    let another = |change: fn(&mut Identity)| {
        let mut identity = ours.clone();
        change(&mut identity);
        Journal::open::<Durable>(directory.path(), &identity)
            .unwrap_err()
            .problem
    };
    let cluster = another(|it| it.cluster = 8);
    assert!(matches!(cluster, Problem::OtherCluster(7)), "{cluster:?}");
    let node = another(|it| it.node = NodeId(2));
    assert!(matches!(node, Problem::OtherNode(NodeId(1))), "{node:?}");
    let protocol = another(|it| it.protocol = "raft/1".into());
    assert!(
        matches!(&protocol, Problem::OtherProtocol(p) if p == "register/1"),
        "{protocol:?}"
    );
    let terms = another(|it| it.terms = 5);
    assert!(matches!(terms, Problem::OtherTerms), "{terms:?}");
    assert!(open(directory.path()).is_ok());
}

#[test]
fn a_journal_from_the_future_is_refused() {
    let directory = TempDir::new().unwrap();
    written(directory.path(), 1);
    let path = directory.path().join("journal");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 3;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(
        refused(directory.path()),
        Problem::FromTheFuture(3)
    ));
}

#[test]
fn a_missing_journal_is_refused_and_a_wrong_directory_left_as_it_was() {
    let directory = TempDir::new().unwrap();
    assert!(matches!(refused(directory.path()), Problem::Missing));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    assert!(matches!(
        refused(&directory.path().join("nowhere")),
        Problem::Missing
    ));
}

#[test]
fn a_new_journal_never_takes_the_place_of_an_old_one() {
    let directory = TempDir::new().unwrap();
    written(directory.path(), 3);
    let error = Journal::create::<Durable>(directory.path(), &identity(1)).unwrap_err();
    assert!(matches!(error.problem, Problem::Exists));
    assert_eq!(open(directory.path()).unwrap().durable, sum(3));
}

#[test]
fn two_cannot_share_a_journal() {
    let directory = TempDir::new().unwrap();
    let journal = create(directory.path());
    assert!(matches!(refused(directory.path()), Problem::Locked));
    drop(journal);
    assert!(open(directory.path()).is_ok());
}

#[test]
fn compaction_keeps_the_content_and_the_count_and_the_lock() {
    let directory = TempDir::new().unwrap();
    written(directory.path(), 50);
    let mut journal = open(directory.path()).unwrap().journal;
    let before = journal.bytes();
    journal.compact(&sum(50)).unwrap();
    assert!(journal.bytes() < before / 4);
    assert!(journal.bytes() < fs::metadata(journal.path()).unwrap().len());
    commit(&mut journal, &changes(51));
    assert!(matches!(refused(directory.path()), Problem::Locked));
    drop(journal);
    let recovered = open(directory.path()).unwrap();
    assert_eq!(recovered.durable, sum(51));
    assert_eq!(recovered.journal.commits(), 51);
}

#[test]
fn a_crash_in_the_middle_of_compaction_leaves_the_old_journal() {
    let directory = TempDir::new().unwrap();
    written(directory.path(), 3);
    fs::write(directory.path().join("journal.new"), "half of it").unwrap();
    let mut recovered = open(directory.path()).unwrap();
    assert_eq!(recovered.durable, sum(3));
    recovered.journal.compact(&sum(3)).unwrap();
    drop(recovered);
    assert_eq!(open(directory.path()).unwrap().durable, sum(3));
}

#[test]
fn a_journal_does_not_grow_without_bound() {
    let directory = TempDir::new().unwrap();
    let mut journal = create(directory.path());
    let mut durable = Durable::default();
    let mut written_bytes = 0;
    for number in 1..=100 {
        // 40 kB each, of which one is current.
        let batch: Vec<Change> = (0..50)
            .map(|_| Change::Version("key".into(), version(number, 2, &"v".repeat(768))))
            .collect();
        commit(&mut journal, &batch);
        for change in batch {
            durable.apply(change);
        }
        written_bytes += 40_000;
        journal.tidy(&durable).unwrap();
        assert!(journal.bytes() < 1_200_000);
    }
    assert!(written_bytes > 3 * journal.bytes());
    drop(journal);
    let recovered = open(directory.path()).unwrap();
    assert_eq!(
        (recovered.durable, recovered.journal.commits()),
        (durable, 100)
    );
}

#[test]
fn a_machine_that_keeps_nothing_has_a_journal_too() {
    let directory = TempDir::new().unwrap();
    let mut journal = Journal::create::<()>(directory.path(), &identity(1)).unwrap();
    Disk::<()>::commit(&mut journal, &[]).unwrap();
    drop(journal);
    Journal::open::<()>(directory.path(), &identity(1)).unwrap();
}
