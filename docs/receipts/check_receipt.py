"""Checks a receipt of ledgerflow against a head that was kept elsewhere: check_receipt.py RECEIPT.json HEAD"""
import hashlib, json, sys

def sha(*parts): return hashlib.sha256(b"".join(parts)).digest()
def raw(number, size): return number.to_bytes(size, "big")

def climb(node, index, size, path):  # RFC 6962: from a leaf to the root of its tree
    while size > 1:
        if index % 2:
            node = sha(b"\1", bytes.fromhex(path.pop(0)), node)
        elif index + 1 < size:
            node = sha(b"\1", node, bytes.fromhex(path.pop(0)))
        index, size = index // 2, (size + 1) // 2
    return node if (index, path) == (0, []) else b""

def head_of(p):
    root = climb(sha(b"\0", bytes.fromhex(p["item"])), p["index"], p["items"], p["item_path"])
    leaf = sha(b"\0", raw(p["items"], 4), root, bytes.fromhex(p["batch_hash"]))
    root = climb(leaf, p["batch"] - 1, p["batches"], p["batch_path"])
    leaf = sha(b"\0", raw(p["batches"], 8), root)
    root = climb(leaf, p["partition"], p["partitions"], p["partition_path"])
    return sha(b"ledgerflow head 1", raw(p["partitions"], 4), root).hex()

def varint(data, at):
    value = shift = 0
    while True:
        value, shift, at = value | (data[at] & 127) << shift, shift + 7, at + 1
        if data[at - 1] < 128: return value, at

def fields(data):  # a protobuf message as {field number: [values]}
    at, found = 0, {}
    while at < len(data):
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        value, start = varint(data, at) if kind in (0, 2) else ({1: 8, 5: 4}[kind], at)
        at = start if kind == 0 else start + value
        found.setdefault(number, []).append(value if kind == 0 else data[start:at])
    return found

proofs = [proved["proof"] for proved in json.load(open(sys.argv[1]))["proofs"]]
if not proofs or any(head_of(proof) != sys.argv[2].lower() for proof in proofs):
    sys.exit("NOT PROVED: the journal that the head was taken of does not hold this")
for (kind, (item,)), in (fields(bytes.fromhex(proof["item"])).items() for proof in proofs):
    of, (event_at, entry_at) = fields(item), {1: (1, 15), 2: (3, 13)}[kind]  # Decision, Received of journal.proto
    word = "received" if kind == 2 else ("booked", "refused", "duplicate", "pending")[of[4][0] - 1]
    event, reason = fields(of[event_at][0]), of[5] if word == "refused" else []
    print("proved:", word, event[2][0].decode(), "of", event[1][0].decode(), *map(bytes.decode, reason))
    for entry in map(fields, of.get(entry_at, [])):  # an amount is in minor units and never below zero
        amount, side = entry.get(4, [0])[0] + (entry.get(5, [0])[0] >> 1 << 64), ("debit", "credit")[entry[3][0] - 1]
        print(" ", entry[1][0].decode(), side, amount, entry[2][0].decode())
