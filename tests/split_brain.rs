use quorate::machine::NodeId;
use quorate::split_brain::{Alone, Strategy};
use quorate_models::split_brain::views::{self, Rule, by, first};
#[test]
fn explore() {
    let ages = |list: &[u64]| list.iter().map(|n| NodeId(*n)).collect::<Vec<_>>();
    let strategies = [
        Strategy::StaticQuorum(1),
        Strategy::StaticQuorum(2),
        Strategy::StaticQuorum(3),
        Strategy::KeepMajority,
        Strategy::KeepOldest(ages(&[0, 1, 2, 3, 4]), Alone::Stays),
        Strategy::KeepOldest(ages(&[0, 1, 2, 3, 4]), Alone::Leaves),
        Strategy::DownAll,
    ];
    let made: Vec<_> = strategies.iter().map(by).collect();
    let mut rules: Vec<Rule<'_>> = made.iter().map(|r| r as Rule<'_>).collect();
    rules.push(&views::first_turn);
    rules.push(&views::any_turn);
    for (what, n, c) in (1..=5).flat_map(|n| (0..=2).map(move |c| ("partitions", n, c))) {
        let t = std::time::Instant::now();
        for x in views::partitions(n, c, &rules) {
            println!("{what} {n} {c}: {x:?}");
        }
        println!("{:?}", t.elapsed());
    }
    for n in 1..=5 {
        let t = std::time::Instant::now();
        for x in views::graphs(n, &rules) {
            println!("graphs {n}: {x:?}");
        }
        println!("{:?}", t.elapsed());
    }
    for n in 1..=4 {
        let t = std::time::Instant::now();
        for x in views::unsettled(n, &rules) {
            println!("unsettled {n}: {x:?}");
        }
        println!("{:?}", t.elapsed());
    }
    let u: Vec<_> = (1..4).map(views::unguarded).collect();
    let flawed: Vec<(&str, Rule<'_>)> = vec![
        ("half", &views::half_or_more),
        ("heard", &views::majority_of_the_heard),
        ("seen", &views::majority_as_seen),
        ("hearing", &views::hearing_is_being_heard),
        ("chains", &views::chains_are_sides),
        ("string", &views::lowest_string),
        ("u1", &u[0]),
        ("u2", &u[1]),
        ("u3", &u[2]),
    ];
    for (name, rule) in flawed {
        println!(
            "{name} partitions {:?} changes {:?} graphs {:?}",
            first(6, rule, |n, r| views::partitions(n, 0, r)),
            first(4, rule, |n, r| views::partitions(n, 1, r)),
            first(4, rule, views::graphs)
        );
    }
}
