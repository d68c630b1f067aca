"""Reproduces shards.json from the description in schemas/src/shards.rs. Run with --write to make the file."""
import json
import pathlib
import sys

MASK = (1 << 64) - 1


def stable_hash(key: bytes) -> int:
    h = 0xCBF29CE484222325
    for b in key:
        h = ((h ^ b) * 0x100000001B3) & MASK
    h ^= h >> 33
    h = (h * 0xFF51AFD7ED558CCD) & MASK
    h ^= h >> 33
    h = (h * 0xC4CEB9FE1A85EC53) & MASK
    return h ^ (h >> 33)


KEYS = ["", "a", "users:42", "users:1", "users:2", "users:1000000", "merchants:7", "bank", "providers:wechat",
        "drivers:31415926", "fees", "clearing", "suspense", "用户:四十二", "A:B", "a:b", "order-2026-11-21-0001",
        "x" * 128, "platform:revenue", "users:42:wallet", "\u0000", "é", "🙂"]

path = pathlib.Path(__file__).with_name("shards.json")
rows = [[k, f"{stable_hash(k.encode()):016x}", stable_hash(k.encode()) & 255] for k in KEYS]
if "--write" in sys.argv:
    path.write_text("[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n]\n")
else:
    stored = json.loads(path.read_text())
    assert stored == rows, "shards.json differs from the algorithm"
    print(f"{len(rows)} shard vectors hold")
