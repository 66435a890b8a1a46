"""What it means when a process of ours ends without an answer, and what it is given."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from pathlib import Path

import pytest

from harvester.errors import HarvesterError, StoreError
from harvester.storage import subprocesses


@pytest.mark.parametrize(
    ("code", "kind", "told"),
    [
        (-2, KeyboardInterrupt, ""),
        (-9, StoreError, "what it does was killed, probably for want of memory. Free some."),
        (-11, StoreError, "what it does was ended by signal 11. Run again."),
        (-1, StoreError, "what it does was ended by signal 1. Run again."),
        (0, HarvesterError, "what it does failed (exit 0): it was so"),
        (1, HarvesterError, "what it does failed (exit 1): it was so"),
    ],
)
def test_an_end_without_an_answer_is_told(code: int, kind: type[BaseException], told: str) -> None:
    with pytest.raises(kind) as found:
        subprocesses.died("what it does", code, io.BytesIO(b" it was so\n"), if_killed="Free some.")
    assert type(found.value) is kind
    assert str(found.value) == told


@pytest.mark.parametrize("size", [3_999, 4_000, 4_001, 10_000])
def test_of_long_complaints_the_end_is_told(size: int) -> None:
    said = io.BytesIO(b"x" * (size - 1) + b"!")
    with pytest.raises(HarvesterError) as found:
        subprocesses.died("it", 1, said, if_killed="")
    assert str(found.value).endswith("x!")
    assert len(str(found.value)) == len("it failed (exit 1): ") + min(size, 4_000)


def test_a_process_gets_our_paths_and_nothing_that_is_set_for_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "told.py").write_text(
        "import os, sys; print(sorted(os.environ), sys.stdin.read(), file=sys.stderr)"
    )
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    monkeypatch.setenv("HARVESTER_API_SECRET", "s3cret")
    monkeypatch.setenv("HARVEST", "moon")
    with tempfile.TemporaryFile() as complaints:
        with subprocesses.start("told", complaints) as child:
            assert child.communicate(b"hello")[0] == b""
        complaints.seek(0)
        said = complaints.read().decode()
    assert child.returncode == 0, said
    assert "HARVESTER" not in said
    assert "'HARVEST'" in said
    assert "hello" in said
    assert os.environ["HARVESTER_API_SECRET"] == "s3cret"
