"""Keeps a table of topic `balances` as a JDBC sink in upsert mode would: it knows Kafka, JSON and a schema, no ledger.

    sink.py BOOTSTRAP TOPIC DATABASE --group GROUP [--key record|fields] [--again] [--crash-after RECORDS]

Columns and their types are those of `Balance` in schemas/json/balances.json; all may be null. The primary key is

    record   the record's key, in a column of its own; nothing is filtered, a record without value deletes its row
    fields   account and asset; records with a field `kind` are filtered, such without value change nothing

Some records at a time it writes to the table, then commits their positions to the group: after a crash between the two
the next run takes them again. `--again` starts at the beginning whatever is committed. `--crash-after` ends the process
(exit code 9) between the two, once so many records are in the table. Prints the table and what was done as JSON.
"""
import argparse
import json
import os
import pathlib
import sqlite3
import sys

from confluent_kafka import OFFSET_BEGINNING, TopicPartition

import topics

SECONDS = 40
RECORDS_AT_A_TIME = 10
SCHEMA = pathlib.Path(__file__).parent / "../../schemas/json/balances.json"
# JSON type: (what Python reads it as, column type).
TYPES = {"string": (str, "TEXT"), "integer": (int, "INTEGER")}


def columns():
    """(name, Python type, column type) of every field of a balance."""
    balance = json.loads(SCHEMA.read_text())["oneOf"][0]
    assert balance["title"] == "Balance"
    for name, field in balance["properties"].items():
        kind = field.get("type") or {str: "string", int: "integer"}[type(field.get("const", field.get("enum", [0])[0]))]
        yield (name, *TYPES[kind])


class Table:
    """Table `balances` of a database."""

    def __init__(self, path, key):
        self.fields = list(columns())
        self.by_record_key = key == "record"
        self.database = sqlite3.connect(path)
        own = ["record_key"] if self.by_record_key else []
        self.key = own or ["account", "asset"]
        self.names = own + [name for name, _, _ in self.fields]
        typed = [f"{name} TEXT" for name in own] + [f"{name} {kind}" for name, _, kind in self.fields]
        self.database.execute(
            f"CREATE TABLE IF NOT EXISTS balances ({', '.join(typed)}, PRIMARY KEY ({', '.join(self.key)}))")
        kept = ", ".join(f"{name} = excluded.{name}" for name in self.names if name not in self.key)
        self.upsert = (f"INSERT INTO balances ({', '.join(self.names)}) VALUES ({', '.join('?' * len(self.names))}) "
                       f"ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {kept}")

    def apply(self, records):
        """Some records as one transaction."""
        with self.database:
            for record in records:
                self.one(record.key().decode(), record.value())

    def one(self, key, value):
        if value is None:
            if self.by_record_key:
                self.database.execute("DELETE FROM balances WHERE record_key = ?", (key,))
            return
        value = json.loads(value)
        if not self.by_record_key and "kind" in value:
            return
        row = [key] if self.by_record_key else []
        for name, kind, _ in self.fields:
            found = value.get(name)
            if found is not None and type(found) is not kind:
                raise TypeError(f"{key}: {name} is {found!r}, not of type {kind.__name__}")
            row.append(found)
        self.database.execute(self.upsert, row)

    def rows(self):
        cursor = self.database.execute(f"SELECT * FROM balances ORDER BY {', '.join(self.key)}")
        return [dict(zip(self.names, row)) for row in cursor]


def start(client, topic, again):
    """Where to begin in every partition: after what the group has committed, else at the beginning."""
    at = [TopicPartition(topic, number) for number in topics.partitions(client, topic, SECONDS)]
    for position, known in zip(at, client.committed(at, timeout=SECONDS)):
        position.offset = known.offset if known.offset >= 0 and not again else OFFSET_BEGINNING
    return at


def run(options):
    table = Table(options.database, options.key)
    client = topics.consumer(options.bootstrap, options.group)
    taken, waiting = 0, []

    def flush():
        table.apply(waiting)
        if options.crash_after is not None and taken >= options.crash_after:
            print(json.dumps({"taken": taken}), flush=True)
            os._exit(9)
        ends = {record.partition(): record.offset() + 1 for record in waiting}
        if ends:
            client.commit(offsets=[TopicPartition(options.topic, p, o) for p, o in ends.items()], asynchronous=False)
        waiting.clear()

    for record in topics.until_end(client, start(client, options.topic, options.again), SECONDS):
        waiting.append(record)
        taken += 1
        if len(waiting) == RECORDS_AT_A_TIME:
            flush()
    flush()
    client.close()
    print(json.dumps({"taken": taken, "rows": table.rows()}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("database")
    parser.add_argument("--group", required=True)
    parser.add_argument("--key", choices=["record", "fields"], default="record")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--crash-after", type=int)
    sys.exit(run(parser.parse_args()))
