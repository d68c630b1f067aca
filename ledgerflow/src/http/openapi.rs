//! The description of the API: OpenAPI 3.1, made from one table of operations.
//!
//! `schemas/openapi.json` is generated from it and checked. A test asks every operation of a running pipeline and compares
//! what comes with what stands here.

use super::problem::Kind;
use super::read::{LIMIT, LIMIT_MAX, key};
use crate::query::accounts::AccountStatus;
use axum::Json;
use schemas::ids::ACCOUNT_BYTES_MAX;
use schemas::reason::Reason;
use schemas::recon_json::CaseKind;
use serde_json::{Map, Value, json};

/// What a member of a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Is {
    /// Text.
    Text,
    /// Text, or null.
    MaybeText,
    /// A decimal amount as text.
    Amount,
    /// The same, or null.
    MaybeAmount,
    /// A whole number.
    Number,
    /// The same, or null.
    MaybeNumber,
    /// Yes or no.
    Flag,
}

impl Is {
    fn schema(self) -> Value {
        let amount = "^-?[0-9]+(\\.[0-9]+)?$";
        match self {
            Self::Text => json!({"type": "string"}),
            Self::MaybeText => json!({"type": ["string", "null"]}),
            Self::Amount => json!({"type": "string", "pattern": amount}),
            Self::MaybeAmount => json!({"type": ["string", "null"], "pattern": amount}),
            Self::Number => json!({"type": "integer"}),
            Self::MaybeNumber => json!({"type": ["integer", "null"]}),
            Self::Flag => json!({"type": "boolean"}),
        }
    }
}

use Is::{Amount, Flag, MaybeAmount, MaybeNumber, MaybeText, Number, Text};

/// Columns of a table by name.
pub type Columns = &'static [(&'static str, Is)];

/// An operation that reads.
#[derive(Debug)]
pub struct Operation {
    /// Path, with its variable part in braces.
    pub path: &'static str,
    id: &'static str,
    about: &'static str,
    /// Parameters of the query.
    pub parameters: &'static [&'static str],
    /// Tables of the answer by title; those that may be missing begin with `?`.
    pub tables: &'static [(&'static str, Columns)],
    /// Whether it comes in pages.
    pub pages: bool,
}

const BALANCES_OF_ONE: Columns = &[
    ("account", Text),
    ("asset", Text),
    ("balance", Amount),
    ("normal_side", Text),
    ("entries", Number),
    ("last_date", Text),
    ("previous_balance", Amount),
    ("pending", Amount),
    ("estimated", Amount),
];
/// Without what is on its way.
const BALANCES: Columns = BALANCES_OF_ONE.split_at(BALANCES_OF_ONE.len() - 2).0;

const JOB: &[(&str, Columns)] = &[
    (
        "events",
        &[
            ("event", Text),
            ("source", Text),
            ("type", Text),
            ("outcome", Text),
            ("reason", Text),
            ("date", Text),
            ("rate", MaybeText),
            ("journal", Text),
        ],
    ),
    (
        "entries",
        &[
            ("event", Text),
            ("account", Text),
            ("asset", Text),
            ("side", Text),
            ("amount", Amount),
            ("balance_after", Amount),
            ("date", Text),
            ("journal", Text),
        ],
    ),
    (
        "accounts",
        &[("account", Text), ("asset", Text), ("debits", Amount), ("credits", Amount), ("net", Amount)],
    ),
    ("sums", &[("asset", Text), ("debits", Amount), ("credits", Amount), ("difference", Amount)]),
];

/// One event's way. What came as a dead letter may lack any attribute.
const TRACE: &[(&str, Columns)] = &[
    (
        "events",
        &[
            ("event", MaybeText),
            ("source", MaybeText),
            ("type", MaybeText),
            ("subject", MaybeText),
            ("time", MaybeText),
            ("lies_at", Text),
            ("data", Text),
        ],
    ),
    (
        "decisions",
        &[
            ("outcome", Text),
            ("reason", Text),
            ("original", MaybeText),
            ("original_at", MaybeText),
            ("date", MaybeText),
            ("rule", MaybeText),
            ("event_at", MaybeText),
            ("journal", Text),
            ("decided_at", Text),
            ("about", MaybeText),
            ("principal", MaybeText),
            ("proposed_by", MaybeText),
            ("note", MaybeText),
        ],
    ),
    (
        "entries",
        &[
            ("account", Text),
            ("asset", Text),
            ("side", Text),
            ("amount", Amount),
            ("balance_after", Amount),
            ("seq", Number),
            ("date", Text),
            ("journal", Text),
        ],
    ),
    (
        "later",
        &[
            ("what", Text),
            ("event", MaybeText),
            ("source", MaybeText),
            ("outcome", MaybeText),
            ("reason", MaybeText),
            ("asset", MaybeText),
            ("amount", MaybeAmount),
            ("left", MaybeAmount),
            ("date", MaybeText),
            ("journal", Text),
        ],
    ),
    (
        "balances",
        &[
            ("account", Text),
            ("asset", Text),
            ("balance", Amount),
            ("normal_side", Text),
            ("entries", Number),
            ("last_date", Text),
        ],
    ),
    (
        "reconciliation",
        &[
            ("kind", Text),
            ("provider", Text),
            ("order", Text),
            ("day", Text),
            ("ours", MaybeAmount),
            ("theirs", MaybeAmount),
            ("event", MaybeText),
            ("line", MaybeNumber),
            ("case", Text),
        ],
    ),
];

/// Every operation that reads the books.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        path: "/v1/accounts",
        id: "listAccounts",
        about: "Accounts with their balances, in the order of account and asset; with `status`, those of which events have made that.",
        parameters: &["prefix", "status", "after", "limit"],
        tables: &[
            ("?accounts", BALANCES),
            (
                "?account statuses",
                &[
                    ("account", Text),
                    ("status", Text),
                    ("frozen", MaybeText),
                    ("opened", Flag),
                    ("changed_on", MaybeText),
                    ("event", MaybeText),
                    ("source", MaybeText),
                ],
            ),
            (
                "?account limits",
                &[
                    ("account", Text),
                    ("asset", Text),
                    ("min_balance", MaybeText),
                    ("max_balance", MaybeText),
                    ("changed_on", Text),
                    ("event", Text),
                    ("source", Text),
                ],
            ),
        ],
        pages: true,
    },
    Operation {
        path: "/v1/accounts/{account}",
        id: "getAccount",
        about: "What an account may be used for, and what is said of it.",
        parameters: &[],
        tables: &[
            (
                "account",
                &[
                    ("account", Text),
                    ("normal_side", Text),
                    ("opened", Flag),
                    ("closed", Flag),
                    ("debits_frozen", Flag),
                    ("credits_frozen", Flag),
                ],
            ),
            ("metadata", &[("key", Text), ("value", Text)]),
        ],
        pages: false,
    },
    Operation {
        path: "/v1/accounts/{account}/balances",
        id: "getBalances",
        about: "Balances of an account now, or at the end of a day.",
        parameters: &["as_of"],
        tables: &[
            ("?balances", BALANCES_OF_ONE),
            (
                "?closing balances",
                &[
                    ("account", Text),
                    ("asset", Text),
                    ("as_of", Text),
                    ("balance", Amount),
                    ("normal_side", Text),
                    ("closed_on", Text),
                    ("revision", Number),
                ],
            ),
        ],
        pages: false,
    },
    Operation {
        path: "/v1/accounts/{account}/entries",
        id: "listEntries",
        about: "Entries of an account, newest first, asset by asset.",
        parameters: &["asset", "after", "limit"],
        tables: &[(
            "entries",
            &[
                ("account", Text),
                ("asset", Text),
                ("seq", Number),
                ("side", Text),
                ("amount", Amount),
                ("balance", Amount),
                ("date", Text),
                ("event", Text),
                ("source", Text),
                ("type", Text),
                ("batch", Text),
            ],
        )],
        pages: true,
    },
    Operation {
        path: "/v1/events/{id}",
        id: "traceEvent",
        about: "One event's way: where it lies, what was decided, its entries, what it was matched with.",
        parameters: &["source"],
        tables: TRACE,
        pages: false,
    },
    Operation {
        path: "/v1/jobs/{job}",
        id: "showJob",
        about: "The events that name a job, their entries, and what these come to in each account.",
        parameters: &[],
        tables: JOB,
        pages: false,
    },
    Operation {
        path: "/v1/trial-balance",
        id: "getTrialBalance",
        about: "Debit and credit balances per asset, and their difference, which is zero.",
        parameters: &[],
        tables: &[(
            "trial balance",
            &[
                ("asset", Text),
                ("accounts", Number),
                ("debit_balances", Amount),
                ("credit_balances", Amount),
                ("difference", Amount),
            ],
        )],
        pages: false,
    },
    Operation {
        path: "/v1/days",
        id: "listDays",
        about: "Business days and how far they are closed.",
        parameters: &[],
        tables: &[(
            "days",
            &[("book", Text), ("day", Text), ("state", Text), ("slots_closed", Number), ("slots", Number)],
        )],
        pages: false,
    },
    Operation {
        path: "/v1/adjustments",
        id: "listAdjustments",
        about: "Adjustments that wait until another principal approves them, leg by leg.",
        parameters: &["limit"],
        tables: &[(
            "adjustments",
            &[
                ("adjustment", Text),
                ("source", Text),
                ("proposed_by", Text),
                ("state", Text),
                ("over_at", MaybeText),
                ("subject", MaybeText),
                ("side", Text),
                ("account", Text),
                ("amount", Amount),
                ("asset", Text),
                ("case", MaybeText),
                ("note", MaybeText),
                ("partitionkey", Text),
            ],
        )],
        pages: false,
    },
    Operation {
        path: "/v1/suspense",
        id: "listSuspense",
        about: "What lies in suspense, case by case: what could not be booked to the account that it was meant for.",
        parameters: &["limit"],
        tables: &[(
            "suspense",
            &[
                ("case", Text),
                ("amount", Amount),
                ("asset", Text),
                ("side", Text),
                ("meant_for", Text),
                ("reason", Text),
                ("since", MaybeText),
                ("state", Text),
                ("proposal", MaybeText),
                ("event", Text),
                ("source", Text),
                ("partitionkey", Text),
            ],
        )],
        pages: false,
    },
    Operation {
        path: "/v1/parked",
        id: "listParked",
        about: "Events that may have been booked so long ago that nothing is known of them any more.",
        parameters: &["limit"],
        tables: &[(
            "parked",
            &[
                ("event", Text),
                ("source", Text),
                ("type", Text),
                ("occurred_at", Text),
                ("subject", MaybeText),
                ("legs", Number),
                ("rule", Text),
                ("partitionkey", Text),
            ],
        )],
        pages: false,
    },
    Operation {
        path: "/v1/holds",
        id: "listHolds",
        about: "What is on hold, and what its accounts may still spend.",
        parameters: &["account", "limit"],
        tables: &[
            (
                "holds",
                &[
                    ("account", Text),
                    ("asset", Text),
                    ("amount", Amount),
                    ("event", MaybeText),
                    ("source", MaybeText),
                    ("over_at", MaybeText),
                ],
            ),
            (
                "funds",
                &[
                    ("account", Text),
                    ("asset", Text),
                    ("balance", Amount),
                    ("on_hold", Amount),
                    ("available", MaybeAmount),
                ],
            ),
        ],
        pages: false,
    },
    Operation {
        path: "/v1/breaks",
        id: "listBreaks",
        about: "What does not agree with the providers' bills.",
        parameters: &["kind", "limit"],
        tables: &[(
            "breaks",
            &[
                ("day", Text),
                ("kind", Text),
                ("provider", Text),
                ("order", Text),
                ("order_kind", Text),
                ("refund", Text),
                ("ours", MaybeAmount),
                ("theirs", MaybeAmount),
                ("difference", Text),
                ("event", MaybeText),
                ("line", MaybeNumber),
            ],
        )],
        pages: false,
    },
    Operation {
        path: "/v1/breaks/summary",
        id: "summarizeBreaks",
        about: "Cases by kind, and every bill file with its gate.",
        parameters: &[],
        tables: &[
            ("cases", &[("kind", Text), ("count", Number)]),
            (
                "bills",
                &[
                    ("file", Text),
                    ("name", Text),
                    ("provider", Text),
                    ("account", Text),
                    ("day", MaybeText),
                    ("gate", Text),
                    ("lines", Number),
                    ("reason", Text),
                ],
            ),
        ],
        pages: false,
    },
    Operation {
        path: "/v1/rejected",
        id: "listRejected",
        about: "The newest events that were not booked.",
        parameters: &["reason", "limit"],
        tables: &[(
            "rejected",
            &[("position", Text), ("outcome", Text), ("reason", Text), ("detail", Text), ("event_at", Text)],
        )],
        pages: false,
    },
    Operation {
        path: "/v1/rejected/{position}",
        id: "getRejected",
        about: "One event that was not booked, with its bytes.",
        parameters: &[],
        tables: &[("rejected event", &[("field", Text), ("value", Text)])],
        pages: false,
    },
    Operation {
        path: "/v1/channels",
        id: "listChannels",
        about: "Channels between posting partitions: what was sent, taken, waits or is missing.",
        parameters: &["from", "to"],
        tables: &[(
            "channels",
            &[
                ("from", Number),
                ("to", Number),
                ("state", Text),
                ("sent", Number),
                ("taken", Number),
                ("waiting", Number),
                ("dropped", Number),
                ("missing", MaybeNumber),
                ("asked", MaybeNumber),
                ("asked_at", MaybeText),
                ("sending_again", MaybeNumber),
            ],
        )],
        pages: false,
    },
    Operation {
        path: "/v1/status",
        id: "getStatus",
        about: "What runs and how far it is.",
        parameters: &[],
        tables: &[(
            "stages",
            &[("stage", Text), ("slots", Number), ("state", Text), ("behind_records", Number)],
        )],
        pages: false,
    },
];

/// Columns of `GET /readyz`.
pub const READY: Columns =
    &[("stage", Text), ("slots", Number), ("restored", Flag), ("last_commit_seconds", MaybeNumber)];

/// An account's name, as [`schemas::ids::check_account`] takes it.
const NAME: &str = "[A-Za-z0-9_.@-]+(:[A-Za-z0-9_.@-]+){0,7}";

/// Where a page begins, as `next` says it.
fn after(path: &str) -> Value {
    let asset = "[A-Z][A-Z0-9_.-]{0,15}";
    let pattern = if path.ends_with("/entries") {
        format!("^[0-9]{{1,9}}#[0-9]{{1,18}}/[0-9]{{1,18}}/{asset}$")
    } else {
        format!("^{NAME}(/{asset})?$")
    };
    json!({"type": "string", "pattern": pattern})
}

fn parameter(path: &str, name: &str) -> Value {
    let (schema, about) = match name {
        "prefix" => (json!({"type": "string"}), "What the accounts' names begin with."),
        "after" => (after(path), "`next` of the page before."),
        "limit" => {
            let schema = json!({"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT});
            (schema, "Most rows.")
        }
        "as_of" => (json!({"type": "string", "format": "date"}), "A day: balances at its end."),
        "asset" => (json!({"type": "string"}), "One asset only."),
        "source" => (json!({"type": "string"}), "Source of the event, where several have one of this id."),
        "status" => {
            let names = AccountStatus::ALL.map(AccountStatus::name);
            (json!({"type": "string", "enum": names}), "What events have made of the accounts.")
        }
        "kind" => {
            let kinds: Vec<_> = CaseKind::ALL.iter().map(|kind| kind.name()).collect();
            (json!({"type": "string", "enum": kinds}), "One kind of break only.")
        }
        "reason" => {
            let codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
            (json!({"type": "string", "enum": codes}), "One reason only.")
        }
        "lane" => (
            json!({"type": "integer", "minimum": 0, "maximum": 2, "default": 1}),
            "Lane: 0 high, 1 normal, 2 low.",
        ),
        "from" | "to" => {
            let schema = json!({"type": "integer", "minimum": 0, "maximum": 255});
            (schema, "Only channels from, or to, that partition.")
        }
        "dry_run" => (json!({"type": "boolean", "default": false}), "Only say what would be sent."),
        "wait" => (json!({"type": "string", "enum": ["booked"]}), "Wait until every event is decided."),
        "timeout_seconds" => (
            json!({"type": "integer", "minimum": 1, "maximum": 60, "default": 10}),
            "How long to wait at most.",
        ),
        _ => {
            let pattern = format!("^({NAME}:?)?\\*?$");
            let schema =
                json!({"type": "string", "minLength": 1, "maxLength": ACCOUNT_BYTES_MAX, "pattern": pattern});
            (schema, "An account, or with `:` or `*` at its end all that begin so.")
        }
    };
    json!({"name": name, "in": "query", "required": false, "description": about, "schema": schema})
}

fn in_path(path: &str) -> Option<Value> {
    let name = path.split_once('{')?.1.split_once('}')?.0;
    let schema = match name {
        "position" => json!({"type": "string", "pattern": "^[0-9]{1,9}@[0-9]{1,18}$"}),
        "account" => {
            json!({"type": "string", "maxLength": ACCOUNT_BYTES_MAX, "pattern": format!("^{NAME}$")})
        }
        _ => json!({"type": "string", "minLength": 1}),
    };
    Some(json!({"name": name, "in": "path", "required": true, "schema": schema}))
}

fn row(columns: Columns) -> Value {
    let properties: Map<String, Value> =
        columns.iter().map(|(name, is)| ((*name).to_owned(), is.schema())).collect();
    let required: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn answer(operation: &Operation) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for (title, columns) in operation.tables {
        let name = key(title.trim_start_matches('?'));
        properties.insert(name.clone(), json!({"type": "array", "items": row(columns)}));
        if !title.starts_with('?') {
            required.push(name);
        }
    }
    properties.insert("message".to_owned(), json!({"type": "string"}));
    properties.insert(
        "wrong".to_owned(),
        json!({"type": "boolean", "description": "A check found something wrong."}),
    );
    if operation.pages {
        let about = "Where the next page begins; null = there is none.";
        properties.insert("next".to_owned(), json!({"type": ["string", "null"], "description": about}));
        required.push("next".to_owned());
    }
    json!({"type": "object", "properties": properties, "required": required})
}

/// A response with JSON.
fn with(about: &str, media: &str, schema: Value) -> Value {
    json!({"description": about, "content": {media: {"schema": schema}}})
}

/// The problems that an operation may answer with, by status.
fn problems(kinds: &[Kind]) -> Map<String, Value> {
    let mut by_status: std::collections::BTreeMap<u16, Vec<&str>> = std::collections::BTreeMap::new();
    for kind in kinds {
        by_status.entry(kind.status().as_u16()).or_default().push(kind.code());
    }
    let problem = |codes: Vec<&str>| {
        let schema = json!({"$ref": "#/components/schemas/Problem"});
        with(&codes.join(", "), "application/problem+json", schema)
    };
    by_status.into_iter().map(|(status, codes)| (status.to_string(), problem(codes))).collect()
}

const READING: [Kind; 6] =
    [Kind::BadParameter, Kind::Unauthorized, Kind::Forbidden, Kind::NotFound, Kind::Unavailable, Kind::Busy];
const SENDING: [Kind; 10] = [
    Kind::Timeout,
    Kind::BadParameter,
    Kind::MalformedBody,
    Kind::Unauthorized,
    Kind::Forbidden,
    Kind::TooLarge,
    Kind::UnsupportedMediaType,
    Kind::InvalidEvents,
    Kind::Unavailable,
    Kind::Busy,
];

fn reading(operation: &Operation) -> Value {
    let parameters: Vec<Value> = in_path(operation.path)
        .into_iter()
        .chain(operation.parameters.iter().map(|name| parameter(operation.path, name)))
        .collect();
    let mut responses = problems(&READING);
    responses.insert("200".to_owned(), with(operation.about, "application/json", answer(operation)));
    json!({"get": {
        "operationId": operation.id, "summary": operation.about, "parameters": parameters, "responses": responses,
        "security": [{}, {"bearer": []}],
    }})
}

fn sending() -> Value {
    let outcome = json!({"type": "object", "required": ["id", "source", "lane", "partition", "offset", "outcome"], "properties": {
        "id": {"type": "string"}, "source": {"type": "string"}, "lane": {"type": "integer"},
        "partition": {"type": "integer"}, "offset": {"type": "integer"},
        "outcome": {"type": "string", "enum": ["accepted", "booked", "refused", "duplicate", "dead-lettered"]},
        "original": {"type": "string", "description": "Of a duplicate: what became of the first one; `pending` = another partition still decides on it."},
        "reason": {"type": "string"},
    }});
    let schema = json!({"type": "object", "required": ["accepted", "events"], "properties": {
        "accepted": {"type": "integer"}, "events": {"type": "array", "items": outcome},
    }});
    let event = json!({"$ref": "#/components/schemas/Event"});
    let either = json!({"oneOf": [event, {"type": "array", "minItems": 1, "items": event}]});
    let mut responses = problems(&SENDING);
    let (decided, accepted) =
        ("Every event is decided.", "The events are durable; they are decided in a moment.");
    responses.insert("200".to_owned(), with(decided, "application/json", schema.clone()));
    responses.insert("202".to_owned(), with(accepted, "application/json", schema));
    let parameters = ["lane", "wait", "timeout_seconds"].map(|name| parameter("", name)).to_vec();
    json!({"post": {
        "operationId": "sendEvents", "summary": "Takes events: one, an array, or one a line.",
        "parameters": parameters,
        "requestBody": {"required": true, "content": {
            "application/json": {"schema": either},
            "application/cloudevents+json": {"schema": event},
            "application/cloudevents-batch+json": {"schema": {"type": "array", "minItems": 1, "items": event}},
            "application/x-ndjson": {"schema": {"type": "string"}},
        }},
        "responses": responses, "security": [{}, {"bearer": []}],
    }})
}

/// Rows of the plan of a reversal.
pub const REVERSAL: Columns = &[
    ("event", Text),
    ("source", Text),
    ("type", Text),
    ("state", Text),
    ("reason", MaybeText),
    ("reversal", MaybeText),
    ("wave", MaybeNumber),
    ("may_refuse", MaybeText),
];

fn reversing() -> Value {
    let schema = json!({"type": "object", "required": ["reversal", "sent"], "properties": {
        "reversal": {"type": "array", "items": row(REVERSAL)},
        "sent": {"type": "integer"}, "message": {"type": "string"},
        "wrong": {"type": "boolean", "description": "Events of the job are not decided yet: nothing is sent."},
    }});
    let mut responses = problems(&READING);
    let (nothing, accepted) = ("Nothing is sent.", "The events of the first wave are durable.");
    responses.insert("200".to_owned(), with(nothing, "application/json", schema.clone()));
    responses.insert("202".to_owned(), with(accepted, "application/json", schema));
    let path = "/v1/jobs/{job}/reversal";
    let parameters: Vec<Value> =
        in_path(path).into_iter().chain(["dry_run", "lane"].map(|name| parameter(path, name))).collect();
    json!({"post": {
        "operationId": "reverseJob", "summary": "Gives back a job, wave by wave: ask again until nothing is to be sent.",
        "parameters": parameters, "responses": responses, "security": [{}, {"bearer": []}],
    }})
}

fn watching() -> Value {
    let mut responses = problems(&READING);
    let about = "Events named `balance`; data is a balance in JSON, the id goes back as Last-Event-ID.";
    responses.insert("200".to_owned(), with(about, "text/event-stream", json!({"type": "string"})));
    let last =
        json!({"name": "Last-Event-ID", "in": "header", "required": false, "schema": {"type": "string"}});
    let parameters = vec![parameter("", "account"), last];
    json!({"get": {
        "operationId": "watchBalances", "summary": "Balances as they change.",
        "parameters": parameters, "responses": responses, "security": [{}, {"bearer": []}],
    }})
}

fn open(id: &str, about: &str, schema: Value, kinds: &[Kind]) -> Value {
    let mut responses = problems(kinds);
    responses.insert("200".to_owned(), with(about, "application/json", schema));
    json!({"get": {"operationId": id, "summary": about, "responses": responses, "security": []}})
}

/// An event, without what a schema that stands by itself has besides.
fn event() -> Value {
    let text = include_str!("../../../schemas/json/events/cloudevent.json");
    // It is this program's own text; a test reads it.
    let mut schema: Value = serde_json::from_str(text).unwrap_or_default();
    if let Some(schema) = schema.as_object_mut() {
        schema.retain(|name, _| !name.starts_with('$'));
        schema.insert(
            "description".to_owned(),
            "CloudEvents 1.0; types and their data are in docs/events.md.".into(),
        );
    }
    schema
}

fn metrics() -> Value {
    let mut responses = problems(&[Kind::Unauthorized, Kind::Forbidden, Kind::Unavailable, Kind::Busy]);
    let about = "Metrics of this process, see docs/metrics.md.";
    responses
        .insert("200".to_owned(), with(about, "application/openmetrics-text", json!({"type": "string"})));
    json!({"get": {
        "operationId": "getMetrics", "summary": about, "responses": responses, "security": [{}, {"bearer": []}],
    }})
}

/// The whole description.
#[must_use]
pub fn document() -> Value {
    let mut paths: Map<String, Value> =
        OPERATIONS.iter().map(|operation| (operation.path.to_owned(), reading(operation))).collect();
    paths.insert("/v1/events".to_owned(), sending());
    paths.insert("/v1/jobs/{job}/reversal".to_owned(), reversing());
    paths.insert("/v1/balances/changes".to_owned(), watching());
    let status =
        json!({"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}});
    paths.insert("/livez".to_owned(), open("live", "The process answers.", status, &[]));
    let ready = json!({"type": "object", "required": ["status", "stages"], "properties": {
        "status": {"type": "string"}, "stages": {"type": "array", "items": row(READY)},
    }});
    let about = "Every slot of this process is restored and it can write.";
    paths.insert(
        "/readyz".to_owned(),
        open("ready", about, ready, &[Kind::NotReady, Kind::Unavailable, Kind::Busy]),
    );
    paths.insert("/metrics".to_owned(), metrics());
    let codes: Vec<&str> = Kind::ALL.iter().map(|kind| kind.code()).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "ledgerflow", "version": env!("CARGO_PKG_VERSION"), "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Events in; balances, entries, days and breaks out.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Problem": {"type": "object", "required": ["type", "title", "status", "code", "detail"], "properties": {
                    "type": {"type": "string", "format": "uri"}, "title": {"type": "string"},
                    "status": {"type": "integer"}, "code": {"type": "string", "enum": codes},
                    "detail": {"type": "string"},
                    "errors": {"type": "array", "items": {"type": "object", "properties": {
                        "index": {"type": "integer"}, "code": {"type": "string"}, "detail": {"type": "string"},
                    }}},
                }},
                "Event": event(),
            },
        },
    })
}

/// `GET /openapi.json`.
pub(super) async fn get() -> Json<Value> {
    Json(document())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE=1` (or `make schemas`) writes it.
    #[test]
    fn the_openapi_document_is_current() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/openapi.json");
        let text = serde_json::to_string_pretty(&document()).expect("JSON") + "\n";
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &text).expect("write");
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "schemas/openapi.json is stale: run `make schemas`");
    }
}
