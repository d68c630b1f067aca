"""Reads `journal` and `balances` from a broker and computes every balance a second time.

    recompute.py BOOTSTRAP PREFIX

It checks every batch of the journal (docs/consuming.md), rebuilds every account from its entries, and compares it, at
the journal batch that `complete_until` names, with the newest record per key of `balances`. It may run while the
pipeline does: a slot's balances and its `complete_until` come in one transaction, so a reader of committed records sees
them agree.

Prints counts as JSON. Exit code 1: something differs, the text says what. 2: the topics cannot be read.
"""
import contextlib
import datetime
import importlib.util
import io
import json
import pathlib
import sys

from confluent_kafka import KafkaException

import topics
from journal import Journal, Wrong, must

SECONDS = 40
EPOCH = datetime.date(1970, 1, 1)
VECTORS = pathlib.Path(__file__).parent / "../../schemas/vectors"
# Leading segments that keep accounts together, where they are not two: `shard_segments` of accounts.yaml.
SEGMENTS = {"providers": 3, "platform": 3}
# Accounts of the ledger itself, which every partition has for itself.
OWN = ("clearing:", "suspense:")


def shard_vectors():
    """Reproduces the vectors of schemas/vectors, and lends their hash: (hash, number of vectors)."""
    spec = importlib.util.spec_from_file_location("check_shards", VECTORS / "check_shards.py")
    module = importlib.util.module_from_spec(spec)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            spec.loader.exec_module(module)
    except AssertionError as error:
        raise Wrong(f"schemas/vectors: {error}") from error
    return module.stable_hash, len(module.rows)


def check_places(accounts, stable_hash, partitions):
    """Every account lies in the partition of its shard (docs/topics.md); returns how many were looked at."""
    placed = 0
    for (name, _), account in accounts.items():
        if name.startswith(OWN):
            continue
        segments = name.split(":")
        key = ":".join(segments[:SEGMENTS.get(segments[0], 2)])
        partition = (stable_hash(key.encode()) & 255) * partitions // 256
        must(account.slot == partition, name, f"lies in partition {account.slot}, its shard in {partition}")
        placed += 1
    return placed


def newest(records):
    """(balances by key, complete_until by slot): the newest record of each key."""
    balances, cuts = {}, {}
    for slot, of_slot in records.items():
        by_key = {record.key().decode(): json.loads(record.value()) for record in of_slot}
        for key, value in by_key.items():
            must((value["format"], value["slot"]) == (1, slot), f"balances p{slot}, {key}", "format or slot")
            if value.get("kind") == "complete_until":
                must(key == f"complete_until|{slot}", f"balances p{slot}", f"key {key}")
                cuts[slot] = value["journal_batch"]
            else:
                must(key == f"{value['account']}|{value['asset']}", f"balances p{slot}", f"key {key}")
                balances[value["account"], value["asset"]] = value
    return balances, cuts


def major(minor, exponent):
    digits = str(abs(minor)).rjust(exponent + 1, "0")
    text = f"{digits[:-exponent]}.{digits[-exponent:]}" if exponent else digits
    return f"-{text}" if minor < 0 else text


def expected(account, value):
    """The fields of a balance that follow from the journal."""
    sign = 1 if value["normal_side"] == "debit" else -1
    exponent = value["exponent"]
    return {
        "debit_minus_credit_minor": str(account.balance),
        "balance_minor": str(sign * account.balance),
        "balance": major(sign * account.balance, exponent),
        "previous_balance_minor": str(sign * account.previous),
        "previous_balance": major(sign * account.previous, exponent),
        "seq": account.seq,
        "last_date": (EPOCH + datetime.timedelta(days=account.date)).isoformat(),
        "slot": account.slot,
    }


def compare(journal, balances, cuts):
    """What differs between the rebuilt accounts and the published ones."""
    for account, asset in sorted(journal.at_cut.keys() - balances.keys()):
        yield f"{account} {asset}: entries in the journal, no record in balances"
    for account, asset in sorted(balances.keys() - journal.at_cut.keys()):
        yield f"{account} {asset}: a record in balances, no entries in the journal"
    for key in sorted(journal.at_cut.keys() & balances.keys()):
        value, account = balances[key], journal.at_cut[key]
        for field, want in expected(account, value).items():
            if value[field] != want:
                yield f"{key[0]} {key[1]}: {field} is {value[field]}, the journal gives {want}"
        if not account.batch <= value["journal_batch"] <= cuts.get(account.slot, 0):
            yield f"{key[0]} {key[1]}: journal_batch {value['journal_batch']}, last entry in {account.batch}"


def main(bootstrap, prefix):
    stable_hash, vectors = shard_vectors()
    # Balances first: the journal then holds everything that they speak of.
    balances, cuts = newest(topics.from_beginning(bootstrap, f"{prefix}balances", SECONDS))
    records = topics.from_beginning(bootstrap, f"{prefix}journal", SECONDS)
    journal = Journal(records, cuts)
    for slot, cut in cuts.items():
        last = journal.last[slot]
        must(cut <= last, f"balances p{slot}", f"complete until {cut}, journal ends at {last}")
    differences = list(compare(journal, balances, cuts))
    for difference in differences:
        print(difference, file=sys.stderr)
    print(json.dumps({
        "batches": journal.batches,
        "items": journal.items,
        "entries": journal.entries,
        "accounts": len(journal.accounts),
        "placed": check_places(journal.accounts, stable_hash, len(records)),
        "balances": len(balances),
        "slots": len(cuts),
        "batches_to_come": sum(last - cuts.get(slot, 0) for slot, last in journal.last.items()),
        "shard_vectors": vectors,
        "differences": len(differences),
    }))
    return 1 if differences else 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except Wrong as wrong:
        print(wrong, file=sys.stderr)
        sys.exit(1)
    except (KafkaException, TimeoutError) as unread:
        print(unread, file=sys.stderr)
        sys.exit(2)
