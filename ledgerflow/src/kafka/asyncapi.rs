//! `topics asyncapi`: the topics as an AsyncAPI 3.0 document with Kafka bindings (version 0.5.0 of those), made of the topic
//! registry, the settings that `topics create` makes, the roles of the ACLs, and the contracts in `schemas/`.
//!
//! It stands by itself: JSON Schemas and protobuf files are in it. `schemas/asyncapi.json` is the one of the default
//! settings, generated and checked.

use crate::config::Settings;
use schemas::topics::{Partitioning, Topic};
use serde_json::{Map, Value, json};
use stream::kafka::acls::Role;
use stream::kafka::topics::settings as topic_settings;

const BINDING: &str = "0.5.0";
const PROTOBUF: &str = "application/vnd.google.protobuf;version=3";
const SCHEMA: &str = "application/schema+json;version=draft-2020-12";

/// What a topic's records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payload {
    /// JSON, with a schema of that name.
    Json(&'static str),
    /// A `Batch` whose body is described by a file, or (without the envelope) the message itself.
    Proto { file: &'static str, message: &'static str, envelope: bool },
    /// Any bytes.
    Bytes,
}

/// The key of a topic's records; `None` = there is none.
const fn key(topic: Topic) -> Option<&'static str> {
    Some(match topic {
        Topic::Events0 | Topic::Events1 | Topic::Events2 => {
            "A custom of senders (`partitionkey`, else `subject`); nothing relies on it."
        }
        Topic::Days | Topic::Flow => "`book|day`",
        Topic::DaysAligned => "`book|day|slot`",
        Topic::Rejected => "The input's own; of a refusal `source|id`.",
        Topic::Balances => "`account|asset`; of a slot's mark `complete_until|slot`",
        Topic::BalancesDaily => "`account|asset|day|revision`",
        Topic::BillsRaw | Topic::BillsLines => "The file's id.",
        Topic::Matches | Topic::Breaks => "The case's id.",
        Topic::Books => "The book.",
        Topic::Snapshots => "`processor/slot/turn/part`",
        Topic::IngestState
        | Topic::Commands
        | Topic::Credits
        | Topic::Journal
        | Topic::ReconState
        | Topic::ReconSides => return None,
    })
}

const fn payload(topic: Topic) -> Payload {
    const fn batch(file: &'static str, message: &'static str) -> Payload {
        Payload::Proto { file, message, envelope: true }
    }
    match topic {
        Topic::Events0 | Topic::Events1 | Topic::Events2 => Payload::Json("cloudevent"),
        Topic::Days => Payload::Json("days"),
        Topic::DaysAligned => Payload::Json("days.aligned"),
        Topic::Rejected => Payload::Json("rejected"),
        Topic::Balances => Payload::Json("balances"),
        Topic::BalancesDaily => Payload::Json("balances.daily"),
        Topic::Flow => Payload::Json("flow"),
        Topic::Matches => Payload::Json("matches"),
        Topic::Breaks => Payload::Json("breaks"),
        Topic::Books => Payload::Json("books"),
        Topic::IngestState => batch("ingest_state", "IngestStateBody"),
        Topic::Commands => batch("commands", "CommandsBody"),
        Topic::Credits => batch("credits", "CreditsBody"),
        Topic::Journal => batch("journal", "JournalBody"),
        Topic::ReconState => batch("recon", "ReconStateBody"),
        Topic::ReconSides => batch("recon", "SidesBody"),
        Topic::BillsLines => Payload::Proto { file: "recon", message: "BillChunk", envelope: false },
        Topic::Snapshots => Payload::Proto { file: "snapshots", message: "SnapshotPart", envelope: false },
        Topic::BillsRaw => Payload::Bytes,
    }
}

/// Headers of a topic's records: name, what it is, whether every record has it.
const fn headers(topic: Topic) -> &'static [(&'static str, &'static str, bool)] {
    match topic {
        Topic::Events0 | Topic::Events1 | Topic::Events2 => &[
            ("content-type", "application/cloudevents+json, or the data's own in binary mode.", false),
            ("ce_id", "Binary mode: the event's id; further ce_* headers as CloudEvents has them.", false),
            ("traceparent", "W3C trace context.", false),
        ],
        Topic::Rejected => &[
            ("ledgerflow-reason", "Reason code, as in docs/errors.md.", true),
            ("ledgerflow-retryable", "`true` or `false`.", true),
            ("ledgerflow-kind", "`refusal` on refusals of posting; absent on dead letters.", false),
            ("traceparent", "W3C trace context, where the event had one.", false),
        ],
        Topic::BillsRaw => &[
            ("ledgerflow-file", "Id of the file.", true),
            ("ledgerflow-file-name", "Its name.", true),
            ("ledgerflow-chunk", "Number of the chunk, from 0.", true),
            ("ledgerflow-chunks", "How many chunks the file has.", true),
        ],
        _ => &[],
    }
}

const JSON_SCHEMAS: [(&str, &str); 10] = [
    ("cloudevent", include_str!("../../../schemas/json/events/cloudevent.json")),
    ("days", include_str!("../../../schemas/json/days.json")),
    ("days.aligned", include_str!("../../../schemas/json/days.aligned.json")),
    ("rejected", include_str!("../../../schemas/json/rejected.json")),
    ("balances", include_str!("../../../schemas/json/balances.json")),
    ("balances.daily", include_str!("../../../schemas/json/balances.daily.json")),
    ("flow", include_str!("../../../schemas/json/flow.json")),
    ("matches", include_str!("../../../schemas/json/matches.json")),
    ("breaks", include_str!("../../../schemas/json/breaks.json")),
    ("books", include_str!("../../../schemas/json/books.json")),
];

const PROTO_FILES: [(&str, &str); 7] = [
    ("batch", include_str!("../../../schemas/proto/ledgerflow/v1/batch.proto")),
    ("commands", include_str!("../../../schemas/proto/ledgerflow/v1/commands.proto")),
    ("credits", include_str!("../../../schemas/proto/ledgerflow/v1/credits.proto")),
    ("ingest_state", include_str!("../../../schemas/proto/ledgerflow/v1/ingest_state.proto")),
    ("journal", include_str!("../../../schemas/proto/ledgerflow/v1/journal.proto")),
    ("recon", include_str!("../../../schemas/proto/ledgerflow/v1/recon.proto")),
    ("snapshots", include_str!("../../../schemas/proto/ledgerflow/v1/snapshots.proto")),
];

/// The document of a deployment as its settings describe it. No cluster is asked.
///
/// # Errors
/// The configuration of the client cannot be read; a schema of ours is no JSON.
pub fn asyncapi(settings: &Settings) -> anyhow::Result<Value> {
    let reached = super::options(settings)?;
    let (mut channels, mut messages, mut operations) = (Map::new(), Map::new(), Map::new());
    for topic in Topic::ALL.iter().copied() {
        channels.insert(topic.name().to_owned(), channel(topic, &reached));
        messages.insert(topic.name().to_owned(), message(topic));
    }
    for role in Role::ALL {
        let group = role.is_processor().then(|| reached.name(role.name()));
        for (action, topics) in [("receive", role.reads()), ("send", role.writes())] {
            for topic in topics {
                let name = format!("{}.{action}.{}", role.name(), topic.name());
                operations.insert(name, operation(role, action, *topic, group.as_deref()));
            }
        }
    }
    let mut schemas = Map::new();
    for (name, text) in JSON_SCHEMAS {
        let mut schema: Value = serde_json::from_str(text)?;
        rebase(&mut schema, &format!("#/components/schemas/{name}/schema"));
        schemas.insert(name.to_owned(), json!({"schemaFormat": SCHEMA, "schema": schema}));
    }
    for (name, text) in PROTO_FILES {
        schemas.insert(proto(name), json!({"schemaFormat": PROTOBUF, "schema": text}));
    }
    let servers: Map<String, Value> = (reached.bootstrap.split(',').enumerate())
        .map(|(at, host)| (format!("kafka{at}"), json!({"host": host.trim(), "protocol": "kafka"})))
        .collect();
    Ok(json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "ledgerflow",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Topics of the pipeline on Kafka. Read them with isolation.level=read_committed. Operations stand from the view of a part of the pipeline: `posting.receive.commands` is posting reading `commands`.",
            "license": {"name": env!("CARGO_PKG_LICENSE")},
        },
        "defaultContentType": "application/json",
        "servers": servers,
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }))
}

fn proto(file: &str) -> String {
    format!("{file}.proto")
}

fn partitioned_by(partitioning: Partitioning) -> &'static str {
    match partitioning {
        Partitioning::Free => "any partition",
        Partitioning::Account => "partition of the account",
        Partitioning::Home => "partition of the event's home",
        Partitioning::Slot => "partition of the writer's slot",
        Partitioning::MatchKey => "partition of the match key",
        Partitioning::File => "partition of the bill file",
        Partitioning::Single => "one partition",
    }
}

fn channel(topic: Topic, reached: &stream::kafka::Options) -> Value {
    // The binding names some settings of a topic; any other may stand beside them.
    let setting = |(name, text): (&'static str, String)| {
        let value = match (name, text.parse::<i64>()) {
            ("cleanup.policy", _) => json!([text]),
            (_, Ok(number)) => json!(number),
            _ => text.parse::<bool>().map_or_else(|_| json!(text), |flag| json!(flag)),
        };
        (name.to_owned(), value)
    };
    let configuration: Map<String, Value> = topic_settings(topic, reached).into_iter().map(setting).collect();
    let description = format!("{} By {}.", topic.describe(), partitioned_by(topic.partitioning()));
    json!({
        "address": reached.topic(topic),
        "description": description,
        "messages": {topic.name(): {"$ref": format!("#/components/messages/{}", topic.name())}},
        "bindings": {"kafka": {
            "topic": reached.topic(topic),
            "partitions": topic.partition_count(reached.counts),
            "replicas": reached.replication,
            "topicConfiguration": configuration,
            "bindingVersion": BINDING,
        }},
    })
}

fn message(topic: Topic) -> Value {
    let (content, payload, more) = match payload(topic) {
        Payload::Json(schema) => ("application/json", Some(schema.to_owned()), String::new()),
        Payload::Proto { file, message, envelope: true } => {
            let more = format!(" A Batch; its body is a {message}, see `{}` in the schemas.", proto(file));
            ("application/x-protobuf", Some(proto("batch")), more)
        }
        Payload::Proto { file, message, envelope: false } => {
            ("application/x-protobuf", Some(proto(file)), format!(" The message is {message}."))
        }
        Payload::Bytes => ("application/octet-stream", None, String::new()),
    };
    let mut out = json!({
        "name": topic.name(),
        "title": topic.value(),
        "summary": format!("{}{more}", topic.describe()),
        "contentType": content,
    });
    if topic == Topic::Rejected {
        out["description"] = "A dead letter has the input's own key, value and headers, byte for byte; this is the value of a refusal.".into();
    }
    if let Some(schema) = payload {
        out["payload"] = json!({"$ref": format!("#/components/schemas/{schema}")});
    }
    let of = headers(topic);
    if !of.is_empty() {
        let text = |about: &str| json!({"type": "string", "description": about});
        let properties: Map<String, Value> =
            of.iter().map(|(name, about, _)| ((*name).to_owned(), text(about))).collect();
        let required: Vec<&str> = of.iter().filter(|(.., always)| *always).map(|(name, ..)| *name).collect();
        out["headers"] = json!({"type": "object", "properties": properties});
        if !required.is_empty() {
            out["headers"]["required"] = json!(required);
        }
    }
    let mut binding = json!({"bindingVersion": BINDING});
    if let Some(about) = key(topic) {
        binding["key"] = json!({"type": "string", "description": about});
    }
    out["bindings"] = json!({"kafka": binding});
    out
}

fn operation(role: Role, action: &str, topic: Topic, group: Option<&str>) -> Value {
    let mut out = json!({
        "action": action,
        "channel": {"$ref": format!("#/channels/{}", topic.name())},
        "summary": format!("{} {} {}.", role.name(), if action == "send" { "writes" } else { "reads" }, topic.name()),
        "messages": [{"$ref": format!("#/channels/{0}/messages/{0}", topic.name())}],
    });
    // What a processor reads as its state (changelogs) or looks up is not of its group's; the group's name serves for both.
    if let (Some(group), "receive") = (group, action) {
        out["bindings"] = json!({"kafka": {
            "groupId": {"type": "string", "enum": [group]},
            "bindingVersion": BINDING,
        }});
    }
    out
}

/// References within a schema, where it stands in the document.
fn rebase(value: &mut Value, to: &str) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get_mut("$ref")
                && let Some(rest) = reference.strip_prefix('#')
            {
                *reference = format!("{to}{rest}");
            }
            object.values_mut().for_each(|value| rebase(value, to));
        }
        Value::Array(all) => all.iter_mut().for_each(|value| rebase(value, to)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// `UPDATE=1` (or `make schemas`) writes it.
    #[test]
    fn the_asyncapi_document_is_current() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/asyncapi.json");
        let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "schemas/asyncapi.json is stale: run `make schemas`");
    }

    fn settings() -> Settings {
        crate::config::load(None, [], &[]).unwrap().0
    }

    fn document() -> Value {
        asyncapi(&settings()).unwrap()
    }

    fn references(value: &Value, all: &mut BTreeSet<String>) {
        if let Some(reference) = value["$ref"].as_str() {
            all.insert(reference.to_owned());
        }
        value.as_object().into_iter().flat_map(Map::values).for_each(|value| references(value, all));
        value.as_array().into_iter().flatten().for_each(|value| references(value, all));
    }

    #[test]
    fn every_reference_is_there_and_everything_is_referred_to() {
        let document = document();
        let mut all = BTreeSet::new();
        references(&document, &mut all);
        for reference in &all {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        let channels = document["channels"].as_object().unwrap();
        for name in channels.keys() {
            assert!(all.contains(&format!("#/channels/{name}")), "no operation on {name}");
        }
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            let used = all.contains(&format!("#/components/schemas/{name}"));
            let named = document["components"]["messages"].to_string().contains(&format!("`{name}`"));
            assert!(used || named, "nobody uses {name}");
        }
    }

    #[test]
    fn names_are_those_of_the_deployment() {
        let mut settings = settings();
        settings.kafka.prefix = "books.".to_owned();
        let document = asyncapi(&settings).unwrap();
        assert_eq!(document["channels"]["journal"]["address"], "books.journal");
        assert_eq!(
            document["operations"]["posting.receive.commands"]["bindings"]["kafka"]["groupId"]["enum"],
            json!(["books.posting"])
        );
    }

    #[test]
    fn references_are_moved_with_their_schema() {
        let mut schema = json!({"a": [{"$ref": "#/$defs/x"}]});
        rebase(&mut schema, "#/here");
        assert_eq!(schema, json!({"a": [{"$ref": "#/here/$defs/x"}]}));
    }
}
