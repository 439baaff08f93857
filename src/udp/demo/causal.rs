//! The causal store: questions and answers, on links that deliver the answer first; and a client that
//! moves.

use alloc::format;
use alloc::string::{String, ToString};

use super::{DemoError, Stage, TIMEOUT, eventually, said};
use crate::data::NodeSet;
use crate::machine::NodeId;
use crate::udp::remote::{Remote, shown};
use crate::udp::serve::say;
use crate::udp::std::time::Instant;

const ASKS: NodeId = NodeId(0);
const ANSWERS: NodeId = NodeId(1);
const READS: NodeId = NodeId(2);
/// How many questions are asked.
const QUESTIONS: usize = 20;

pub(super) fn show(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    say(&format!(
        "Three processes, each with a journal of its own in {}. Each answers at once, and none shows an effect before its cause.",
        stage.directory.display()
    ));
    stage.start_all()?;

    say("\nn0 and n2 are cut off from each other, and both reach n1: an answer that n1 writes");
    say("may well come to n2 before the question, which n1 passes on a little later.");
    stage.part(alone(ASKS), alone(READS))?;
    let started = Instant::now();
    let mut tally = Tally::default();
    for number in 0..QUESTIONS {
        one_question(stage, number, &mut tally)?;
    }
    said(
        started,
        &format!(
            "{QUESTIONS} questions at n0, answered at n1, read at n2: {} times the question was there \
             and not yet its answer, {} times both at once, {} times the answer without the question; \
             {} times n2 held an answer back",
            tally.question_first, tally.together, tally.answer_alone, tally.held
        ),
    );
    if tally.answer_alone > 0 {
        return Err(DemoError::Counted {
            what: "the answers that were seen before their questions".into(),
            promised: 0,
            counted: tally.answer_alone,
        });
    }

    say(
        "\nA client writes at n0 and goes to n2, which is cut off from the others. What it carries is",
    );
    say(
        "its session: with it n2 says that it has not seen so much; without it, n2 shows what it has.",
    );
    stage.heal()?;
    moving_client(stage)?;

    say("\nn1 is killed (SIGKILL) and comes back: it has what it had, and is sent what it missed.");
    stage.kill(ANSWERS)?;
    stage.expect(ASKS, &["SET", "news", "much"], "OK")?;
    stage.start(ANSWERS, None)?;
    await_value(stage, ANSWERS, "news", "much")?;
    let last = format!("answer-{}", QUESTIONS - 1);
    stage.expect(ANSWERS, &["GET", &last], "yes")?;
    stage.terminate_all()
}

fn alone(node: NodeId) -> NodeSet {
    [node].into_iter().collect()
}

/// What the reader saw.
#[derive(Default)]
struct Tally {
    question_first: usize,
    together: usize,
    answer_alone: usize,
    /// In how many questions something was seen to wait for what came before it.
    held: usize,
}

/// A question at one node, its answer at another by whom has read it, and a reader at the third.
fn one_question(stage: &Stage<'_>, number: usize, tally: &mut Tally) -> Result<(), DemoError> {
    let (question, answer) = (format!("question-{number}"), format!("answer-{number}"));
    expect(stage, ASKS, &["SET", &question, "well?"], "OK")?;
    eventually_is(stage, ANSWERS, &question, "well?")?;
    expect(stage, ANSWERS, &["SET", &answer, "yes"], "OK")?;
    let mut is_held = false;
    let mut is_question_first = false;
    let asked = format!("{READS}: GET {answer}");
    eventually(&asked, "yes", || {
        is_held |= stage.told(READS, "held")? != "0";
        // The answer first: if it is there, so must be the question.
        let has_answer = shown(&stage.ask(READS, &["GET", &answer])?) == "yes";
        let has_question = shown(&stage.ask(READS, &["GET", &question])?) == "well?";
        is_question_first |= has_question && !has_answer;
        if has_answer && !has_question {
            tally.answer_alone += 1;
        }
        Ok(if has_answer {
            Ok(())
        } else {
            Err("(nothing)".to_string())
        })
    })?;
    tally.held += usize::from(is_held);
    tally.question_first += usize::from(is_question_first);
    tally.together += usize::from(!is_question_first);
    Ok(())
}

/// Reads its own writes, or is told that it cannot.
fn moving_client(stage: &Stage<'_>) -> Result<(), DemoError> {
    expect(stage, ASKS, &["SET", "colour", "green"], "OK")?;
    eventually_is(stage, READS, "colour", "green")?;
    stage.cut(alone(READS))?;
    let mut client = connect(stage, ASKS)?;
    ask(&mut client, ASKS, &["SET", "colour", "blue"], "OK")?;
    let session = asked(&mut client, ASKS, &["SESSION"])?;
    stage.expect(READS, &["GET", "colour"], "green")?;
    let mut client = connect(stage, READS)?;
    ask(&mut client, READS, &["SESSION", &session], "OK")?;
    ask(&mut client, READS, &["GET", "colour"], "UNANSWERED")?;
    stage.heal()?;
    let started = Instant::now();
    let question = format!("{READS}: GET colour, with the session");
    eventually(&question, "blue", || {
        let reply = asked(&mut client, READS, &["GET", "colour"])?;
        match reply.as_str() {
            // It has not come yet, and nothing older is shown in its place.
            "blue" => Ok(Ok(())),
            reply if reply.starts_with("UNANSWERED") => Ok(Err(reply.into())),
            _ => Err(DemoError::Replied {
                asked: question.clone(),
                promised: "blue".into(),
                reply,
            }),
        }
    })?;
    said(started, &format!("{question} -> blue"));
    Ok(())
}

fn connect(stage: &Stage<'_>, node: NodeId) -> Result<Remote, DemoError> {
    let address = stage.cluster.clients.get(&node).copied();
    let address = address.ok_or_else(|| DemoError::Process(node, "has no front".into()))?;
    Remote::connect(address, TIMEOUT)
        .map_err(|error| DemoError::Asked(format!("connect to {node}"), error))
}

fn asked(client: &mut Remote, node: NodeId, words: &[&str]) -> Result<String, DemoError> {
    let reply = client.ask(words);
    let reply = reply
        .map_err(|error| DemoError::Asked(format!("ask {node} {}", words.join(" ")), error))?;
    Ok(shown(&reply))
}

/// Asks as one client, and says what was answered: something that begins so.
fn ask(client: &mut Remote, node: NodeId, words: &[&str], promised: &str) -> Result<(), DemoError> {
    let started = Instant::now();
    let reply = asked(client, node, words)?;
    // Nobody reads the text of a session.
    let words = words
        .iter()
        .map(|word| if word.len() > 40 { "…" } else { word });
    let words: alloc::vec::Vec<&str> = words.collect();
    let asked = format!("{node}: {}", words.join(" "));
    if !reply.starts_with(promised) {
        return Err(DemoError::Replied {
            asked,
            promised: promised.into(),
            reply,
        });
    }
    said(started, &format!("{asked} -> {reply}"));
    Ok(())
}

/// Asks and says nothing.
fn expect(
    stage: &Stage<'_>,
    node: NodeId,
    words: &[&str],
    promised: &str,
) -> Result<(), DemoError> {
    let reply = shown(&stage.ask(node, words)?);
    if reply == promised {
        return Ok(());
    }
    Err(DemoError::Replied {
        asked: format!("{node}: {}", words.join(" ")),
        promised: promised.into(),
        reply,
    })
}

/// Asks until this is the value, but not for ever.
fn eventually_is(stage: &Stage<'_>, node: NodeId, key: &str, value: &str) -> Result<(), DemoError> {
    let asked = format!("{node}: GET {key}");
    eventually(&asked, value, || {
        let reply = shown(&stage.ask(node, &["GET", key])?);
        Ok(if reply == value { Ok(()) } else { Err(reply) })
    })
}

/// The same, and says so.
fn await_value(stage: &Stage<'_>, node: NodeId, key: &str, value: &str) -> Result<(), DemoError> {
    let started = Instant::now();
    eventually_is(stage, node, key, value)?;
    said(started, &format!("{node}: GET {key} -> {value}"));
    Ok(())
}
