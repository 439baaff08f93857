//! Keys, and what a signature is of.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;

use quorate::data::Map;
use quorate::kv::Reply;
use quorate::machine::{NodeId, Output, State, boot};
use quorate::pbft::{
    Answer, Batch, Checkpoint, Commit, Digest, Durable, Keys as _, Message, NewView, PrePrepare,
    Prepare, Reading, Sequence, Statement, View, ViewChange,
};
use quorate::udp::keys::{KeyError, KeyRing, PublicKey, SecretKey};
use tempfile::TempDir;

use super::{CLUSTER, Machine, assignment, hears, machine, put, rings, rings_of, secrets};
use crate::processes::{free_addresses, quorate};

#[test]
fn a_key_is_kept_in_a_file_that_nobody_else_may_read() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("n0.key");
    let secret = SecretKey::generate().unwrap();
    secret.write(&path).unwrap();
    assert_eq!(SecretKey::read(&path).unwrap().public(), secret.public());
    assert!(matches!(secret.write(&path), Err(KeyError::Exists(_))));
    assert!(!format!("{secret:?}").contains(&fs::read_to_string(&path).unwrap()[10..74]));

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = SecretKey::read(&path).unwrap_err();
        assert!(matches!(error, KeyError::Exposed(_, 0o640)), "{error}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    for wrong in [
        "",
        "secret = \"00\"",
        "secret = 7",
        "public = \"x\"",
        "\u{0}",
    ] {
        fs::write(&path, wrong).unwrap();
        let error = SecretKey::read(&path).unwrap_err();
        assert!(matches!(error, KeyError::Malformed(_)), "{wrong}: {error}");
    }
    let nowhere = SecretKey::read(&directory.path().join("none")).unwrap_err();
    assert!(nowhere.to_string().contains("quorate keygen"), "{nowhere}");
}

#[test]
fn a_public_key_is_64_digits_and_none_that_fits_anything() {
    let key = SecretKey::generate().unwrap().public();
    assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
    // The neutral element: a signature of it verifies under any statement.
    let weak = format!("01{}", "0".repeat(62));
    for wrong in ["", "00", &weak, &"zz".repeat(32), &"0".repeat(66)] {
        assert!(wrong.parse::<PublicKey>().is_err(), "{wrong}");
    }
}

/// Every kind of statement, signed by `ring` and shown to `judge`: whether it believes it, by kind.
fn believed(signer: &KeyRing, judge: &KeyRing, by: u64) -> Vec<bool> {
    fn judged<T: Statement>(signer: &KeyRing, judge: &KeyRing, by: u64, value: T) -> bool {
        judge.is_genuine(&signer.signed(NodeId(by), value))
    }
    let request = put(signer, by, 1, "A").value;
    let answer = Answer {
        view: View(0),
        client: NodeId(0),
        session: request.session,
        reply: Reply::Done,
    };
    let one = assignment(0, 1, Digest([7; 32]));
    let checkpoint = Checkpoint {
        sequence: Sequence(2),
        digest: Digest([7; 32]),
    };
    let change = ViewChange {
        view: View(1),
        stable: None,
        prepared: Vec::new(),
    };
    let new_view = NewView {
        view: View(1),
        changes: Map::default(),
        pre_prepares: Vec::new(),
    };
    vec![
        judged(signer, judge, by, request),
        judged(signer, judge, by, answer.clone()),
        judged(signer, judge, by, Reading(answer)),
        judged(signer, judge, by, PrePrepare(one)),
        judged(signer, judge, by, Prepare(one)),
        judged(signer, judge, by, Commit(one)),
        judged(signer, judge, by, checkpoint),
        judged(signer, judge, by, change),
        judged(signer, judge, by, new_view),
    ]
}

#[test]
fn a_signature_is_of_one_node_in_one_cluster() {
    let (secrets, public) = secrets(4);
    let ours = rings_of(CLUSTER, &secrets, &public);
    let theirs = rings_of(CLUSTER + 1, &secrets, &public);
    assert_eq!(believed(&ours[1], &ours[0], 1), [true; 9]);
    assert_eq!(
        believed(&theirs[1], &ours[0], 1),
        [false; 9],
        "of another cluster"
    );
    assert_eq!(
        believed(&ours[1], &ours[0], 2),
        [false; 9],
        "of another node"
    );
    assert_eq!(believed(&ours[1], &ours[0], 9), [false; 9], "of nobody");
    let mute = KeyRing::without_secret(CLUSTER, NodeId(1), public);
    assert_eq!(believed(&mute, &ours[0], 1), [false; 9], "without a secret");
    assert_eq!(ours[0].tallied().refused, 36);
    assert_eq!(ours[0].tallied().verified, 9);
}

#[test]
fn a_signature_is_of_one_kind_of_statement() {
    let rings = rings(CLUSTER);
    let one = assignment(0, 1, Digest([7; 32]));
    let signatures = [
        rings[1].sign(&PrePrepare(one)),
        rings[1].sign(&Prepare(one)),
        rings[1].sign(&Commit(one)),
    ];
    for (made, signature) in signatures.iter().enumerate() {
        let by = NodeId(1);
        let believed = [
            rings[0].verify(by, &PrePrepare(one), signature),
            rings[0].verify(by, &Prepare(one), signature),
            rings[0].verify(by, &Commit(one), signature),
        ];
        let expected: Vec<bool> = (0..3).map(|kind| kind == made).collect();
        assert_eq!(believed.as_slice(), expected);
    }
    // All of these have one encoding: only the kind tells them apart.
    assert_eq!(signatures.iter().collect::<BTreeSet<_>>().len(), 3);
}

/// A backup in a state where it would act on each of these messages, if it were as it says.
fn signed_messages(rings: &[KeyRing]) -> (Machine, State<Machine>, Vec<(u64, Message)>) {
    let machine = machine(&rings[1], 1);
    let batch = Batch(vec![put(&rings[2], 2, 5, "A")]);
    let digest = rings[0].digest(&batch);
    let one = assignment(0, 1, digest);
    let order = Message::PrePrepare {
        order: rings[0].signed(NodeId(0), PrePrepare(one)),
        batch,
    };
    let state = boot(&machine, Durable::default()).state;
    let (state, _) = hears(&machine, state, 0, order);
    let second = Batch(vec![put(&rings[3], 3, 6, "B")]);
    let next = assignment(0, 2, rings[0].digest(&second));
    let change = |by: usize, view| {
        let change = ViewChange {
            view: View(view),
            stable: None,
            prepared: Vec::new(),
        };
        rings[by].signed(NodeId(by as u64), change)
    };
    let changes = [0, 2, 3].map(|by| (NodeId(by), change(usize::try_from(by).unwrap(), 2)));
    let new_view = NewView {
        view: View(2),
        changes: changes.into_iter().collect(),
        pre_prepares: Vec::new(),
    };
    let checkpoint = Checkpoint {
        sequence: Sequence(2),
        digest: Digest([7; 32]),
    };
    let messages = vec![
        (2, Message::Request(put(&rings[2], 2, 9, "C"))),
        (
            0,
            Message::PrePrepare {
                order: rings[0].signed(NodeId(0), PrePrepare(next)),
                batch: second,
            },
        ),
        (
            2,
            Message::Prepare(rings[2].signed(NodeId(2), Prepare(one))),
        ),
        (3, Message::Commit(rings[3].signed(NodeId(3), Commit(one)))),
        (
            3,
            Message::Checkpoint(rings[3].signed(NodeId(3), checkpoint)),
        ),
        (3, Message::ViewChange(change(3, 1))),
        (2, Message::NewView(rings[2].signed(NodeId(2), new_view))),
    ];
    (machine, state, messages)
}

#[test]
fn a_flipped_bit_anywhere_in_a_signed_message_changes_nothing() {
    let rings = rings(CLUSTER);
    let (machine, state, messages) = signed_messages(&rings);
    for (from, message) in messages {
        let (after, outputs) = hears(&machine, state.clone(), from, message.clone());
        assert!(
            after != state || !outputs.is_empty(),
            "it matters: {message:?}"
        );
        let bytes = postcard::to_stdvec(&message).unwrap();
        let (mut refused, mut unreadable) = (0, 0);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Ok((read, [])) = postcard::take_from_bytes::<Message>(&flipped) else {
                unreadable += 1;
                continue;
            };
            if postcard::to_stdvec(&read).unwrap() != flipped {
                unreadable += 1; // The wire drops what is not canonical.
                continue;
            }
            let before = rings[1].tallied().refused;
            let (after, outputs) = hears(&machine, state.clone(), from, read.clone());
            assert!(after == state, "bit {bit} of {message:?} gives {read:?}");
            assert!(
                outputs.is_empty(),
                "bit {bit} of {message:?} says {outputs:?}"
            );
            let counted = rings[1].tallied().refused - before;
            assert!(
                counted <= 1,
                "the first signature that is wrong is the last that is looked at"
            );
            refused += usize::from(counted == 1);
        }
        // The signature alone has 512 bits; what was not counted is of another time or place.
        assert!(
            512 <= refused,
            "{refused} refused, {unreadable} unreadable: {message:?}"
        );
    }
}

#[test]
fn what_was_heard_once_changes_nothing_again() {
    let rings = rings(CLUSTER);
    let (machine, state, messages) = signed_messages(&rings);
    for (from, message) in messages {
        let (once, _) = hears(&machine, state.clone(), from, message.clone());
        let (twice, said) = hears(&machine, once.clone(), from, message.clone());
        assert!(twice == once, "{message:?}");
        let own = said.iter().filter(|output| match output {
            // A request that waits is passed on to the primary each time that a client asks.
            Output::Send { message, .. } => !matches!(message, Message::Request(_)),
            Output::Arm(_) | Output::Disarm(_) | Output::Event(_) => true,
        });
        assert_eq!(own.count(), 0, "{message:?}: {said:?}");
    }
}

#[test]
fn what_is_of_an_earlier_view_is_dropped_without_looking_at_its_signature() {
    let rings = rings(CLUSTER);
    let (machine, state, messages) = signed_messages(&rings);
    let (new_view, old): (Vec<_>, Vec<_>) =
        (messages.into_iter()).partition(|(_, message)| matches!(message, Message::NewView(_)));
    let (state, _) = hears(&machine, state, 2, new_view[0].1.clone());
    assert_eq!(state.durable.view, View(2));
    for (from, message) in old {
        let is_timeless = matches!(message, Message::Request(_) | Message::Checkpoint(_));
        if is_timeless {
            continue;
        }
        let before = rings[1].tallied();
        let (after, said) = hears(&machine, state.clone(), from, message.clone());
        assert!(after == state && said.is_empty(), "{message:?}");
        let after = rings[1].tallied();
        assert_eq!(
            (after.verified, after.refused),
            (before.verified, before.refused)
        );
    }
}

/// Members as processes, with keys.
fn arguments(addresses: &[SocketAddr], public: &BTreeMap<NodeId, PublicKey>) -> Vec<String> {
    let members = addresses.iter().enumerate();
    let members = members.map(|(id, address)| format!("--member={id}={address}"));
    let keys = public
        .iter()
        .map(|(node, key)| format!("--public-key={}={key}", node.0));
    let mut all: Vec<String> = members.chain(keys).collect();
    all.extend(["serve", "--cluster=7", "--protocol=pbft"].map(Into::into));
    all.rotate_right(3);
    all
}

#[test]
fn keygen_makes_a_key_that_serve_takes_and_wrong_keys_are_refused_in_a_line() {
    let directory = TempDir::new().unwrap();
    let file = |name: &str| directory.path().join(name);
    let keygen = |name: &str| {
        let output = quorate().arg("keygen").arg(file(name)).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let mut public = BTreeMap::new();
    for id in 0..4 {
        let (status, key) = keygen(&format!("{id}.key"));
        assert_eq!(status, Some(0));
        public.insert(NodeId(id), key.trim().parse::<PublicKey>().unwrap());
    }
    assert_eq!(keygen("0.key").0, Some(2), "no key is replaced");
    let addresses = free_addresses(4);
    let all = arguments(&addresses, &public);
    let refused = |arguments: &[String], more: &[&str], words: &str| {
        let mut command = quorate();
        command
            .args(arguments)
            .args(["--id=0", "--bootstrap", "--data"])
            .arg(file("data"));
        let output = command.args(more).output().unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        assert!(complaint.contains(words), "{words}: {complaint}");
        assert!(!file("data").exists(), "nothing was begun");
    };
    let key = |name: &str| format!("--key={}", file(name).display());
    refused(
        &all,
        &[],
        "`key` is not set: give the file of this node's secret",
    );
    refused(&all, &[&key("9.key")], "`quorate keygen` makes one");
    refused(
        &all,
        &[&key("1.key")],
        "is not that of n0: its public key is ",
    );
    let without = |what: &str| -> Vec<String> {
        all.iter()
            .filter(|argument| !argument.starts_with(what))
            .cloned()
            .collect()
    };
    let key0 = key("0.key");
    refused(&without("--public-key=2"), &[&key0], "n2 has no public key");
    let mut three = without("--member=3");
    three.retain(|argument| !argument.starts_with("--public-key=3"));
    refused(
        &three,
        &[&key0],
        "there are 3 members, and pbft takes 4 to 25",
    );
    let twice = format!("--public-key=3={}", public[&NodeId(2)]);
    let mut same = without("--public-key=3");
    same.push(twice);
    refused(&same, &[&key0], "n2 and n3 have one public key");
    refused(&all, &[&key0, "--public-key=3=12"], "`12` is no public key");
    refused(
        &all,
        &[&key0, "--public-key=9=12"],
        "the id 9 is not among the members",
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(file("0.key"), fs::Permissions::from_mode(0o644)).unwrap();
        refused(&all, &[&key0], "chmod 600");
    }
}
