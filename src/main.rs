//! The `quorate` command.
//!
//! Exit status: 0 as asked; 1 a key that nobody wrote, a node that had to stop, a demonstration
//! that failed; 2 a mistake in how it was called or configured, or a journal that cannot be used:
//! nothing was started; 3 no quorum answered in time, or no member did.

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use std::{env, io};

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};

use quorate::service::Tenant;
use quorate::udp::caller::counters::Log;
use quorate::udp::caller::{CallError, Caller, Policy};
use quorate::udp::client::{Client, ClientError};
use quorate::udp::configuration::{
    Cluster, ConfigurationError, Member, Protocol, PublicKeyOf, Settings,
};
use quorate::udp::demo::{Show, demo};
use quorate::udp::keys::SecretKey;
use quorate::udp::maelstrom::{self, MaelstromError, Workload};
use quorate::udp::remote::{Remote, shown};
use quorate::udp::resp::Value;
use quorate::udp::serve::{Chaos, Manner, ServeError, Start, serve, stop_on_end_of_input};

const NOT_AS_ASKED: u8 = 1;
const MISTAKE: u8 = 2;
const NO_QUORUM: u8 = 3;

const SERVE_EXAMPLE: &str = "\
The first of three members, all on this machine (without --bootstrap from the second time on):
  quorate serve --cluster 1 --member 0=127.0.0.1:7000 --member 1=127.0.0.1:7001 \\
      --member 2=127.0.0.1:7002 --id 0 --data n0 --bootstrap

The same settings in a file, for --config:
  cluster = 1
  id = 0
  data = \"n0\"
  members = [
      { id = 0, address = \"127.0.0.1:7000\" },
      { id = 1, address = \"127.0.0.1:7001\" },
      { id = 2, address = \"127.0.0.1:7002\" },
  ]

There is no authentication yet, but for what pbft signs: a trusted network only.

pbft takes four members or more, of which fewer than a third may lie, and keys:
  quorate keygen n0.key      # each member its own; it prints the public key, for all the others
  quorate serve --protocol pbft --key n0.key --public-key 0=8f40... --public-key 1=...";

const CLIENT_EXAMPLE: &str = "\
With the file of any member, or the same flags:
  quorate client put colour green --config n0.toml
  quorate client get colour --config n0.toml

The register is asked over UDP; other protocols on TCP, where each member's clients go. There
redis-cli and Redis's libraries work too: redis-cli -p 6379 set colour green.

Exit status: 0 as asked; 1 nobody wrote the key; 2 a mistake in the call; 3 no quorum in time.";

const MAELSTROM_EXAMPLE: &str = "\
With Jepsen's Maelstrom, https://github.com/jepsen-io/maelstrom, which starts the nodes:
  ./maelstrom test -w lin-kv --bin target/release/quorate --node-count 3 --concurrency 2n \\
      --time-limit 20 --rate 50 --nemesis partition -- maelstrom --workload lin-kv

Messages are on standard input and output, the log is on standard error, and nothing is on disk.";

/// Checked protocols, deployed: the machines that the model checker explored, over UDP.
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Commands,
}

#[derive(Debug, Subcommand)]
enum Commands {
    /// Run one member of a cluster
    #[command(after_help = SERVE_EXAMPLE)]
    Serve(Serve),
    /// Ask a cluster something, over UDP
    #[command(after_help = CLIENT_EXAMPLE)]
    Client(ClientArguments),
    /// Ask each member how it is
    Status(StatusArguments),
    /// Run one node of a cluster whose network is Jepsen's Maelstrom
    #[command(after_help = MAELSTROM_EXAMPLE)]
    Maelstrom {
        /// What Maelstrom's clients ask: lin-kv, broadcast, g-set, pn-counter, unique-ids or echo
        #[arg(long, value_name = "NAME", value_parser = Workload::named)]
        workload: Workload,
    },
    /// Make a secret key, and print the public key that the others are to know
    Keygen {
        /// The file of the secret: a new one
        file: PathBuf,
    },
    /// Start members here, kill some or cut them off, and show what is promised all the same
    Demo {
        /// Which protocol; `cap` shows cap-cp and cap-ap side by side, `chaos` raft under clients who count
        #[arg(value_name = "PROTOCOL", default_value = "register", value_parser = shown_by_name)]
        show: Show,
        /// How many increments `chaos` counts
        #[arg(long, value_name = "COUNT", default_value = "5000")]
        increments: u64,
    },
}

/// What a file can say, a flag can say, and the flag wins.
#[derive(Debug, Args)]
struct ClusterArguments {
    /// Read settings from this TOML file
    #[arg(global = true, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The cluster's number; any that no other cluster of yours has
    #[arg(global = true, long, value_name = "NUMBER")]
    cluster: Option<u64>,
    /// The protocol [default: register]
    #[arg(global = true, long, value_name = "NAME")]
    protocol: Option<String>,
    /// A member, such as 0=10.0.0.1:7000, or 0=10.0.0.1:7000,10.0.0.1:6379 with where its clients go
    /// on TCP; repeat it for each
    #[arg(global = true, long = "member", value_name = "ID=ADDRESS[,CLIENTS]", value_parser = member)]
    members: Vec<Member>,
    /// Which of the members is none at first, and may become one; repeat it for each. Of raft or database
    #[arg(global = true, long = "spare", value_name = "ID")]
    spares: Vec<u64>,
    /// How many members a read asks at least [default: a majority]
    #[arg(global = true, long, value_name = "COUNT")]
    read_quorum: Option<usize>,
    /// How many members a write reaches at least [default: a majority]
    #[arg(global = true, long, value_name = "COUNT")]
    write_quorum: Option<usize>,
    /// What a get promises: atomic, or regular [default: atomic]
    #[arg(global = true, long, value_name = "PROMISE")]
    reads: Option<String>,
    /// A member's public key, as keygen printed it, such as 0=8f40...; repeat it for each. For pbft
    #[arg(global = true, long = "public-key", value_name = "ID=KEY", value_parser = public_key)]
    public_keys: Vec<PublicKeyOf>,
    /// After how many entries raft compacts its log [default: 10000]
    #[arg(global = true, long, value_name = "COUNT")]
    snapshot_entries: Option<u32>,
    /// Let raft answer gets by a lease, if no clock loses more milliseconds in 150 [default: it asks a
    /// majority]
    #[arg(global = true, long, value_name = "MILLISECONDS")]
    lease_drift_ms: Option<u32>,
}

impl ClusterArguments {
    fn settings(self) -> Result<Settings, ConfigurationError> {
        let flags = Settings {
            cluster: self.cluster,
            protocol: self.protocol,
            members: (!self.members.is_empty()).then_some(self.members),
            spares: (!self.spares.is_empty()).then_some(self.spares),
            read_quorum: self.read_quorum,
            write_quorum: self.write_quorum,
            reads: self.reads,
            public_keys: (!self.public_keys.is_empty()).then_some(self.public_keys),
            snapshot_entries: self.snapshot_entries,
            lease_drift_ms: self.lease_drift_ms,
            ..Settings::default()
        };
        match self.config {
            None => Ok(flags),
            Some(path) => Ok(flags.or(Settings::read(&path)?)),
        }
    }
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Which of the members this node is
    #[arg(long, value_name = "NUMBER")]
    id: Option<u64>,
    /// The directory of this node's journal
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<PathBuf>,
    /// The address to listen on [default: this member's]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The file of this node's secret key, which keygen made. For pbft
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Answer operators here, on HTTP: /metrics, /healthz, /readyz
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// Begin a journal: only for a node that never ran. One that forgot would break its promises
    #[arg(long)]
    bootstrap: bool,
    /// Let clients cut this node off from others, for demonstrations and tests
    #[arg(long)]
    chaos: bool,
    /// Record in this new file all that the node hears and says, for `cargo model replay` and `judge`
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Stop when standard input ends, so as not to outlive whoever holds its other end
    #[arg(long)]
    until_input_ends: bool,
}

#[derive(Debug, Args)]
struct ClientArguments {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// How long to try, in seconds
    #[arg(global = true, long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    timeout: Duration,
    /// Log every attempt, and what the breaker does, to standard error; not with the register
    #[arg(global = true, long)]
    verbose: bool,
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Args)]
struct StatusArguments {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// How long to wait for each, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    timeout: Duration,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Print the value of a key
    Get {
        /// The key
        key: String,
    },
    /// Let a key have a value
    Put {
        /// The key
        key: String,
        /// The value
        #[arg(allow_negative_numbers = true)]
        value: String,
    },
    /// Let a key have no value; not with the register
    Delete {
        /// The key
        key: String,
    },
    /// Let a key have a new value if it has the old one; not with the register
    Cas {
        /// The key
        key: String,
        /// The value that it is to have
        #[arg(allow_negative_numbers = true)]
        old: String,
        /// The value that it is to get
        #[arg(allow_negative_numbers = true)]
        new: String,
    },
    /// Change who the members are, one at a time, while they serve; with raft
    Members {
        /// What is to be done
        change: Change,
        /// With which node
        id: u64,
    },
    /// Let another member lead; with raft
    Transfer {
        /// Which
        id: u64,
    },
}

/// What can be done with a node, by its name on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Change {
    /// Send it everything, and do not count it yet
    Add,
    /// Let it, which was added and has what is committed, have a vote
    Promote,
    /// Let it be no member any more
    Remove,
}

impl Change {
    fn word(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Promote => "PROMOTE",
            Self::Remove => "REMOVE",
        }
    }
}

fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return misused(&error),
    };
    match command {
        Commands::Serve(arguments) => run_serve(arguments),
        Commands::Client(arguments) => run_client(arguments),
        Commands::Status(arguments) => run_status(arguments),
        Commands::Maelstrom { workload } => run_maelstrom(workload),
        Commands::Keygen { file } => run_keygen(&file),
        Commands::Demo { show, increments } => match env::current_exe() {
            Err(error) => fails(MISTAKE, &error),
            Ok(executable) => match demo(counting(show, increments), &executable) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fails(NOT_AS_ASKED, &error),
            },
        },
    }
}

fn run_keygen(file: &Path) -> ExitCode {
    let made = SecretKey::generate().and_then(|secret| {
        secret.write(file)?;
        Ok(secret.public())
    });
    match made {
        Ok(public) => print(&public.to_string()),
        Err(error) => fails(MISTAKE, &error),
    }
}

fn run_serve(arguments: Serve) -> ExitCode {
    let start = if arguments.bootstrap {
        Start::Bootstrap
    } else {
        Start::Recover
    };
    let mut settings = match arguments.cluster.settings() {
        Ok(settings) => settings,
        Err(error) => return fails(MISTAKE, &error),
    };
    settings = Settings {
        id: arguments.id,
        data: arguments.data,
        listen: arguments.listen,
        key: arguments.key,
        admin: arguments.admin,
        ..Settings::default()
    }
    .or(settings);
    let stop = Arc::new(AtomicBool::new(false));
    if arguments.until_input_ends {
        stop_on_end_of_input(&stop);
    }
    let chaos = if arguments.chaos {
        Chaos::Allowed
    } else {
        Chaos::Refused
    };
    let manner = Manner {
        start,
        chaos,
        record: arguments.record,
    };
    match serve(&settings, &manner, &stop) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ ServeError::Stopped(..)) => fails(NOT_AS_ASKED, &error),
        Err(
            error @ (ServeError::Configuration(_)
            | ServeError::Listen(..)
            | ServeError::Journal(_)
            | ServeError::Recording(..)
            | ServeError::System(_)),
        ) => fails(MISTAKE, &error),
    }
}

fn run_maelstrom(workload: Workload) -> ExitCode {
    match maelstrom::run(workload, io::stdin(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ MaelstromError::System(_)) => fails(MISTAKE, &error),
        Err(error @ (MaelstromError::Output(_) | MaelstromError::Stopped(_))) => {
            fails(NOT_AS_ASKED, &error)
        }
    }
}

fn run_client(arguments: ClientArguments) -> ExitCode {
    let timeout = arguments.timeout;
    let cluster = match (arguments.cluster.settings()).and_then(|settings| settings.cluster()) {
        Ok(cluster) => cluster,
        Err(error) => return fails(MISTAKE, &error),
    };
    match cluster.protocol {
        Protocol::Register => ask_register(&cluster, arguments.question, timeout),
        Protocol::Raft
        | Protocol::Pbft
        | Protocol::Store
        | Protocol::CapCp
        | Protocol::CapAp
        | Protocol::Gossip
        | Protocol::Causal
        | Protocol::Membership
        | Protocol::Database => {
            let log = if arguments.verbose {
                Log::All
            } else {
                Log::Off
            };
            ask_members(&cluster, &arguments.question, timeout, log)
        }
    }
}

/// As a participant, over UDP.
fn ask_register(cluster: &Cluster, question: Question, timeout: Duration) -> ExitCode {
    let mut client = match Client::connect(cluster) {
        Ok(client) => client,
        Err(error) => return fails(NO_QUORUM, &error),
    };
    let asked = match question {
        Question::Get { key } => client.get(&key, timeout).map(|value| match value {
            Some(value) => print(&value),
            None => unwritten(&key),
        }),
        Question::Put { key, value } => {
            let put = client.put(&key, &value, timeout);
            put.map(|()| ExitCode::SUCCESS)
        }
        Question::Delete { .. } => {
            return complain(
                MISTAKE,
                "the register has no delete: give the key an empty value",
            );
        }
        Question::Members { .. } | Question::Transfer { .. } => {
            return complain(
                MISTAKE,
                "the members of the register are fixed, and none leads: raft has that",
            );
        }
        Question::Cas { .. } => {
            return complain(
                MISTAKE,
                "a read and write register cannot offer compare-and-swap (Herlihy 1991: its \
                 consensus number is 1): that takes a consensus protocol, such as raft",
            );
        }
    };
    match asked {
        Ok(status) => status,
        Err(error) => match error {
            ClientError::Unknown | ClientError::Unanswered | ClientError::Stopped(_) => {
                fails(NO_QUORUM, &error)
            }
            ClientError::Refused(_) => fails(MISTAKE, &error),
        },
    }
}

/// Over TCP, as one of a caller's clients: it has the retries and the names that make them safe.
fn ask_members(cluster: &Cluster, question: &Question, timeout: Duration, log: Log) -> ExitCode {
    let number = match question {
        Question::Members { id, .. } | Question::Transfer { id } => id.to_string(),
        Question::Get { .. }
        | Question::Put { .. }
        | Question::Delete { .. }
        | Question::Cas { .. } => String::new(),
    };
    let words: Vec<&str> = match question {
        Question::Get { key } => vec!["GET", key],
        Question::Put { key, value } => vec!["SET", key, value],
        Question::Delete { key } => vec!["DEL", key],
        Question::Cas { key, old, new } => vec!["CAS", key, old, new],
        Question::Members { change, .. } => vec!["MEMBERS", change.word(), &number],
        Question::Transfer { .. } => vec!["TRANSFER", &number],
    };
    if cluster.clients.is_empty() {
        return complain(
            MISTAKE,
            "no member listens to clients: give each its address for them, such as \
             --member 0=10.0.0.1:7000,10.0.0.1:6379",
        );
    }
    let caller = match Caller::start(cluster, Policy::of(cluster.protocol, timeout), log) {
        Ok(caller) => caller,
        Err(error) => return fails(NO_QUORUM, &error),
    };
    let called = match caller.client(Tenant(0)) {
        Ok(mut client) => client.call(&words, timeout),
        Err(error) => return fails(NO_QUORUM, &error),
    };
    match called {
        Ok(value) => answered(question, &value),
        Err(error) => match error {
            CallError::Unknown
            | CallError::Shed
            | CallError::Open
            | CallError::NotDone(_)
            | CallError::Stopped => fails(NO_QUORUM, &error),
        },
    }
}

fn answered(question: &Question, value: &Value) -> ExitCode {
    match (question, value) {
        (_, Value::Error(error)) if error.starts_with("UNKNOWN") => complain(NO_QUORUM, error),
        (_, Value::Error(error)) => complain(MISTAKE, error),
        (Question::Get { key }, Value::Nil) => unwritten(key),
        (Question::Get { .. }, value) => print(&shown(value)),
        (Question::Cas { key, .. }, Value::Number(0)) => {
            complain(NOT_AS_ASKED, &format!("the key {key:?} has another value"))
        }
        (
            Question::Put { .. }
            | Question::Delete { .. }
            | Question::Cas { .. }
            | Question::Members { .. }
            | Question::Transfer { .. },
            _,
        ) => ExitCode::SUCCESS,
    }
}

fn run_status(arguments: StatusArguments) -> ExitCode {
    let cluster = match (arguments.cluster.settings()).and_then(|settings| settings.cluster()) {
        Ok(cluster) => cluster,
        Err(error) => return fails(MISTAKE, &error),
    };
    let mut status = ExitCode::SUCCESS;
    for node in cluster.members.keys() {
        let told = match cluster.clients.get(node) {
            None => Err("does not listen to clients".to_owned()),
            Some(address) => Remote::connect(*address, arguments.timeout)
                .and_then(|mut remote| remote.ask(&["INFO"]))
                .map_err(|error| error.to_string()),
        };
        let line = match told {
            Ok(told) => {
                let told = shown(&told);
                let lines = told.lines().filter(|line| !line.starts_with('#'));
                let told: Vec<String> = lines.map(|line| line.replacen(':', " ", 1)).collect();
                told.join(", ")
            }
            Err(why) => {
                status = ExitCode::from(NO_QUORUM);
                why
            }
        };
        print(&format!("{node}: {line}"));
    }
    status
}

/// Whoever closed our output does not want it.
fn print(line: &str) -> ExitCode {
    let _ = writeln!(io::stdout(), "{line}");
    ExitCode::SUCCESS
}

fn unwritten(key: &str) -> ExitCode {
    complain(NOT_AS_ASKED, &format!("nobody wrote the key {key:?}"))
}

fn member(text: &str) -> Result<Member, String> {
    let wrong = || "write ID=ADDRESS, such as 0=10.0.0.1:7000".to_owned();
    let (id, address) = text.split_once('=').ok_or_else(wrong)?;
    let (address, clients) = match address.split_once(',') {
        None => (address, None),
        Some((address, clients)) => (address, Some(clients.to_owned())),
    };
    Ok(Member {
        id: id.parse().map_err(|_| wrong())?,
        address: address.to_owned(),
        clients,
    })
}

fn public_key(text: &str) -> Result<PublicKeyOf, String> {
    let wrong = || "write ID=KEY, with the 64 digits that keygen printed".to_owned();
    let (id, key) = text.split_once('=').ok_or_else(wrong)?;
    Ok(PublicKeyOf {
        id: id.parse().map_err(|_| wrong())?,
        key: key.to_owned(),
    })
}

fn protocol(text: &str) -> Result<Protocol, String> {
    Protocol::named(text).map_err(|error| error.to_string())
}

/// Of which there is a demonstration.
fn shown_by_name(text: &str) -> Result<Show, String> {
    match text {
        "cap" => Ok(Show::Protocol(Protocol::CapCp)),
        "chaos" => Ok(Show::Chaos { increments: 0 }),
        name => protocol(name).map(Show::Protocol),
    }
}

fn counting(show: Show, increments: u64) -> Show {
    match show {
        Show::Protocol(_) => show,
        Show::Chaos { .. } => Show::Chaos { increments },
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok();
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "write a number of seconds, such as 5 or 0.5".to_owned())
}

fn fails(status: u8, error: &dyn Error) -> ExitCode {
    complain(status, &error.to_string())
}

/// One line, whatever it is about.
fn complain(status: u8, what: &str) -> ExitCode {
    // In one write, so that the lines of several processes do not mix.
    let _ = io::stderr().write_all(format!("quorate: {what}\n").as_bytes());
    ExitCode::from(status)
}

/// Help and version are what was asked for; anything else becomes one line.
fn misused(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(MISTAKE);
    }
    let text = error.to_string();
    let said = text.lines().take_while(|line| !line.starts_with("Usage:"));
    let words: Vec<&str> = said.flat_map(str::split_whitespace).collect();
    let line = words.join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    let line = line.split(" For more information").next().unwrap_or(line);
    complain(MISTAKE, &format!("{line} (see --help)"))
}
