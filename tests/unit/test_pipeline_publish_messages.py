"""Messages between a publication and the process that normalises for it."""

from __future__ import annotations

from io import BytesIO

import msgspec
import pytest

from harvester.pipeline.publish import messages
from harvester.pipeline.publish.messages import Ask, Made


def pipe_of(*sent: msgspec.Struct) -> BytesIO:
    pipe = BytesIO()
    for message in sent:
        messages.write(pipe, message)
    pipe.seek(0)
    return pipe


def test_messages_come_as_they_were_sent_one_after_another() -> None:
    asks = [Ask("run-1", b"\x00" * 300), Ask("run-2", b""), Ask()]
    pipe = pipe_of(*asks)
    decode = msgspec.msgpack.Decoder(Ask).decode
    assert [decode(messages.read(pipe) or b"") for _ in asks] == asks
    assert messages.read(pipe) is None, "the other side has ended"


@pytest.mark.parametrize("left", [1, 3, 4, 5, -1])
def test_a_message_that_was_cut_off_is_none(left: int) -> None:
    """Whoever sent it died in the middle: what came of it must not be taken for the whole."""
    whole = pipe_of(Made([], extra={"field": 1})).getvalue()
    assert messages.read(BytesIO(whole)) == whole[4:]
    assert messages.read(BytesIO(whole[:left])) is None
