"""Whole runs against a vendor whose answers are odd: each is delivered, and the totals agree."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from harvester.analysis.verify.verify import Order, verify
from harvester.storage.output import Output
from tests.support.harvesting import Harvest
from tests.support.outputs import edit

UTF8 = "application/json;charset=UTF-8"
INFO = "订单已经发货"
# Two bytes that are Chinese in GBK and Cyrillic in UTF-8: here the header decides.
SHORT = (
    b'{"status":0,"data":{"voiceId":"gbk-short","calledInfo":"\xd2\xbb",'
    b'"submitTime":"2026-01-18 14:42:40","hangupTime":"2026-01-18 14:42:55","cost":1}}'
)


def answer(voice_id: str, **more: object) -> str:
    """A record as the vendor's page has it; `more` changes its fields."""
    data = {
        "voiceId": voice_id,
        "callee": "8613800000000",
        "submitTime": "2026-01-18T14:42:40+08:00",
        "answerTime": "2026-01-18T14:42:50+08:00",
        "hangupTime": "2026-01-18T14:42:55+08:00",
        "callDuration": 5,
        "chargedDuration": 60,
        "terminationCode": "200",
        "cost": "0.10",
        "calledInfo": INFO,
        **more,
    }
    return json.dumps({"status": "0", "reason": "成功", "data": data}, ensure_ascii=False)


@contextmanager
def vendor(answers: Mapping[str, tuple[str, bytes]]) -> Iterator[str]:
    """Serves these by voiceId, each with its Content-Type; its base URL."""

    class Desk(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            content_type, body = answers[self.path.rpartition("/")[2]]
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Desk) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/voice"
        finally:
            server.shutdown()
            thread.join()


def harvested(
    tmp_path: Path, transport: str, answers: Mapping[str, tuple[str, bytes]]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The rows by voiceId after a run that ended well and verifies clean, and its summary."""
    ids = tmp_path / "ids.txt"
    ids.write_text("\n".join(answers))
    with vendor(answers) as url:
        harvest = Harvest(tmp_path / "out", url, vendor__transport=transport)
        ended = harvest.run(ids)
    assert ended.code == 0, ended.err
    audit = verify(Output(harvest.out), Order("UTC", "200MB", deep=True))
    assert audit.is_clean, audit.findings
    return {row["voice_id"]: row for row in harvest.rows()}, ended.summary


@pytest.mark.parametrize("transport", ["aiohttp", "lean"])
def test_answers_in_any_coding_are_delivered_and_the_totals_agree(
    tmp_path: Path, transport: str
) -> None:
    bom = b"\xef\xbb\xbf"
    answers = {
        "plain": (UTF8, answer("plain").encode()),
        "bom": (UTF8, bom + answer("bom").encode()),
        "late-bom": (UTF8, b" \r\n" + bom + answer("late-bom").encode() + b"\r\n"),
        "utf-16": ("application/json", answer("utf-16").encode("utf-16")),
        "gbk-told": ("application/json;charset=GBK", answer("gbk-told").encode("gbk")),
        "gbk-short": (
            "application/json;charset=GBK",
            SHORT,
        ),
        "gbk-not-told": (UTF8, answer("gbk-not-told").encode("gbk")),
        "byte": (UTF8, answer("byte").encode().replace(INFO.encode(), b"\xff")),
        "no-number": (UTF8, answer("no-number", rate="@").replace('"@"', "NaN").encode()),
        "control": (UTF8, answer("control").replace(INFO, "a\n\tb").encode()),
    }
    rows, summary = harvested(tmp_path, transport, answers)
    assert rows.keys() == answers.keys()
    assert {name: row["called_info"] for name, row in rows.items()} == {
        **dict.fromkeys(answers, INFO),
        "gbk-short": "一",
        "byte": None,
        "control": "a\n\tb",
    }
    assert {name: row["unparsed"] for name, row in rows.items() if row["unparsed"]} == {
        "byte": '{"calledInfo":"\\"\\\\udcff\\""}',
        "no-number": '{"rate":"NaN"}',
    }
    assert all(
        row["cost"] == (1 if name == "gbk-short" else Decimal("0.1")) for name, row in rows.items()
    )
    assert summary["data"]["cost"] == {"USD": "1.90000000"}
    assert summary["data"]["call_duration_s"] == 9 * 5
    assert summary["requests"] == len(answers)


def test_fillers_end_no_call_and_what_cannot_be_read_is_warned_of(tmp_path: Path) -> None:
    unknown = "18/01/2026 14:42"
    unused = {"cost": "0", "callDuration": 0, "chargedDuration": 0}
    calls: dict[str, dict[str, object]] = {
        "usual": {},
        "epoch": {"hangupTime": "1970-01-01T08:00:00+08:00"},
        "year-1": {"hangupTime": "0001-01-01T00:00:00Z"},
        "year-1900": {"hangupTime": "1900-01-01 00:00:00"},
        "year-9999": {"hangupTime": "9999-12-31T23:59:59+08:00"},
        "minus-1": {"hangupTime": -1},
        "before": {"hangupTime": "2026-01-18T14:30:00+08:00"},
        "busy": {
            "answerTime": "1970-01-01T00:00:00Z",
            "hangupTime": "-1",
            "terminationCode": "486",
            **unused,
        },
        "unknown-used": {"hangupTime": unknown},
        "unknown-unused": {"hangupTime": unknown, "answerTime": None, **unused},
    }
    answers = {name: (UTF8, answer(name, **more).encode()) for name, more in calls.items()}
    rows, summary = harvested(tmp_path, "lean", answers)
    assert rows.keys() == {"usual", "busy", "unknown-used"}
    assert all(row["is_final"] for row in rows.values())
    assert {name: row["answered"] for name, row in rows.items()} == {
        "usual": True,
        "busy": False,
        "unknown-used": True,
    }
    assert rows["busy"]["answer_time"] is None
    assert json.loads(rows["unknown-used"]["unparsed"]) == {"hangupTime": unknown}
    assert summary["run"]["open"] == 7
    assert summary["odd"]["odd_hangups"] == 2


def test_totals_of_a_version_that_could_not_read_a_mark_are_no_damage(tmp_path: Path) -> None:
    """Its rows are whole and right; what its counters lack, nobody can count any more."""
    harvested(tmp_path, "lean", {"bom": (UTF8, b"\xef\xbb\xbf" + answer("bom").encode())})
    out = tmp_path / "out"

    def kinds() -> set[tuple[str, str]]:
        audit = verify(Output(out), Order("UTC", "200MB", deep=True))
        return {(one.severity, one.kind) for one in audit.findings}

    lost = "UPDATE run SET counters = json_remove(counters, '$.\"usage.{}\"')"
    for name in ("call_duration_s", "charged_duration_s", "cost.USD"):
        edit(out, lost.format(name))
    assert ("damage", "control_totals") in kinds(), "this version leaves nothing out"
    edit(out, lost.format("answers"))
    assert kinds() == {("note", "older_totals")}
    edit(out, "UPDATE run SET counters = json_set(counters, '$.\"usage.call_duration_s\"', 99)")
    assert ("damage", "control_totals") in kinds(), "rows never hold less"
    edit(out, "UPDATE run SET counters = json_set(counters, '$.delivered', 2, '$.begun', 2)")
    assert ("damage", "control_totals") in kinds()
