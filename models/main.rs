//! x
fn main() {
    for p in quorate_models::catalogue::protocols() {
        for e in p.worlds.iter().chain(&p.flaws) {
            if let Some(w) = std::env::args().nth(1) { if w != e.name() { continue; } }
            let r = e.check(&mut |p| { if p.unique % (1<<20) < 5000 { eprintln!("{p:?}") } });
            println!("{} unique {} generated {} depth {} {:.2}s {} {:?} {:?}", r.world, r.unique, r.generated, r.depth, r.seconds, r.verdict, r.refuted, r.surprise);
            if let Some(s) = r.story { println!("{s}"); }
        }
    }
}
