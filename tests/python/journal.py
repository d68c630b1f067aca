"""The journal read with the code that protoc makes of schemas/proto: envelope, chain, entries, balances.

Written from docs/consuming.md and the comments of the .proto files, which are the contract.
"""
import hashlib
from collections import defaultdict

from google.protobuf.empty_pb2 import Empty
from google.protobuf.unknown_fields import UnknownFieldSet
from ledgerflow.v1.batch_pb2 import DEBIT, Batch, BatchHeader
from ledgerflow.v1.journal_pb2 import JournalBody


class Wrong(Exception):
    """The topics are not what they must be."""


def must(holds, where, what):
    if not holds:
        raise Wrong(f"{where}: {what}")


def crc32c_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = crc32c_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def merkle_root(items):
    """RFC 6962, section 2.1; empty when there is no item."""
    level = [hashlib.sha256(b"\0" + item).digest() for item in items]
    while len(level) > 1:
        pairs = [level[i:i + 2] for i in range(0, len(level), 2)]
        level = [hashlib.sha256(b"\1" + b"".join(pair)).digest() if len(pair) == 2 else pair[0] for pair in pairs]
    return level[0] if level else b""


def item_bytes(body):
    """The items of a body as they are encoded: field 1 of a message of which nothing else is known."""
    return [field.data for field in UnknownFieldSet(Empty.FromString(body)) if field.field_number == 1]


class Chain:
    """The batches that one slot writes to one partition, in order."""

    def __init__(self, where):
        self.where, self.sequence, self.hash = where, 0, b""

    def open(self, record):
        """Checks a record value as the next one; returns its header and the bytes of its body."""
        batch = Batch.FromString(record)
        header = BatchHeader.FromString(batch.header)
        where = f"{self.where}, batch {self.sequence + 1}"
        must(header.format == 1, where, f"format {header.format}")
        must(header.checksum == crc32c(batch.body), where, "checksum")
        must(header.sequence == self.sequence + 1, where, f"sequence {header.sequence}")
        must(header.previous_hash == self.hash, where, "previous hash")
        items = item_bytes(batch.body)
        must(header.count == len(items), where, f"{len(items)} items, {header.count} in the header")
        must(header.merkle_root == merkle_root(items), where, "merkle root")
        self.sequence, self.hash = header.sequence, hashlib.sha256(batch.header).digest()
        return header, batch.body


def whole(lo, hi):
    """The two halves of a 128-bit integer."""
    return (hi << 64) + lo


def entries(item):
    """(entry, accounting date) of every line of the books in a journal item."""
    kind = item.WhichOneof("item")
    if kind == "decision":
        return [(entry, item.decision.accounting_date) for entry in item.decision.entry]
    if kind in ("received", "clearing"):
        one = getattr(item, kind)
        return [(one.entry, one.accounting_date)] if one.HasField("entry") else []
    return []


class Account:
    """What the journal says of one account and asset. Figures are debits minus credits, in minor units."""

    def __init__(self, slot):
        self.slot, self.seq, self.balance, self.batch = slot, 0, 0, 0
        self.date, self.previous = None, 0

    def book(self, entry, date, batch, where):
        must(entry.seq == self.seq + 1, where, f"seq {entry.seq} after {self.seq}")
        before, after = whole(entry.before_lo, entry.before_hi), whole(entry.after_lo, entry.after_hi)
        must(before == self.balance, where, f"before {before}, after of the entry before it {self.balance}")
        must(after == before + signed(entry), where, f"after {after}, before {before}, amount {signed(entry)}")
        must(entry.previous_batch == self.batch, where, f"previous batch {entry.previous_batch}, not {self.batch}")
        if self.date is not None and date < self.date:
            self.previous += signed(entry)
        elif self.date is None or date > self.date:
            self.previous, self.date = self.balance, date
        self.seq, self.balance, self.batch = entry.seq, after, batch


def signed(entry):
    amount = whole(entry.amount_lo, entry.amount_hi)
    return amount if entry.side == DEBIT else -amount


class Journal:
    """All partitions of the journal, every account rebuilt from entries alone.

    `at_cut`: the accounts of each slot as they are after journal batch `cuts[slot]`; `last`: last batch by slot.
    """

    def __init__(self, records, cuts):
        self.accounts, self.at_cut, self.last = {}, {}, {}
        self.batches = self.items = self.entries = 0
        for slot in sorted(records):
            self.read(slot, [record.value() for record in records[slot]], cuts.get(slot, 0))

    def read(self, slot, values, cut):
        chain = Chain(f"journal p{slot}")
        for value in values:
            header, body = chain.open(value)
            must((header.slot, header.batch) == (slot, header.sequence), chain.where, "slot or batch of another")
            booked = self.book(slot, header.batch, JournalBody.FromString(body))
            if header.batch <= cut:
                self.at_cut.update((key, snapshot(self.accounts[key])) for key in booked)
            self.batches += 1
            self.items += header.count
        self.last[slot] = chain.sequence

    def book(self, slot, batch, body):
        sums, booked = defaultdict(int), set()
        for entry, date in (line for item in body.item for line in entries(item)):
            key = (entry.account, entry.asset)
            where = f"journal p{slot}, batch {batch}, {entry.account} {entry.asset}"
            account = self.accounts.setdefault(key, Account(slot))
            must(account.slot == slot, where, f"is in partition {account.slot} too")
            account.book(entry, date, batch, where)
            sums[entry.asset, date] += signed(entry)
            booked.add(key)
            self.entries += 1
        for (asset, date), total in sums.items():
            must(total == 0, f"journal p{slot}, batch {batch}, {asset}, day {date}", f"debits - credits = {total}")
        return booked


def snapshot(account):
    copy = Account(account.slot)
    copy.__dict__.update(account.__dict__)
    return copy
