"""An audit of a few rules, as a page: every cell is reckoned by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from harvester.analysis.apart import Apart, Group
from harvester.analysis.audit.audit import Audit
from harvester.analysis.audit.bill import Difference, Verdict
from harvester.analysis.audit.limits import Excess
from harvester.analysis.clock import Clock
from harvester.analysis.html.audit_page import page
from harvester.analysis.html.style import STYLE
from harvester.analysis.period import Period
from harvester.analysis.scope import Scope
from harvester.cli.main import run_command
from harvester.dataset.stated import Stated
from harvester.identity import Identity
from tests.run.test_report_overview import HOSTILE, Tags
from tests.support.datasets import made
from tests.unit.test_analysis_page import Tables

NUMBER = "918055512345"
NONE: dict[str, Decimal] = {}
PLAIN = Verdict("plain", "all is well", "none", 1_005, 0, NONE, NONE, NONE, ())
COST = Verdict(
    "cost",
    "it fits",
    "0.0001",
    1_005,
    1_002,
    {"USD": Decimal("1.005"), "EUR": Decimal(3)},
    {"USD": Decimal("0.25")},
    {"USD": Decimal("1234.5")},
    (
        Difference("id1", NUMBER, "India", Decimal("0.50"), "USD", "1 s", "2 s"),
        Difference("id2", "12", "", None, "EUR", "one", "another"),
    ),
)
PERIOD = Verdict("period", "b", "1 s", 7, 2, {"USD": Decimal(2)}, NONE, NONE, ())


def audit(*verdicts: Verdict, **changes: Any) -> Audit:
    plain = Audit(
        output="/srv/secret/out",
        made_at=datetime(2026, 12, 4, 12, 30, tzinfo=UTC),
        scope=Scope(Clock("Asia/Shanghai", "submit"), Period()),
        first_day=date(2026, 11, 1),
        last_day=date(2026, 11, 30),
        files=1_200,
        calls=1_005,
        verdicts=verdicts or (PLAIN, COST, PERIOD),
        apart=Apart(),
        stated=Stated(Identity(account="acme", addresses=("https://api.example.com/v",)), 0, 0, 0),
        above=(),
    )
    return replace(plain, **changes)


def test_tables_of_an_audit() -> None:
    found = Tables(page(audit())).found
    assert found["rules"] == [
        [
            ["rule", "differ", "of", "over", "under", "their cost in all"],
            ["cost", "1,002", "1,005", "3.00 EUR, 1.01 USD", "0.25 USD", "1,234.50 USD"],
            ["period", "2", "7", "2.00 USD", "-", "-"],
            ["plain", "0", "1,005", "-", "-", "-"],
        ]
    ]
    assert found["assumptions"] == [
        [
            ["rule", "assumed", "tolerance"],
            ["cost", "it fits", "0.0001"],
            ["period", "b", "1 s"],
            ["plain", "all is well", "none"],
        ]
    ]
    assert found["worst records of cost"] == [
        [
            ["id", "callee", "destination", "found", "expected", "amount"],
            ["id1", "918*******45", "India", "1 s", "2 s", "0.5 USD"],
            ["id2", "***", "(none)", "one", "another", "-"],
        ]
    ]
    assert "worst records of plain" not in found


def test_head_of_an_audit() -> None:
    text = page(audit())
    assert "<title>Audit of the bill 2026-11-01 to 2026-11-30</title>" in text
    clock = "days of Asia/Shanghai, by submit time"
    assert f"account acme · api.example.com · {clock} · made 2026-12-04 12:30 UTC<" in text
    assert "secret" not in text, "no path of the machine"
    tiles = re.findall(
        r'<dt>([^<]*)</dt><dd class="big">([^<]*)</dd><dd class="soft">([^<]*)</dd>', text
    )
    assert tiles == [
        ("Records", "1,005", "in 1,200 files of the data set"),
        ("Rules that differ", "2", "of 3"),
        ("Over in EUR", "3.00", "by the rule cost, the one with the most; exactly 3"),
        ("Over in USD", "2.00", "by the rule period, the one with the most; exactly 2"),
    ]
    told = "1,002 of 1,005 differ. Assumed: it fits; tolerance: 0.0001. The worst of them:"
    assert told in text
    assert "note" not in re.sub("<style>.*?</style>", "", text, flags=re.DOTALL)


def test_what_is_above_a_limit_and_what_needs_a_look_is_noted() -> None:
    over = Excess("cost", "USD", Decimal("1.005"), Decimal("0.50"))
    absurd = Group(calls=1, cost={"USD": Decimal(2_000_000)})
    text = page(audit(above=(over,), apart=Apart(absurd=absurd)))
    assert '<p class="note">cost: 1.005 USD over, above the limit of 0.5.</p>' in text
    assert '<p class="note">Records with an absurd cost' in text


def test_an_audit_without_a_difference_has_no_section_but_the_rules() -> None:
    text = page(audit(PLAIN))
    assert text.count("<section>") == 1
    assert '<dd class="big">0</dd><dd class="soft">of 1</dd>' in text


def test_the_command_writes_a_page_that_stands_alone_and_masks_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = {"code": HOSTILE, "currency": "918055512346", "cost": Decimal(1)}
    made(tmp_path / "out", [odd | {"callee": NUMBER}, {"code": HOSTILE}, {"code": HOSTILE}])
    file, records = tmp_path / "audit.html", tmp_path / "records.parquet"
    words = ["audit", "--out", str(tmp_path / "out"), "--html", str(file), "-o", str(records)]
    assert run_command(words) == 0
    assert f"Written: {file}" in capsys.readouterr().out
    assert records.is_file()
    text = file.read_text()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert {"script", "link", "img", "iframe", "object"} & set(tags.seen) == set()
    assert {"src", "href", "onclick", "onload"} & set(tags.attributes) == set()
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")
    assert "&lt;script&gt;" in text
    for said in ("\x1b", "\u202e", NUMBER, "918055512346", str(tmp_path)):
        assert said not in text
    assert "1.00000000 odd" in text
    assert "918*******45" in text
    assert f"{0:019}" in text, "ids are what the vendor is asked about"
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_page_inside_the_output_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path / "out", [{}])
    words = ["audit", "--out", str(tmp_path / "out"), "--html"]
    assert run_command([*words, str(tmp_path / "out" / "cdr" / "audit.html")]) == 2
    assert "is inside the output" in capsys.readouterr().err


def test_json_comes_with_the_page_as_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path / "out", [{}])
    file = tmp_path / "audit.html"
    assert (
        run_command(["audit", "--out", str(tmp_path / "out"), "--html", str(file), "--json"]) == 0
    )
    assert '"records": 1' in capsys.readouterr().out
    assert "<h1>" in file.read_text()


def test_a_table_that_is_wider_than_the_page_shows_that_it_scrolls() -> None:
    """A shade at its right edge that the content covers at the end; reached by keyboard; named."""
    text = page(audit())
    tables = text.count("<table")
    assert tables == text.count('<div class="wide" role="region" tabindex="0" aria-label="') > 2
    (rule,) = re.findall(r"\.wide\{([^}]*)\}", STYLE.partition("@media print")[0])
    assert "overflow-x:auto" in rule
    assert re.search(r"var\(--card\)[^,]*,transparent\) right[^,]* local", rule)
    assert "var(--shade)" in rule
    assert STYLE.count("--shade:") == 2, "light and dark"
    assert ".wide:focus-visible{outline" in STYLE
    assert ".wide{overflow:visible" in STYLE.partition("@media print")[2]
