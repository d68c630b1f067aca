//! The compose files: what a container runs, what it may, and that the broker's settings are those of tests.

use crate::tidy::root;
use ledgerflow::config::{self, LogKind};
use ledgerflow::runtime::Role;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

pub fn folder() -> PathBuf {
    root().join("compose")
}

pub fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

pub fn parsed(name: &str) -> Value {
    serde_saphyr::from_str(&text(name)).unwrap_or_else(|why| panic!("{name}: {why}"))
}

/// Every compose file with the names of its services.
fn files() -> Vec<(&'static str, BTreeSet<&'static str>)> {
    let mut on_kafka = BTreeSet::from(["kafka", "redis", "topics"]);
    on_kafka.extend(Role::ALL.map(Role::name));
    vec![("docker-compose.yml", BTreeSet::from(["ledgerflow"])), ("kafka.yml", on_kafka)]
}

pub fn texts(value: &Value) -> Vec<&str> {
    let list = value.as_array().unwrap_or_else(|| panic!("{value} is no list"));
    list.iter().map(|text| text.as_str().unwrap()).collect()
}

/// `name=value` lines, without comments.
fn properties(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The command of compose that this machine has, if any, to be followed by its arguments.
pub fn compose() -> Option<Command> {
    let answers = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).arg("version").output().is_ok_and(|said| said.status.success())
    };
    if answers("docker-compose", &[]) {
        return Some(Command::new("docker-compose"));
    }
    answers("docker", &["compose"]).then(|| {
        let mut command = Command::new("docker");
        command.arg("compose");
        command
    })
}

/// Says in the summary that a test did not run.
pub fn skipped(test: &str, why: &str) {
    // Past the runner, which keeps what a test prints that passes.
    let _ = writeln!(std::io::stdout(), "skipped: {test}: {why}");
}

/// The file that is read on top of another one, that one, and what it adds.
const ON_TOP: (&str, &str, [&str; 3]) =
    ("observability.yml", "kafka.yml", ["grafana", "jaeger", "prometheus"]);

#[test]
fn there_is_no_other_compose_file() {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name());
    let yaml = entries.filter_map(|name| name.into_string().ok()).filter(|name| name.ends_with(".yml"));
    let known = files().into_iter().map(|(name, _)| name).chain([ON_TOP.0]).map(str::to_owned);
    assert_eq!(yaml.collect::<BTreeSet<_>>(), known.collect());
}

#[test]
fn every_container_of_ours_is_confined() {
    for (name, expected) in files() {
        let file = parsed(name);
        let services = file["services"].as_object().unwrap();
        assert_eq!(services.keys().map(String::as_str).collect::<BTreeSet<_>>(), expected, "{name}");
        for (service, told) in services {
            is_confined(&format!("{name}, {service}"), told);
            assert!(told.get("ports").is_none(), "{name}, {service} has ports");
        }
    }
}

#[track_caller]
fn is_confined(name: &str, told: &Value) {
    let told_of = format!("{name}: {told}");
    assert_eq!(told["cap_drop"], json!(["ALL"]), "{told_of}");
    assert_eq!(told["security_opt"], json!(["no-new-privileges:true"]), "{told_of}");
    for open in ["privileged", "network_mode", "container_name"] {
        assert!(told.get(open).is_none(), "{told_of} has {open}");
    }
    let ours = told["image"].as_str().unwrap().starts_with("ledgerflow:");
    assert!(!ours || told["read_only"] == json!(true), "{told_of}");
    mounts_to_read(&told_of, told);
}

/// What lies in the repository is there, and a container may not write to it.
#[track_caller]
fn mounts_to_read(told_of: &str, told: &Value) {
    let mounts = told.get("volumes").map(texts).unwrap_or_default();
    for mounted in mounts.iter().filter(|mount| mount.starts_with('.')) {
        let here = mounted.split(':').next().unwrap();
        assert!(mounted.ends_with(":ro") && folder().join(here).exists(), "{told_of}: {mounted}");
    }
}

/// What is read on top adds containers that only this machine reaches, and gives ours nothing but settings and what they
/// read.
#[test]
fn what_is_read_on_top_opens_nothing() {
    let (name, below, added) = ON_TOP;
    let (file, below) = (parsed(name), parsed(below));
    for (service, told) in file["services"].as_object().unwrap() {
        if added.contains(&service.as_str()) {
            is_confined(service, told);
            let ports = texts(&told["ports"]);
            assert!(
                !ports.is_empty() && ports.iter().all(|port| port.starts_with("127.0.0.1:")),
                "{ports:?}"
            );
            continue;
        }
        assert!(below["services"].get(service).is_some(), "{service}");
        let given: BTreeSet<&str> = told.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(given, BTreeSet::from(["environment", "volumes"]), "{service}");
        mounts_to_read(service, told);
    }
}

/// A container of a processor can be had several times: nothing in it is one for all of them.
#[test]
fn every_processor_has_containers_of_its_own() {
    let file = parsed("kafka.yml");
    let topics = &file["services"]["topics"];
    assert_eq!(texts(&topics["command"]), ["topics", "create"]);
    assert_eq!(topics["depends_on"]["kafka"]["condition"], "service_healthy");
    assert_eq!(topics["restart"], "no");
    for role in Role::ALL {
        let processor = &file["services"][role.name()];
        assert_eq!(texts(&processor["command"]), ["run", "--unsupervised", role.name()]);
        assert_eq!(processor["depends_on"]["topics"]["condition"], "service_completed_successfully");
        assert_eq!(processor["restart"], "unless-stopped");
        for same in ["image", "build", "environment", "volumes"] {
            assert!(
                processor[same] != Value::Null && processor[same] == topics[same],
                "{}: {same}",
                role.name()
            );
        }
        let mounts = texts(&processor["volumes"]);
        assert!(mounts.iter().all(|mount| mount.starts_with('.')), "{}: {mounts:?}", role.name());
    }
    let dockerfile = text("Dockerfile");
    let target = topics["build"]["target"].as_str().unwrap();
    assert!(dockerfile.contains(&format!(" AS {target}\n")) && dockerfile.contains("\nVOLUME /data\n"));
}

/// Where a file of a container is on this machine.
fn mounted(service: &Value, path: &str) -> Option<PathBuf> {
    texts(&service["volumes"]).iter().find_map(|mount| {
        let mut parts = mount.split(':');
        let (here, there) = (parts.next()?, parts.next()?);
        let below = Path::new(path).strip_prefix(there).ok()?;
        let here = folder().join(here);
        Some(if below.as_os_str().is_empty() { here } else { here.join(below) })
    })
}

#[test]
fn the_settings_of_the_stack_fit_its_broker() {
    let stack = parsed("kafka.yml");
    let posting = &stack["services"]["posting"];
    let environment = posting["environment"].as_object().unwrap();
    let file = mounted(posting, environment["LEDGERFLOW_CONFIG"].as_str().unwrap()).unwrap();
    let written: Value = serde_saphyr::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    // Chart and rules are read from where they are mounted from.
    let mut variables: BTreeMap<String, String> =
        environment.keys().map(|name| (name.clone(), String::new())).collect();
    for name in ["accounts", "rules"] {
        let here = mounted(posting, written[name].as_str().unwrap()).unwrap();
        variables.insert(format!("LEDGERFLOW_{}", name.to_uppercase()), here.display().to_string());
    }
    let (settings, layers) = config::load(Some(&file), variables, &[]).unwrap();
    assert_eq!(config::meaningless(&layers), Vec::<&str>::new());
    settings.setup().unwrap().processors().unwrap();

    let broker = properties(&text("kafka/broker/server.properties"));
    let number = |name: &str| broker[name].parse::<u64>().unwrap();
    let kafka = &settings.kafka;
    assert_eq!(settings.log.kind, LogKind::Kafka);
    assert!(u64::from(kafka.session_ms) >= number("group.min.session.timeout.ms"), "{}", kafka.session_ms);
    assert_eq!((kafka.replication, kafka.min_in_sync), (1, 1), "one broker");
    assert_eq!(broker["advertised.listeners"], format!("PLAINTEXT://{}", kafka.bootstrap));
    assert_eq!(stack["services"]["kafka"]["hostname"], kafka.bootstrap.split(':').next().unwrap());
    let data = format!("kafka:{}", broker["log.dirs"]);
    assert!(texts(&stack["services"]["kafka"]["volumes"]).contains(&data.as_str()), "{data} is kept");
}

/// What is measured, tested and tried out is what is shipped.
#[test]
fn the_broker_is_set_as_that_of_the_tests() {
    /// Where a broker is, and whom it lets in: of each its own. Beginnings of names.
    const ITS_OWN: [&str; 8] = [
        "advertised.listeners",
        "authorizer.",
        "controller.quorum.voters",
        "listener",
        "log.dirs",
        "sasl.",
        "ssl.",
        "super.users",
    ];
    let shared = |text: &str| {
        let mut all = properties(text);
        all.retain(|name, _| !ITS_OWN.iter().any(|own| name.starts_with(own)));
        all
    };
    let source = |name: &str| std::fs::read_to_string(root().join("tests").join(name)).unwrap();
    let ships = shared(&text("kafka/broker/server.properties"));

    let rust = source("src/broker.rs");
    let (_, written) = rust.split_once("fn server_properties(").unwrap();
    // Lines of the format string end in `\n\` or `\n",`.
    let lines = written.lines().filter_map(|line| {
        let line = line.trim().trim_start_matches("let mut text = format!(").trim_start_matches('"');
        Some(line.split_once("\\n")?.0)
    });
    let tests = shared(&lines.collect::<Vec<_>>().join("\n"));
    assert!(tests.len() > 12, "{tests:?}");
    assert_eq!(ships, tests);

    let script = source("kafka/local");
    let written = script.split("PROPERTIES\n").nth(1).unwrap();
    let local = shared(written);
    assert!(local.len() > 8, "{local:?}");
    for (name, value) in local {
        assert_eq!(ships.get(&name), Some(&value), "{name}");
    }
}

/// Where compose is installed, it reads the files as the tests above do.
#[test]
fn compose_reads_the_files() {
    let (on_top, below, added) = ON_TOP;
    let mut all: Vec<_> = files().into_iter().map(|(name, expected)| (vec![name], expected)).collect();
    let (_, mut expected) = files().into_iter().find(|(name, _)| *name == below).unwrap();
    expected.extend(added);
    all.push((vec![below, on_top], expected));
    for (names, expected) in all {
        let Some(mut compose) = compose() else {
            println!(
                "skipped: compose_reads_the_files: neither docker-compose nor docker compose is installed"
            );
            return;
        };
        for name in &names {
            compose.arg("-f").arg(folder().join(name));
        }
        let said = compose.args(["config", "--services"]).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert!(said.status.success(), "{names:?}: {err}");
        assert_eq!(out.lines().collect::<BTreeSet<_>>(), expected, "{names:?}: {err}");
    }
}
