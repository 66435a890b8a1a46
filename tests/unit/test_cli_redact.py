"""Nothing that the log must not hold gets into it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.cli.logs import Logs
from harvester.cli.redact import MASKED, redacted
from harvester.config import Log

SECRETS = ("bDqJFiq9", "7bz1lzh9")
PHONE = "8613800138000"


@pytest.mark.parametrize(
    "value",
    [
        PHONE,
        f"+{PHONE}",
        f"calls {PHONE}, then hangs up",
        f'{{"callee":"{PHONE}"}}',
        "+86 138 0013 8000",
        "+86-138-0013-8000",
        f"x{PHONE}y",
        int(PHONE),
        float(PHONE),
        [PHONE],
        {"callee": PHONE},
        {PHONE: 1},
        ([{"deep": [PHONE]}],),
        PHONE.encode(),
        Path(PHONE),
    ],
)
def test_phone_number_is_masked_in_any_shape(value: object) -> None:
    told = repr(redacted({"detail": value}, ()))
    assert "0013" not in told
    assert PHONE not in told


def test_ids_runs_counts_and_paths_stay_readable() -> None:
    fields = {
        "voice_id": "2609021234561234567",
        "run_id": "20260902T123456Z-a1b2c3",
        "folder": "data/runs/20260902T123456Z-a1b2c3",
        "requests": 123_456_789,
        "phase": "asking",
    }
    assert redacted(fields, SECRETS) == fields


def test_a_runs_name_stays_readable_in_a_sentence() -> None:
    told = redacted({"message": "see runs/20260902T123456Z-a1b2c3/summary.json"}, ())
    assert told == {"message": "see runs/20260902T123456Z-a1b2c3/summary.json"}


def test_a_number_in_a_field_for_numbers_may_not_be_text() -> None:
    assert redacted({"requests": PHONE}, ()) == {"requests": MASKED}


@given(st.text(), st.text(), st.sampled_from(["voice_id", "message", "folder", "x"]))
def test_secrets_are_masked_in_every_field(before: str, after: str, field: str) -> None:
    for secret in SECRETS:
        told = redacted({field: f"{before}{secret}{after}"}, SECRETS)
        assert secret not in str(told[field])


def test_signature_is_masked() -> None:
    told = redacted({"headers": "Sign: 05d7a50893e22a5c4bb3216ae3396c7c"}, ())
    assert "05d7" not in str(told)


def test_log_file_is_private_and_holds_no_secret(tmp_path: Path) -> None:
    said: list[str] = []
    path = tmp_path / "log.jsonl"
    with Logs(Log(format="json"), say=said.append, secrets=SECRETS) as logs:
        logs.attach(path)
        logs.message("info", "event", detail=f"key {SECRETS[0]} calls {PHONE}")
        logging.getLogger("aiohttp.client").warning("%s calls %s", SECRETS[1], PHONE)
        logs.failure("unexpected_error", ValueError(f"{SECRETS[1]} {PHONE}"))
    written = path.read_text()
    for text in (written, "".join(said)):
        assert PHONE not in text
        assert not any(secret in text for secret in SECRETS)
    assert path.stat().st_mode & 0o777 == 0o600
    events = [json.loads(line) for line in written.splitlines()]
    assert [event["level"] for event in events] == ["info", "warning", "error"]
    assert "ValueError" in events[2]["exception"]


def test_a_log_that_cannot_be_written_is_told_once_and_stops_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    with Logs(Log(level="error"), say=said.append) as logs:
        logs.attach(tmp_path / "missing" / "log.jsonl")
        logs.message("info", "event")
    assert len(said) == 1
    assert "the run goes on" in said[0]
