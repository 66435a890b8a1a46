"""The vendor's JSON text: records in their envelope, and the answers that hold none."""

from __future__ import annotations

from harvester.simulator.drift import Statement, quoted

# The vendor's page and its twins; the last one is nobody's.
REASONS = {
    "0": "success",
    "-1": "Authentication error",
    "-2": "Restricted IP access",
    "-13": "user locked",
    "-14": "query id abnormal",
    "-15": "frequent query",
    "-16": "timestamp expires",
    "-18": "Port program unusual",
    "-22": "Parameter exception",
    "-24": "data not present",
    "-25": "out of time range",
}

JSON_TYPE = "application/json;charset=UTF-8"
HTML_TYPE = "text/html; charset=utf-8"


def record(statement: Statement) -> str:
    """The record as JSON text, its fields in the order of the statement."""
    parts = [
        f'"{name}":{sent.literal}'
        for name, sent in statement.fields.items()
        if sent.literal is not None
    ]
    parts += [f'"{name}":{literal}' for name, literal in statement.extra.items()]
    return f"{{{','.join(parts)}}}"


def success(data: str, *, numeric: bool = False) -> bytes:
    """Status 0 around `data`, which is JSON text."""
    status = "0" if numeric else '"0"'
    return f'{{"status":{status},"reason":"success","data":{data}}}'.encode()


def refusal(status: str, *, numeric: bool = False) -> bytes:
    """An envelope that says no, without a record."""
    told = status if numeric else quoted(status)
    reason = quoted(REASONS.get(status, "unexpected condition"))
    return f'{{"status":{told},"reason":{reason},"data":null}}'.encode()


def page(title: str) -> bytes:
    """What a proxy or a container answers in the vendor's place."""
    return (
        f"<!DOCTYPE html><html><head><title>{title}</title></head>"
        f"<body><h1>{title}</h1><hr>nginx</body></html>\n"
    ).encode()
