"""What is usual takes the quick way: counted in calls of our own functions, not by a clock.

Many things are read in two ways that agree, one for what is usual and one for all else.  If the
quick one were gone, or never gone, no result would differ: a night would take twice the time.
"""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from bench.answers import answers
from harvester.client.judge import judge
from harvester.client.transport import Reply
from harvester.client.verdicts import Record
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.normalize import normalize
from harvester.dataset.parse import reader_of
from harvester.dataset.usage import usage_of
from harvester.inputs.bad_lines import BadIds
from harvester.inputs.discover import find
from harvester.inputs.worklist.build import read_ids
from harvester.state import journal
from harvester.state.values import Entry

OURS = str(Path(sys.modules["harvester"].__path__[0]))
NOW = 1_800_000_000.0
USUAL = {
    "voiceId": "2203031113381000002",
    "submitTime": "2026-09-02T10:00:00+08:00",
    "answerTime": "2026-09-02T10:00:05+08:00",
    "callDuration": 60,
    "chargedDuration": 60,
    "cost": "0.0125",
}
OVER = {**USUAL, "hangupTime": "2026-09-02T10:01:05+08:00"}


def calls(act: Callable[[], object]) -> Counter[str]:
    """How often each of the harvester's functions is called by `act`, once all is warm."""
    act()
    found = Counter[str]()

    def note(frame: FrameType, event: str, argument: object) -> None:
        del argument
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            found[frame.f_code.co_qualname] += 1

    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(None)
    return found


def body(record: dict[str, object]) -> bytes:
    answer = {"status": "0", "reason": "success", "data": record}
    return json.dumps(answer, ensure_ascii=False).encode()


@pytest.mark.parametrize("callee", ["8613800000000", "Zoë"])
@pytest.mark.parametrize(("record", "most"), [(OVER, 8), (USUAL, 30)], ids=["over", "goes on"])
def test_a_usual_answer_is_judged(record: dict[str, object], most: int, callee: str) -> None:
    answer = body({**record, "callee": callee})
    reply = Reply(200, answer)
    verdict = judge("2203031113381000002", reply, NOW)
    assert verdict == Record(over=record is OVER)
    assert calls(lambda: judge("2203031113381000002", reply, NOW)).total() <= most


def test_usual_answers_are_read_for_their_rows_and_their_books() -> None:
    many = list(answers(500, drift=False))
    bodies = [answer.body for answer in many]
    assert calls(lambda: usage_of(bodies, GROUP_RECORD)).total() <= 2.5 * len(many)
    assert calls(lambda: reader_of(GROUP_RECORD).read(bodies)).total() <= 1.1 * len(many)
    assert calls(lambda: normalize(many, "acme", GROUP_RECORD)).total() <= 2 * len(many)


def test_answers_go_into_the_journal_and_out_of_it_together() -> None:
    entries = [Entry(one.voice_id, 1, True, one.body) for one in answers(500)]
    blob, _ = journal.encode(entries)
    assert calls(lambda: journal.encode(entries)).total() <= 5
    assert calls(lambda: journal.decode(blob, "run-1")).total() <= 5


FORMS: dict[str, tuple[str, str, float]] = {
    "a.txt": ("", "{0}\n", 0.05),
    "a.csv": ("x,voiceId\n", "1,{0}\n", 0.05),
    "quoted.csv": ("x,voiceId\n", '"1","{0}"\n', 0.05),
    "a.jsonl": ("", '{{"voiceId": "{0}"}}\n', 2.05),
}
"""With the calls that a line may cost."""


@pytest.mark.parametrize("name", FORMS)
def test_usual_ids_are_read_many_at_once(tmp_path: Path, name: str) -> None:
    head, line, most = FORMS[name]
    ids = [f"22030311133810{number:05}" for number in range(5_000)]
    path = tmp_path / name
    path.write_text(head + "".join(line.format(one) for one in ids))
    (file,) = find([str(path)], spool=tmp_path)

    def read_all() -> list[str]:
        bad = BadIds(io.StringIO())
        return [one for column in read_ids(file, "voiceId", bad) for one in column.to_pylist()]

    assert sorted(read_all()) == ids
    assert calls(read_all).total() <= most * len(ids)
