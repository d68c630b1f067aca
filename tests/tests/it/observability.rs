//! Dashboard and alerts: every expression is PromQL over metrics and labels that the program exports, and every alert says
//! what to do and where that is written.

use crate::compose_files::{folder, parsed, text, texts};
use crate::tidy::root;
use ledgerflow::config;
use ledgerflow::http::{Access, Right, make_token};
use ledgerflow::metrics::dictionary::{ALL, Metric};
use ledgerflow::runtime::Role;
use promql_parser::label::Matcher;
use promql_parser::parser::{self, Expr, LabelModifier, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;

/// Labels that Prometheus adds.
const ADDED: [&str; 2] = ["instance", "job"];
/// Metrics that Prometheus makes.
const MADE: [&str; 1] = ["up"];

const DASHBOARD: &str = "observability/grafana/dashboards/ledgerflow.json";
const ALERTS: &str = "observability/prometheus/alerts.yml";

/// Labels that a sample of this name has.
fn labels_of(name: &str) -> Option<BTreeSet<&'static str>> {
    let of = |metric: &&&Metric| metric.samples().iter().any(|sample| sample == name);
    let labels = match ALL.iter().find(of) {
        Some(metric) => metric.labels.to_vec(),
        None => MADE.contains(&name).then(Vec::new)?,
    };
    let le = name.ends_with("_bucket").then_some("le");
    Some(labels.into_iter().chain(le).chain(ADDED).collect())
}

/// Looks through an expression for names that nobody exports.
#[derive(Default)]
struct Names {
    found: usize,
    wrong: Vec<String>,
    /// Labels that each selected metric has.
    had: Vec<BTreeSet<&'static str>>,
}

impl Names {
    /// What an expression names.
    fn of(expression: &Expr) -> Self {
        let mut names = Self::default();
        walk_expr(&mut names, expression).unwrap();
        names
    }

    /// Labels by which these expressions are grouped or matched: every metric in them must have them.
    fn grouped(&mut self, by: Option<&LabelModifier>, expressions: &[&Expr]) {
        let labels = by.iter().flat_map(|by| &by.labels().labels);
        for label in labels {
            if !expressions.iter().all(|expression| Self::of(expression).all_have(label)) {
                self.wrong.push(format!("not every metric has the label {label}"));
            }
        }
    }

    fn all_have(&self, label: &str) -> bool {
        self.had.iter().all(|had| had.contains(label))
    }

    fn selector(&mut self, selector: &VectorSelector) {
        let name = selector.name.as_deref().unwrap_or("(none)");
        self.found += 1;
        let Some(labels) = labels_of(name) else {
            self.wrong.push(format!("{name} is not exported"));
            return;
        };
        let matchers = &selector.matchers;
        for Matcher { name: label, .. } in
            matchers.matchers.iter().chain(matchers.or_matchers.iter().flatten())
        {
            if !labels.contains(label.as_str()) {
                self.wrong.push(format!("{name} has no label {label}"));
            }
        }
        self.had.push(labels);
    }
}

impl ExprVisitor for Names {
    type Error = String;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, String> {
        match expr {
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::MatrixSelector(selector) => self.selector(&selector.vs),
            Expr::Aggregate(aggregate) => self.grouped(aggregate.modifier.as_ref(), &[&aggregate.expr]),
            Expr::Binary(binary) => {
                let matching = binary.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref());
                self.grouped(matching, &[&binary.lhs, &binary.rhs]);
            }
            _ => {}
        }
        Ok(true)
    }
}

/// What is wrong with an expression, and with the labels that a text beside it shows.
fn faults(expression: &str, shown: &BTreeSet<String>) -> Vec<String> {
    let parsed = match parser::parse(expression) {
        Ok(parsed) => parsed,
        Err(why) => return vec![why],
    };
    let mut names = Names::of(&parsed);
    if names.found == 0 {
        names.wrong.push("it asks for no metric".to_owned());
    }
    for label in shown {
        if !names.all_have(label) {
            names.wrong.push(format!("not every metric has the label {label} that is shown"));
        }
    }
    names.wrong
}

/// Labels that a text shows: `{{name}}` of Grafana, `{{ $labels.name }}` of Prometheus.
fn shown(text: &str) -> BTreeSet<String> {
    let parts = text.split("{{").skip(1).filter_map(|part| part.split_once("}}"));
    let names = parts.map(|(name, _)| name.trim().trim_start_matches("$labels.").to_owned());
    names.filter(|name| name != "$value").collect()
}

#[test]
fn faults_in_expressions_are_found() {
    let none = BTreeSet::new();
    for right in [
        "up == 0",
        "sum by (slot, job) (rate(ledgerflow_posting_events_total{outcome=~\"booked|refused\"}[5m]))",
        "histogram_quantile(0.9, sum by (le) (rate(ledgerflow_commit_duration_seconds_bucket[5m])))",
    ] {
        assert_eq!(faults(right, &none), Vec::<String>::new(), "{right}");
    }
    for wrong in [
        "sum(",
        "1 + 1",
        "ledgerflow_posting_events",
        "rate(ledgerflow_comits_total[5m])",
        "ledgerflow_posting_events_total{account=\"users:1:wallet\"}",
        "sum by (topic) (ledgerflow_posting_events_total)",
        "ledgerflow_disk_free_bytes / on (slot) ledgerflow_disk_size_bytes",
    ] {
        assert_eq!(faults(wrong, &none).len(), 1, "{wrong}");
    }
    assert_eq!(
        shown("{{processor}} {{ $labels.topic }}: {{ $value }}"),
        ["processor", "topic"].map(String::from).into()
    );
    assert_eq!(faults("up", &shown("{{slot}}")).len(), 1);
}

#[test]
fn the_dashboard_asks_for_what_is_exported() {
    let dashboard: Value = serde_json::from_str(&text(DASHBOARD)).unwrap();
    let (mut asked, mut ids) = (0, BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let shown = shown(target["legendFormat"].as_str().unwrap());
            let wrong = faults(target["expr"].as_str().unwrap(), &shown);
            assert!(wrong.is_empty(), "{}: {wrong:?} in {}", panel["title"], target["expr"]);
            assert_eq!(target["datasource"]["uid"], "prometheus");
            asked += 1;
        }
    }
    assert!(asked > 20, "{asked} expressions");
}

/// The anchor that a heading of a page has.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|letter| letter.is_alphanumeric() || *letter == '-').collect()
}

#[test]
fn every_alert_asks_for_what_is_exported_and_says_what_to_do() {
    let page = std::fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let headings: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect();
    let alerts = parsed(ALERTS);
    let rules: Vec<&Value> = alerts["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    let mut names = BTreeSet::new();
    for rule in &rules {
        let name = rule["alert"].as_str().unwrap();
        assert!(names.insert(name), "{name} stands here twice");
        assert!(page.contains(&format!("| `{name}` |")), "docs/operating.md says nothing of {name}");
        assert!(["warning", "critical"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
        let annotation =
            |of: &str| rule["annotations"][of].as_str().unwrap_or_else(|| panic!("{name} has no {of}"));
        let shown = shown(&format!("{} {}", annotation("summary"), annotation("remedy")));
        let wrong = faults(rule["expr"].as_str().unwrap(), &shown);
        assert!(wrong.is_empty(), "{name}: {wrong:?}");
        let (file, place) = annotation("runbook").split_once('#').unwrap();
        assert_eq!(file, "docs/operating.md");
        assert!(headings.contains(place), "{name}: docs/operating.md has no {place}");
    }
    let told: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `Ledgerflow")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    let named: BTreeSet<&str> = names.iter().map(|name| name.trim_start_matches("Ledgerflow")).collect();
    assert_eq!(told, named, "the page and the rules have the same alerts");
    // What an operator must hear of.
    for metric in [
        "ledgerflow_lag_seconds",
        "ledgerflow_commit_last_success_timestamp_seconds",
        "ledgerflow_reconcile_cases",
        "ledgerflow_trial_balance_difference",
        "ledgerflow_mirror_lag_seconds",
        "ledgerflow_ingest_events_dead_lettered_total",
        "ledgerflow_disk_free_bytes",
    ] {
        assert!(rules.iter().any(|rule| rule["expr"].as_str().unwrap().contains(metric)), "{metric}");
    }
}

/// Prometheus asks each processor at the port that it listens on, with the token that it knows.
#[test]
fn prometheus_asks_where_the_processors_listen() {
    let (stack, beside) = (parsed("kafka.yml"), parsed("observability.yml"));
    let told = &beside["services"]["ingest"];
    for role in Role::ALL {
        assert_eq!(&beside["services"][role.name()], told, "{}", role.name());
        assert!(stack["services"].get(role.name()).is_some());
    }
    let variables = told["environment"].as_object().unwrap().iter();
    let variables = variables.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()));
    // The file is made by whoever runs the stack.
    let made = tempfile::NamedTempFile::new().unwrap();
    let here = made.path().display().to_string();
    let at_home = |(name, value): (String, String)| match name.ends_with("TOKENS") {
        true => (name, here.clone()),
        false => (name, value),
    };
    let (settings, layers) = config::load(None, variables.map(at_home), &[]).unwrap();
    assert_eq!(config::meaningless(&layers), Vec::<&str>::new());
    let first = settings.metrics.listen.0.unwrap().port();

    let scraping = &parsed("observability/prometheus/prometheus.yml")["scrape_configs"][0];
    let asked: Vec<(Value, u64)> = scraping["dns_sd_configs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|at| (at["names"].clone(), at["port"].as_u64().unwrap()))
        .collect();
    let listening = Role::ALL.iter().zip(u64::from(first)..);
    assert_eq!(asked, listening.map(|(role, port)| (json!([role.name()]), port)).collect::<Vec<_>>());
    let mounts = texts(&beside["services"]["prometheus"]["volumes"]);
    assert!(mounts.contains(&"./observability/secret:/run/secret:ro"), "{mounts:?}");
    assert_eq!(scraping["authorization"]["credentials_file"], "/run/secret/token");
    assert_eq!(scraping["job_name"], "ledgerflow");
}

/// The script makes two files that go together.
#[test]
fn the_token_of_the_stack_lets_prometheus_in() {
    use std::os::unix::fs::PermissionsExt;
    let script = folder().join("observability/token");
    assert!(std::fs::metadata(&script).unwrap().permissions().mode() & 0o111 != 0);
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("secret")).unwrap();
    std::fs::copy(&script, place.path().join("token")).unwrap();
    // What `ledgerflow token` says, by a program that says nothing else.
    let answer = make_token("prometheus", &[Right::Read], None).unwrap();
    let mut said = Vec::new();
    let (form, screen) = (ledgerflow::cli::args::Output::Json, ledgerflow::cli::output::Screen::stdout());
    ledgerflow::cli::output::write(&mut said, &answer.tables, form, screen).unwrap();
    let said = String::from_utf8(said).unwrap();
    let program = place.path().join("program");
    std::fs::write(&program, format!("cat <<'SAID'\n{said}\nSAID\n")).unwrap();
    let mut script = Command::new("sh");
    script.arg(place.path().join("token")).env("LEDGERFLOW", format!("sh {}", program.display()));
    assert!(script.status().unwrap().success());
    let read = |name: &str| std::fs::read_to_string(place.path().join("secret").join(name)).unwrap();
    let token = read("token");
    assert!(said.contains(&format!("\"{token}\"")), "{token:?}");
    let hash = schemas::hex::text(&schemas::batch::sha256(token.as_bytes()));
    assert_eq!(
        read("tokens.yaml"),
        format!("tokens:\n- {{name: prometheus, sha256: {hash}, may: [read]}}\n")
    );
    Access::read(&place.path().join("secret/tokens.yaml")).unwrap();
    // A program that makes no token leaves what was there.
    std::fs::write(&program, "echo no\n").unwrap();
    assert!(!script.status().unwrap().success());
    assert_eq!(read("token"), token);
}

#[test]
fn grafana_finds_prometheus_and_the_dashboard() {
    let beside = parsed("observability.yml");
    let grafana = &beside["services"]["grafana"];
    let source = &parsed("observability/grafana/provisioning/datasources/prometheus.yml")["datasources"][0];
    assert_eq!((&source["uid"], &source["url"]), (&json!("prometheus"), &json!("http://prometheus:9090")));
    let provider = &parsed("observability/grafana/provisioning/dashboards/ledgerflow.yml")["providers"][0];
    let place = provider["options"]["path"].as_str().unwrap();
    let mounted = format!("./observability/grafana/dashboards:{place}:ro");
    assert!(texts(&grafana["volumes"]).contains(&mounted.as_str()), "{mounted}");
    let home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].as_str().unwrap();
    assert_eq!(home, format!("{place}/{}", DASHBOARD.rsplit('/').next().unwrap()));
}
