//! Wrong settings and wrong circumstances: one line that says what to do, and exit status 2.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Output, Stdio};

use quorate::register::Register;
use quorate::udp::configuration::Settings;
use quorate::udp::journal::Journal;
use quorate::udp::served::Served as _;
use tempfile::TempDir;

use crate::processes::{CLUSTER, free_addresses, quorate};

/// Asserts that a command was refused, with one line that has these words.
fn refused(output: &Output, words: &str) {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    assert!(complaint.starts_with("quorate: "), "{complaint}");
    assert!(complaint.contains(words), "{words}: {complaint}");
    assert!(output.stdout.is_empty());
}

fn serve(arguments: &[&str]) -> Output {
    let mut command = quorate();
    command.arg("serve").args(arguments).stdin(Stdio::null());
    command.output().unwrap()
}

const MEMBERS: &str = r#"
members = [
    { id = 0, address = "127.0.0.1:7000" },
    { id = 1, address = "127.0.0.1:7001" },
    { id = 2, address = "127.0.0.1:7002" },
]
"#;

const WRONG: &[(&str, &str)] = &[
    ("cluster = ", "node.toml, line 1: "),
    ("cluster = -1", "line 1: invalid value"),
    (
        "clusters = 1",
        "line 1: unknown field `clusters`, expected one of `cluster`",
    ),
    ("cluster = 1\ncluster = 2", "line 2: duplicate key"),
    ("cluster = 1\nreads = 7", "line 2: invalid type"),
    ("id = 0", "`cluster` is not set: give a number"),
    (
        "cluster = 1",
        "`members` is not set: give each member's id and address, in the \
          configuration or by --member",
    ),
    ("cluster = 1\nmembers = []", "`members` is not set"),
    (
        "cluster = 1\nprotocol = \"paxos\"\nMEMBERS",
        "no protocol `paxos`: choose one of register",
    ),
    (
        "cluster = 1\nid = 0\nreads = \"fresh\"\nMEMBERS",
        "`reads` is `fresh`: choose `atomic`",
    ),
    (
        "cluster = 1\nMEMBERS",
        "`id` is not set: give which of the members this node is",
    ),
    (
        "cluster = 1\nid = 3\nMEMBERS",
        "id 3 is not among the members",
    ),
    (
        "cluster = 1\nid = 0\nMEMBERS",
        "`data` is not set: give a directory",
    ),
    (
        "cluster = 1\nid = 0\nlisten = \"localhost\"\nMEMBERS",
        "`listen` has the address `localhost`",
    ),
    (
        "cluster = 1\nid = 0\nlisten = \"[::1]:7000\"\nMEMBERS",
        "let all be of one kind",
    ),
    (
        "cluster = 1\nread_quorum = 1\nMEMBERS",
        "a read quorum of 1 and a write quorum of 2 need not meet",
    ),
    (
        "cluster = 1\nread_quorum = 4\nMEMBERS",
        "a quorum of 4 can never answer among 3 members",
    ),
    (
        "cluster = 1\nwrite_quorum = 0\nMEMBERS",
        "a quorum of 0 asks nobody",
    ),
    (
        "cluster = 1\nmembers = [{ id = 0, address = \"127.0.0.1:1\" }, { id = 0, address = \"127.0.0.1:2\" }]",
        "two members have the id 0",
    ),
    (
        "cluster = 1\nmembers = [{ id = 0, address = \"127.0.0.1:1\" }, { id = 1, address = \"127.0.0.1:1\" }]",
        "n0 and n1 both have the address 127.0.0.1:1",
    ),
    (
        "cluster = 1\nmembers = [{ id = 64, address = \"127.0.0.1:1\" }]",
        "a member has the id 64: number the members from 0 to 63",
    ),
    (
        "cluster = 1\nmembers = [{ id = 0, address = \"127.0.0.1\" }]",
        "n0 has the address `127.0.0.1`: give an IP address and a port",
    ),
    (
        "cluster = 1\nmembers = [{ id = 0, address = \"127.0.0.1:0\" }]",
        "n0 has the address",
    ),
    (
        "cluster = 1\nmembers = [{ id = 0, address = \"0.0.0.0:7000\" }]",
        "n0 has the address",
    ),
    (
        "cluster = 1\nprotocol = \"membership\"\nmembers = [{ id = 0, address = \"127.0.0.1:1\" }]",
        "there are 1 members, and membership takes 3 to 64: set `members` to so many",
    ),
    (
        "cluster = 1\nmembers = [{ id = 0 }]",
        "line 2: missing field `address`",
    ),
    (
        "cluster = 1\nmembers = [{ id = 0, address = \"127.0.0.1:1\", clients = \"here\" }]",
        "n0, for clients, has the address `here`: give an IP address and a port",
    ),
    (
        "cluster = 1\nmembers = [{ id = 0, address = \"127.0.0.1:1\", clients = \"127.0.0.1:3\" }, { id = 1, address = \"127.0.0.1:2\", clients = \"127.0.0.1:3\" }]",
        "n0 and n1 both have the address 127.0.0.1:3",
    ),
];

#[test]
fn each_wrong_configuration_is_refused_with_one_line_that_says_what_to_do() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("node.toml");
    for (text, words) in WRONG {
        fs::write(&file, text.replace("MEMBERS", MEMBERS)).unwrap();
        refused(&serve(&["--config", file.to_str().unwrap()]), words);
    }
    let entries = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(entries, 1, "nothing is made");
    refused(
        &serve(&["--config", "/nowhere/node.toml"]),
        "cannot read the configuration /nowhere",
    );
}

#[test]
fn each_wrong_command_is_refused_with_one_line() {
    let table: [(&[&str], &str); 11] = [
        (
            &["serve", "--bootsrap"],
            "unexpected argument '--bootsrap' found tip: a similar argument exists: '--bootstrap'",
        ),
        (
            &["serve", "--id", "x"],
            "invalid value 'x' for '--id <NUMBER>'",
        ),
        (
            &["serve", "--member", "0"],
            "write ID=ADDRESS, such as 0=10.0.0.1:7000",
        ),
        (
            &["client", "--timeout", "soon", "get", "key"],
            "write a number of seconds",
        ),
        (
            &["client", "--timeout=-1", "get", "key"],
            "write a number of seconds",
        ),
        (
            &["client", "put", "key"],
            "required arguments were not provided: <VALUE>",
        ),
        (&["client", "get", "key"], "`cluster` is not set"),
        (
            &[
                "client",
                "--cluster=1",
                "--member=0=127.0.0.1:7000",
                "cas",
                "key",
                "old",
                "new",
            ],
            "cannot offer compare-and-swap (Herlihy 1991",
        ),
        (
            &[
                "client",
                "--cluster=1",
                "--member=0=127.0.0.1:7000",
                "--protocol=raft",
                "get",
                "key",
            ],
            "no member listens to clients: give each its address for them",
        ),
        (
            &["demo", "paxos"],
            "there is no protocol `paxos`: choose one of",
        ),
        (&["sreve"], "unrecognized subcommand 'sreve'"),
    ];
    for (arguments, words) in table {
        refused(&quorate().args(arguments).output().unwrap(), words);
    }
}

/// The arguments of the only member of a cluster.
fn alone(address: &str, data: &Path) -> Vec<String> {
    vec![
        format!("--cluster={CLUSTER}"),
        "--id=0".into(),
        format!("--member=0={address}"),
        format!("--data={}", data.display()),
    ]
}

fn serve_alone(address: &str, data: &Path, more: &[&str]) -> Output {
    let arguments = alone(address, data);
    let arguments = arguments
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied());
    serve(&arguments.collect::<Vec<_>>())
}

#[test]
fn a_port_in_use_is_refused_and_no_journal_is_begun() {
    let directory = TempDir::new().unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = directory.path().join("data");
    let output = serve_alone(&address, &data, &["--bootstrap"]);
    refused(
        &output,
        &format!("{address} is in use: stop the process that listens there"),
    );
    assert!(!data.exists());
    // An address of a network for documentation, which is nobody's.
    let output = serve_alone("192.0.2.1:7000", &data, &["--bootstrap"]);
    refused(&output, "cannot listen on 192.0.2.1:7000");
}

#[test]
fn a_node_never_begins_anew_unless_it_is_told_to_nor_twice() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    let address = free_addresses(1)[0].to_string();
    refused(
        &serve_alone(&address, &data, &[]),
        "start it once with --bootstrap",
    );
    assert!(!data.exists());
    // Its input ends at once, so that it stops as soon as it is ready.
    let ready = |more: &[&str]| {
        let output = serve_alone(&address, &data, &[more, &["--until-input-ends"]].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(ready(&["--bootstrap"]).contains("(boot 1, commits 1, keys 0)"));
    assert!(ready(&[]).contains("(boot 2, commits 2, keys 0)"));
    let output = serve_alone(&address, &data, &["--bootstrap"]);
    refused(&output, "already: start without --bootstrap");
    assert!(ready(&[]).contains("(boot 3, commits 3, keys 0)"));
}

#[test]
fn a_journal_that_cannot_be_used_is_refused_and_left_as_it_is() {
    let directory = TempDir::new().unwrap();
    let address = free_addresses(1)[0].to_string();
    let data = directory.path().join("data");
    let output = serve_alone(&address, &data, &["--bootstrap", "--until-input-ends"]);
    assert!(output.status.success());
    let journal = data.join("journal");
    let whole = fs::read(&journal).unwrap();
    let refuses = |more: &[&str], words: &str| {
        let before = fs::read(&journal).unwrap();
        refused(&serve_alone(&address, &data, more), words);
        assert_eq!(fs::read(&journal).unwrap(), before);
    };

    let mut arguments = alone(&address, &data);
    arguments[0] = "--cluster=8".into();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    refused(
        &serve(&arguments),
        "whose `cluster` is 7: set that, or set `data`",
    );
    let with_two = format!("--member=1={}", free_addresses(1)[0]);
    refuses(
        &[&with_two],
        "written when the members or the quorum sizes were others",
    );
    let mut damaged = whole.clone();
    damaged[60] ^= 1;
    fs::write(&journal, &damaged).unwrap();
    refuses(&[], "is damaged at byte");
    fs::write(&journal, "my diary, not yours").unwrap();
    refuses(&[], "is no journal of quorate");
    fs::write(&journal, &whole).unwrap();
    let settings = Settings {
        cluster: Some(CLUSTER),
        id: Some(0),
        ..Settings::default()
    };
    let members = Some(vec![quorate::udp::configuration::Member {
        id: 0,
        address: address.clone(),
        clients: None,
    }]);
    let cluster = Settings {
        members,
        ..settings
    }
    .cluster()
    .unwrap();
    let identity = Register::identity(&cluster, quorate::machine::NodeId(0));
    let held = Journal::open::<quorate::register::Durable>(&data, &identity).unwrap();
    refuses(&[], "is in use by another process");
    drop(held);
}

#[test]
fn flags_win_over_the_file_and_the_file_over_nothing() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("node.toml");
    let [of_file, of_flag] = [0, 1].map(|number| free_addresses(2)[number].to_string());
    let data = directory.path().join("data");
    let text = format!(
        "cluster = 7\nprotocol = \"register\"\nid = 0\nreads = \"regular\"\nread_quorum = 1\n\
         write_quorum = 1\ndata = {data:?}\nmembers = [{{ id = 0, address = \"{of_file}\" }}]\n"
    );
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let ready = |more: &[&str]| {
        let arguments = [&["--config", file, "--until-input-ends"], more].concat();
        let output = serve(&arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(ready(&["--bootstrap"]).contains(&of_file));
    let member = format!("0={of_flag}");
    assert!(ready(&["--member", &member]).contains(&of_flag));
    let listen = ready(&["--listen", &of_flag]);
    assert!(
        listen.contains(&format!("n0 serves register at {of_flag}, ")),
        "{listen}"
    );
}

#[test]
fn the_example_in_the_documentation_is_right() {
    let source = include_str!("../../src/udp/configuration.rs");
    let (_, example) = source.split_once("```toml").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("node.toml");
    fs::write(&file, example.replace("//!", "")).unwrap();
    let settings = Settings::read(&file).unwrap();
    let place = settings.place(&settings.cluster().unwrap()).unwrap();
    assert_eq!(place.listen.to_string(), "0.0.0.0:7000");
}
