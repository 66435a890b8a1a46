"""Tasks and conclusions pass between processes as they are."""

from __future__ import annotations

import msgspec
import pytest

from harvester.pipeline.engine.task import Answered, Conclusion, Died, PutOff, Task, Unknown
from harvester.state.values import OpenCall

CONCLUSIONS: list[Conclusion] = [
    Answered(b'{"status":0}\xff', True, 1_790_000_000_000),
    Answered(b"", False, 0),
    Unknown(1, 3),
    Died("no_record", "the vendor knows no such record", 2, 5, b"\x00"),
    Died("gave_up", "", 2, 5),
    PutOff("timeout", 4, 7, counts=True),
]


@pytest.mark.parametrize("conclusion", CONCLUSIONS, ids=repr)
def test_a_conclusion_is_the_same_after_it_was_encoded(conclusion: Conclusion) -> None:
    sent = msgspec.msgpack.encode(("1", conclusion))
    assert msgspec.msgpack.decode(sent, type=tuple[str, Conclusion]) == ("1", conclusion)


def test_a_task_is_the_same_after_it_was_encoded() -> None:
    tasks = [
        Task("1", 3, 4, is_last_try=True, counts=True),
        Task("2", open_call=OpenCall("2", 1, 2, 3, "run-1", b"{", 4)),
    ]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(tasks), type=list[Task]) == tasks
