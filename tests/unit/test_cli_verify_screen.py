"""What `harvester verify` shows of many findings."""

from __future__ import annotations

import pytest

from harvester.analysis.verify.findings import damage, note
from harvester.analysis.verify.verify import VerifyResult
from harvester.cli.commands.verify import screen


@pytest.mark.parametrize(("count", "more"), [(1, 0), (20, 0), (21, 1), (1_234, 1_214)])
def test_twenty_findings_of_a_kind_are_shown_and_the_others_counted(count: int, more: int) -> None:
    found = [damage("twice", f"id {number}", "a.parquet", "rebuild") for number in range(count)]
    result = VerifyResult((*found, note("unfinished", "one more", "publication", "publish")))
    lines = [line.text for line in screen(result, "out", deep=False)]
    assert sum("twice: id" in line for line in lines) == count - more
    assert sum("unfinished: one more" in line for line in lines) == 1
    told = [f"… and {more:,} more of kind twice (--json)."] if more else []
    assert [line for line in lines if line.startswith("…")] == told
    assert lines[-1] == f"{count:,} finding(s). Nothing was changed."
