"""Reproduces body_hash.json from the description in schemas/src/body_hash.rs. Run with --write to make the file."""
import hashlib
import json
import pathlib
import re
import sys

AMOUNT = re.compile(r"-?[0-9]+(\.[0-9]+)?")
ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


class Number(str):
    """A JSON number as it is written."""


def text(value):
    return '"' + "".join(ESCAPES.get(c) or (f"\\u{ord(c):04x}" if c < " " else c) for c in value) + '"'


def number(value):
    sign, whole, fraction, power = re.fullmatch(r"(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?", value).groups()
    digits, power = whole + (fraction or ""), int(power or 0) - len(fraction or "")
    kept = digits.rstrip("0")
    power += len(digits) - len(kept)
    kept = kept.lstrip("0")
    return (sign + kept + (f"e{power}" if power else "")) if kept else "0"


def amount(value):
    if len(value.encode()) > 64 or not AMOUNT.fullmatch(value):
        return text(value)
    whole, _, fraction = value.lstrip("-").partition(".")
    whole, fraction = whole.lstrip("0"), fraction.rstrip("0")
    plain = (whole or "0") + ("." + fraction if fraction else "")
    return text(("-" if value[0] == "-" and plain != "0" else "") + plain)


def form(value, path, amounts):
    if isinstance(value, Number):
        return number(value)
    if isinstance(value, str):
        return amount(value) if path in amounts else text(value)
    if isinstance(value, dict):
        members = (text(k) + ":" + form(value[k], f"{path}.{k}".lstrip("."), amounts) for k in sorted(value))
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(form(v, path + "[]", amounts) for v in value) + "]"
    return {None: "null", True: "true", False: "false"}[value]


def row(kind, subject, data, amounts):
    parsed = None if data is None else json.loads(data, parse_int=Number, parse_float=Number)
    canonical = "[" + ",".join([text(kind), "null" if subject is None else text(subject), form(parsed, "", amounts)]) + "]"
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:32]
    return {"type": kind, "subject": subject, "data": data, "amounts": amounts, "canonical": canonical, "hash": digest}


ROWS = [
    row("transfer", "users:42", '{"from":"users:42:wallet","to":"users:7:wallet","asset":"CNY","amount":"12.50"}', ["amount"]),
    row("transfer", "users:42", '{ "amount": "12.5", "asset": "CNY",\n "to": "users:7:wallet", "from": "users\\u003a42:wallet" }', ["amount"]),
    row("transfer", "users:42", '{"from":"users:42:wallet","to":"users:7:wallet","asset":"CNY","amount":"12.51"}', ["amount"]),
    row("transfer", None, '{"legs":[{"account":"a","side":"debit","asset":"JPY","amount":"0100"},{"account":"b","side":"credit","asset":"JPY","amount":"100.0"}]}', ["amount", "legs[].amount"]),
    row("order.paid", "merchants:7", '{"order_id":"0012.50","amount":"0012.50","fee":"-0.00"}', ["amount", "fee"]),
    row("order.paid", "merchants:7", '{"order_id":"12.5","amount":"12.5","fee":"0"}', ["amount", "fee"]),
    row("x", "", "[0,-0,0.0,1,1.0,10,100e-2,-12.340,1E+3,0.001,123456789012345678901234567890,1e9999]", []),
    row("x", None, None, []),
    row("x", None, "null", []),
    row("\u00e9\U0001f642", "\u7528\u6237", '{"\\ud83d\\ude42":"\\u00e9","\uffff":1,"\U00010000":2,"Z":true,"a":false,"":null}', []),
    row("x", None, '"\\u0000\\u0001\\u001f\\b\\t\\n\\f\\r\\"\\\\\\/\\u007f"', []),
    row("x", None, '{"amount":"1e3","a":{"amount":"5."},"b":[[],{}]}', ["amount", "a.amount"]),
    row("x", None, '{"amount":["1.0"],"a":[["1.0"],"1.0"]}', ["amount", "a[][]"]),
]

path = pathlib.Path(__file__).with_name("body_hash.json")
if "--write" in sys.argv:
    path.write_text("[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in ROWS) + "\n]\n")
else:
    assert json.loads(path.read_text()) == ROWS, "body_hash.json differs from the algorithm"
    print(f"{len(ROWS)} body hash vectors hold")
