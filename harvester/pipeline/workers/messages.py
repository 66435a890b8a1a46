"""What the owner of a run and a worker say to each other.

The owner sends a `Start`, and gets a `Hello`; then it sends one `Order` after the other and gets a
`Report` for each.  A worker never speaks first.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from harvester.client.transport import NoReply, Reply
from harvester.config import Vendor
from harvester.pipeline.engine.task import Answered


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """The first message to a worker."""

    version: str
    """The harvester's, of the owner."""
    vendor: Vendor
    concurrency: int
    secrets: tuple[str, str] | None
    """Key and secret; None: it reads them where it is."""
    skew_s: float
    """What the owner knows of (vendor clock - ours)."""
    is_traced: bool = False
    """Whether it is to report when each request was written."""


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """A worker is ready.  `at_ns`: by its own monotonic clock."""

    version: str
    at_ns: int
    trouble: str = ""
    """Why it can't work, and what to do, if it can't."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is to do next; about ten a second."""

    ids: list[str] = []
    """To fetch, beside those that it has."""
    share_per_s: float = 0.0
    heard_ns: int = 0
    """`at_ns` of the latest report that the owner has."""
    lease_s: float = 0.0
    """How long the share may be used, from `heard_ns` on."""
    closed_s: float = 0.0
    """Nothing is to be sent for so long."""
    slower: bool = False
    """Others met vendor throttling."""
    grant: int | None = None
    """So many more requests of the day's budget may be sent; None: there is no such budget."""
    stop: bool = False
    """Finish what is on its way, and begin nothing."""


class Given(msgspec.Struct, frozen=True, tag=True):
    """What came of a first attempt that did not bring a record: the owner goes on from there."""

    reply: Reply | None = None
    no_reply: NoReply | None = None

    @property
    def answer(self) -> Reply | NoReply:
        """The one of the two that there is."""
        answer = self.reply or self.no_reply
        assert answer is not None
        return answer


class Unsent(msgspec.Struct, frozen=True, tag=True):
    """No request was sent for the id, or none that counts: it is to be handed out again."""


Done: TypeAlias = Answered | Given | Unsent


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What has happened since the report before."""

    at_ns: int
    done: list[tuple[str, Done]]
    requests: int
    unused: int = 0
    """Of what was granted: they will not be sent."""
    odd_hangups: int = 0
    received_bytes: int = 0
    push_back_s: float | None = None
    """It met vendor throttling itself, and is closed for so long."""
    rate_per_s: float = 0.0
    """The pace in force."""
    is_slowed: bool = False
    """That is less than its share, for the vendor's sake."""
    written: list[float] = []
    """When each request was written, by the monotonic clock of its machine, in seconds."""


class WorkerGone(Exception):
    """The worker is dead or out of reach; the message says what is known of it."""
