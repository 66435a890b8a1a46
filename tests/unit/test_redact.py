"""Nothing that the log must not hold gets into it."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.cli.error_output import complain, report_unexpected
from harvester.cli.logs.log_fields import redacted
from harvester.cli.logs.logs import Logs
from harvester.config import Log, Secrets
from harvester.redact import (
    DIGITS,
    LEAST_DIGITS,
    LEAST_NUMBER,
    NumberHashes,
    answer_without_numbers,
    answer_without_secrets,
    field_or_odd,
    label_or_odd,
    line_to_keep,
    number_in_part,
    without_long_numbers,
    without_secrets,
)

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


@pytest.mark.parametrize(
    "value",
    [
        1_000_000,
        -1_000_000,
        1_234_567,
        1_000_000.0,
        "1234567",
        "call 5551234 back",
        "+1 234567",
        "+1 (23) 45-67",
        "120260902T12345Z",
        "a" * 32,
        "0" * 32,
    ],
)
def test_seven_digits_are_a_phone_number(value: object) -> None:
    """A local number has as few; what stands next to them stays."""
    told = redacted({"detail": value}, ())["detail"]
    assert DIGITS in str(told)
    assert not re.search("[0-9]{6}|a{6}", str(told))


@pytest.mark.parametrize(
    "value",
    [999_999, -999_999, 999_999.0, "123456", "call 555123 back", "+1 23456", "a" * 31, "a" * 33],
)
def test_what_is_shorter_than_a_phone_number_stays_readable(value: object) -> None:
    assert redacted({"detail": value}, ()) == {"detail": value}


def test_what_lies_four_deep_is_readable_and_what_lies_deeper_is_only_named() -> None:
    value: object = "x"
    for _ in range(4):
        value = [value]
    assert redacted({"detail": value}, ()) == {"detail": value}
    assert redacted({"detail": [value]}, ()) == {"detail": [[[["[list]"]]]]}
    named = {"a": {"b": {"c": {"d": "x"}}}}
    assert redacted({"detail": named}, ()) == {"detail": named}
    assert redacted({"detail": {"z": named}}, ()) == {
        "detail": {"z": {"a": {"b": {"c": "[dict]"}}}}
    }


def test_ids_runs_counts_and_paths_stay_readable() -> None:
    fields = {
        "voice_id": "2609021234561234567",
        "run_id": "20260902T123456Z-a1b2c3",
        "folder": "data/runs/20260902T123456Z-a1b2c3",
        "requests": 123_456_789,
        "phase": "fetching",
    }
    assert redacted(fields, SECRETS) == fields


def test_a_runs_name_stays_readable_in_a_sentence() -> None:
    told = redacted({"message": "see runs/20260902T123456Z-a1b2c3/summary.json"}, ())
    assert told == {"message": "see runs/20260902T123456Z-a1b2c3/summary.json"}


def test_a_number_in_a_field_for_numbers_may_not_be_text() -> None:
    assert redacted({"requests": PHONE}, ()) == {"requests": DIGITS}


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


@pytest.mark.parametrize("value", [1_234_567, -1_234_567, 1_234_567.0, "1234567"])
@pytest.mark.parametrize("place", ["plain", "listed", "named"])
def test_a_local_number_of_seven_digits_is_masked(value: object, place: str) -> None:
    put = {"plain": value, "listed": [value], "named": {"x": value}}[place]
    assert "1234567" not in repr(redacted({"detail": put}, ()))


def test_seven_digits_in_a_sentence_are_masked_and_six_stay() -> None:
    assert redacted({"x": "call 5551234 back"}, ()) == {"x": f"call {DIGITS} back"}
    assert redacted({"x": "call 555123 back"}, ()) == {"x": "call 555123 back"}
    assert redacted({"x": 999_999}, ()) == {"x": 999_999}
    assert redacted({"x": 1_000_000}, ()) == {"x": DIGITS}


SHORT = ["e", "ab", "the", "E", "1", ".", "n"]
WORDS = ["error", "event", "secret", "message", "level", "harvester", "run_started"]
ODD = [".*", "a+b(c", "[a-z]{3}", "back\\slash", "quo'te\"s", "$1^2", "\\d\\d\\d\\d", "(?i)x"]


@pytest.mark.parametrize("secret", [*SHORT, *WORDS, *ODD])
@pytest.mark.parametrize("form", ["text", "json"])
def test_whatever_the_secret_is_a_crash_report_can_be_read(
    secret: str, form: str, tmp_path: Path
) -> None:
    said: list[str] = []
    hidden = (secret, "7bz1lzh9")
    with Logs(
        Log(format="json" if form == "json" else "text"), say=said.append, secrets=hidden
    ) as it:
        it.attach(tmp_path / "log.jsonl")
        it.message("info", "run_started", run_id="20260902T123456Z-a1b2c3", folder="data/runs")
        try:
            raise ValueError({"key": secret, "of": 7})  # noqa: TRY301 - for its traceback
        except ValueError as exc:
            it.failure("unexpected_error", exc)
    first, second = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert (first["event"], first["level"], first["run_id"]) == (
        "run_started",
        "info",
        "20260902T123456Z-a1b2c3",
    )
    assert (second["event"], second["level"]) == ("unexpected_error", "error")
    # As it would be quoted: {'key': '…', 'of': 7}
    assert "[secret]" in second["exception"]
    assert repr(secret)[1:-1] not in second["exception"].rpartition("key")[2].replace(
        "[secret]", ""
    )
    told = said[-1]
    assert told.count("[secret]") <= 12
    assert "[secret" + "[" not in told  # a mask is never masked itself


@pytest.mark.parametrize("secret", SHORT)
def test_a_secret_of_a_few_letters_is_masked_where_it_stands_alone(secret: str) -> None:
    for around in ("key=%s", "'%s'", "%s", "Authorization: %s, more", '{"k":"%s"}'):
        assert without_secrets(around % secret, [secret]) != around % secret
    assert without_secrets(
        "Theoretically abnormal men seen 1234", ["e", "ab", "the", "n", "1"]
    ) == ("Theoretically abnormal men seen 1234")


def test_an_empty_secret_masks_nothing_and_a_longer_one_goes_first() -> None:
    assert without_secrets("as it is", ["", ""]) == "as it is"
    assert without_secrets("as it is", []) == "as it is"
    assert answer_without_secrets(b"as it is", Secrets("", "")) == b"as it is"
    assert without_secrets("<longer-one>", ["long", "longer-one", "secret"]) == "<[secret]>"


def test_a_secret_is_masked_as_it_was_escaped() -> None:
    for secret in ODD:
        for text in (secret, repr(secret), json.dumps({"k": secret})):
            told = without_secrets(f"told: {text}", [secret])
            assert "[secret]" in told
            assert secret not in told
    body = json.dumps({"message": "key a\\b is wrong"}).encode()
    assert answer_without_secrets(body, Secrets("a\\b-key", "x")) == body
    assert b"quo" not in answer_without_secrets(b'{"k":"quo\\"te"}', Secrets('quo"te', "zzzz"))
    assert (
        answer_without_secrets("ключ key1".encode(), Secrets("key1", "zzzz"))
        == "ключ [secret]".encode()
    )


@pytest.mark.parametrize("secret", [*SHORT, *WORDS])
@pytest.mark.parametrize("as_json", [False, True])
def test_the_end_is_told_whatever_the_secret_is(
    secret: str, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report_unexpected(ValueError(secret), [secret, "e"], as_json=as_json) == 1
    told = capsys.readouterr().err
    assert len(told) < 2_000
    assert "bug" in told
    assert (
        complain(
            f"key {secret} is wrong",
            4,
            error_code="vendor.denied",
            as_json=as_json,
            secrets=[secret],
        )
        == 4
    )
    told = capsys.readouterr().err
    assert f"key {secret} is" not in told
    if as_json:
        assert set(json.loads(told)) == {"type", "code", "exit_code", "resumable", "message"}


NAMES_OF_OURS = ["run_id", "voice_id", "voice_ids", "folder", "file", "path", "command"]
COUNTS = [
    "bad",
    "bytes",
    "clock_skew_s",
    "count",
    "dead",
    "deferred",
    "delivered",
    "distinct",
    "done",
    "duplicate",
    "elapsed_s",
    "eta_s",
    "files",
    "left",
    "lines",
    "listed",
    "new",
    "open",
    "received_bytes",
    "records",
    "requests",
    "rows",
    "resolved",
    "resolved_before",
    "to_fetch",
]


@pytest.mark.parametrize("name", NAMES_OF_OURS)
def test_what_is_no_number_of_anybody_stays_but_for_a_secret_in_it(name: str) -> None:
    assert redacted({name: f"x/{PHONE}"}, SECRETS) == {name: f"x/{PHONE}"}
    assert redacted({name: f"x/{SECRETS[1]}"}, SECRETS) == {name: "x/[secret]"}
    assert redacted({name: int(PHONE)}, ()) == {name: DIGITS}
    told = redacted({name: [f"x/{PHONE}", f"x/{SECRETS[1]}", int(PHONE)]}, SECRETS)
    assert told == {name: [f"x/{PHONE}", "x/[secret]", DIGITS]}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_of_a_big_backfill_stay(name: str) -> None:
    assert redacted({name: 123_456_789}, ()) == {name: 123_456_789}
    assert redacted({name: 123_456_789.5}, ()) == {name: 123_456_789.5}
    assert redacted({name: [123_456_789]}, ()) == {name: [DIGITS]}


@pytest.mark.parametrize("name", ["fields", "retries"])
def test_counts_by_name_stay_and_the_names_are_masked(name: str) -> None:
    counted = {"cost": 5_000_000, PHONE: 7_000_000, SECRETS[1]: 1, "odd": PHONE}
    assert redacted({name: counted}, SECRETS) == {
        name: {"cost": 5_000_000, DIGITS: 7_000_000, "[secret]": 1, "odd": DIGITS}
    }
    assert redacted({"other": {"cost": 5_000_000}}, ()) == {"other": {"cost": DIGITS}}
    assert redacted({name: int(PHONE)}, ()) == {name: DIGITS}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("+1 234 567", DIGITS),
        ("+49 (151) 12-34", DIGITS),
        ("+12 345", "+12 345"),
        ("a 0123456789abcdef0123456789ABCDEF b", f"a {DIGITS} b"),
        ("a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4", DIGITS),
        ("a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d", "a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d"),
        ("xa1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4", "xa1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4"),
        ("run 20260902T123456Z ended", "run 20260902T123456Z ended"),
        ("120260902T123456Z", f"{DIGITS}T123456Z"),
    ],
)
def test_what_looks_like_a_number_or_a_signature_is_masked_and_no_more(
    text: str, told: str
) -> None:
    assert redacted({"message": text}, ()) == {"message": told}


def test_of_what_is_nested_deep_or_of_another_type_only_the_type_is_told() -> None:
    assert redacted({"x": [[[["in"]]]]}, ()) == {"x": [[[["in"]]]]}
    assert redacted({"x": [[[[["deep"]]]]]}, ()) == {"x": [[[["[list]"]]]]}
    assert redacted({"x": {PHONE}, "y": PHONE.encode(), "z": True, "n": None}, ()) == {
        "x": "[set]",
        "y": "[bytes]",
        "z": True,
        "n": None,
    }
    assert redacted({"x": {SECRETS[0]: 1}}, SECRETS) == {"x": {"[secret]": 1}}


@pytest.mark.parametrize(
    "number",
    ["91/98765/99999", "91_98765_00002", "919,876,500,003", "(91)/98765-99999", "9/1/9/8/7/6/5"],
)
def test_a_number_in_an_answer_is_masked_whatever_stands_between(number: str) -> None:
    told = answer_without_numbers(f'{{"reason":"callee {number} blocked"}}'.encode()).decode()
    assert told.endswith('*** blocked"}')
    assert "98765" not in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"call 555 12-34 now", b"call *** now"),
        (b"call 555 123 now", b"call 555 123 now"),
        (b"5 5 5 1 2 3 4", b"***"),
    ],
)
def test_numbers_in_a_quoted_answer_are_masked_however_they_are_grouped(
    text: bytes, told: bytes
) -> None:
    assert answer_without_numbers(text) == told


def test_signatures_in_a_quoted_answer_are_masked() -> None:
    nobody = Secrets("a key", "a secret")
    sign = b"05d7a50893e22a5c4bb3216ae3396c7c"
    for one in (sign, sign.upper()):
        assert (
            answer_without_secrets(b'{"Sign":"' + one + b'"}', nobody) == b'{"Sign":"[signature]"}'
        )
    for longer in (b"x" + sign, sign + b"0"):
        assert answer_without_secrets(longer, nobody) == longer


def test_the_log_file_gets_what_the_screen_does_not_and_keeps_what_it_has(tmp_path: Path) -> None:
    said: list[str] = []
    path = tmp_path / "log.jsonl"
    path.write_text('{"event":"earlier"}\n')
    with Logs(Log(level="error"), say=said.append, unsaid=frozenset({"run_failed"})) as logs:
        logs.run_id = "this-run"
        logs.attach(path)
        logs.message("debug", "too_much")
        logs.message("info", "run_ended", run_id="another-run", exit_code=0)
        logs.message("error", "run_failed", message="why", exit_code=5)
        logs.message("error", "shown")
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [one["event"] for one in events] == ["earlier", "run_ended", "run_failed", "shown"]
    assert [one["run_id"] for one in events[1:]] == ["another-run", "this-run", "this-run"]
    assert all(one["timestamp"].endswith("Z") for one in events[1:])
    assert len(said) == 1
    assert "shown" in said[0]


def test_a_verbose_log_has_the_debug_lines_in_the_file_as_well(tmp_path: Path) -> None:
    with Logs(Log(level="debug"), say=lambda _: None) as logs:
        logs.attach(tmp_path / "log.jsonl")
        logs.message("debug", "detail")
    assert '"detail"' in (tmp_path / "log.jsonl").read_text()


def test_a_disk_that_gets_full_is_told_once_and_stderr_goes_on(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    with Logs(Log(), say=said.append) as logs:
        logs.attach(tmp_path / "log.jsonl")
        for _ in range(3):
            logs.message("info", "event")
    assert sum("the run goes on without it" in one for one in said) == 1
    assert sum("No space left" in one for one in said) == 1
    assert sum(one.startswith("event") for one in said) == 3


@pytest.mark.parametrize(
    ("text", "label", "field"),
    [
        ("busy", "busy", "busy"),
        ("http-503", "http-503", "http-503"),
        ("a123456", "a123456", "a123456"),
        ("a1234567", "odd", "odd"),
        ("Cost.eur_2", "odd", "Cost.eur_2"),
        ("123456", "123456", "odd"),
        ("", "odd", "odd"),
        ("a" * 40, "a" * 40, "a" * 40),
        ("a" * 41, "odd", "odd"),
        ("busy\n", "odd", "odd"),
    ],
)
def test_what_is_counted_by_name_has_a_name_without_a_number(
    text: str, label: str, field: str
) -> None:
    assert label_or_odd(text) == label
    assert field_or_odd(text) == field


def test_a_librarys_error_keeps_its_figures_of_six_digits() -> None:
    assert without_long_numbers("line 123456: '8613800138000'") == f"line 123456: '{DIGITS}'"


@pytest.mark.parametrize(
    ("number", "told"),
    [("8613800138000", "861********00"), ("12345678", "123***78"), ("1234567", "***"), ("", "***")],
)
def test_a_number_on_the_screen_can_be_found_by_and_not_called(number: str, told: str) -> None:
    assert number_in_part(number) == told


GUARDS: dict[str, Callable[[str], str]] = {
    "log": lambda text: line_to_keep(text, ()),
    "error": without_long_numbers,
    "answer": lambda text: answer_without_numbers(text.encode()).decode(),
    "export": NumberHashes("k" * 32).text,
    "label": label_or_odd,
    "field": field_or_odd,
    "screen": number_in_part,
}


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("digits", range(1, 20))
def test_seven_digits_are_a_number_to_every_guard(guard: str, digits: int) -> None:
    number = "1234567890123456789"[:digits]
    told = GUARDS[guard](number)
    assert (number in told) == (digits < LEAST_DIGITS and told not in ("odd", "***"))
    assert (LEAST_DIGITS, LEAST_NUMBER) == (7, 1_000_000)


def test_no_other_module_has_its_own_idea_of_a_number_or_a_signature() -> None:
    """But for the reader of CSV, which tells a column of numbers from one of ids."""
    package = Path(__file__).resolve().parents[2] / "harvester"
    written = re.compile(r"0-9\]\)?\{7|\\d\{7|\{6,\}|A-F\]\{32\}|\[(?:secret|digits|signature)\]")
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if written.search(path.read_text())
    }
    assert found == {"redact.py", "inputs/formats/csv_file.py"}


def test_a_secret_of_four_letters_is_masked_within_a_word_and_one_of_three_is_not() -> None:
    assert without_secrets("another", ["the"]) == "another"
    assert without_secrets("another", ["othe"]) == "an[secret]r"


def test_a_line_stays_one_whatever_the_secret_is() -> None:
    ours = {"event": "run_started", "level": "info", "timestamp": "2026-11-01T00:00:00.123456Z"}
    assert redacted(ours, ("run_started", "info", "2026-11-01T00:00:00.123456Z", "2026")) == ours


MASK_KEY = "0123456789abcdef0123456789abcdef"


def mask_of(said: str) -> str:
    """`tel_` and the first 80 bits, in hex, of HMAC-SHA256(key, digits), as the manual has it."""
    return "tel_" + hmac.new(MASK_KEY.encode(), said.encode(), hashlib.sha256).hexdigest()[:20]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("491511234567", "491511234567"),
        ("+49 (151) 123-45.67", "491511234567"),
        ("49/151/1234567", "491511234567"),
        (
            "\u0664\u0669\u0661\u0665\u0661\u0661\u0662\u0663\u0664\u0665\u0666\u0667",
            "491511234567",
        ),
        ("0491511234567", "0491511234567"),
        ("49 151 1234567 ext", "49 151 1234567 ext"),
        ("anonymous", "anonymous"),
        ("+", "+"),
        ("", ""),
    ],
)
def test_only_the_digits_of_a_number_count_for_its_mask(text: str, said: str) -> None:
    assert NumberHashes(MASK_KEY).number(text) == mask_of(said)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("call 5551234567 now", f"call {mask_of('5551234567')} now"),
        ("on 2026-11-01 10:30 at 5551234567", f"on 2026-11-01 10:30 at {mask_of('5551234567')}"),
        ("since 2026-11-01T10:30:00.123+08:00", "since 2026-11-01T10:30:00.123+08:00"),
        ("id 12345678901234 to 5551234567", f"id 12345678901234 to {mask_of('5551234567')}"),
        ("123456 is too short", "123456 is too short"),
    ],
)
def test_in_a_text_dates_and_its_own_id_stay(text: str, shown: str) -> None:
    assert NumberHashes(MASK_KEY).text(text, voice_id="12345678901234") == shown


def test_a_secret_is_masked_as_repr_and_json_write_it_within_a_text() -> None:
    secret = 'p\u00e4"ss\\word'
    for write, shown in ((str, "x[secret]x"), (repr, "'x[secret]x'"), (json.dumps, '"x[secret]x"')):
        assert without_secrets(write(f"x{secret}x"), [secret]) == shown
