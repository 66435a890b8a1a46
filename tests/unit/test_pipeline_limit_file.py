"""The limit file: one promise, whoever shares it, and in whatever order they come, wait and die."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import struct
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.config import Priority, Secrets, load
from harvester.errors import ConfigError, HarvesterError, StoreError
from harvester.pipeline.limits.limit_file import SLOTS, LimitFile, read_sharing, sharing
from harvester.pipeline.limits.pace import SharedPace
from tests.support.harvesting import worst_second
from tests.support.virtual_time import run_virtually, virtual_loop

OWNER = bytes(range(32))
BOOT = b"0123456789abcdef"
SECOND = 1_000_000_000


class Kernel:
    """The clock of a machine, and when turns were taken by the clock of the world."""

    def __init__(self) -> None:
        self.now_ns = 500 * SECOND
        self.boot = BOOT
        self._booted_at_ns = 0
        self.turns: list[float] = []

    def clock(self) -> int:
        return self.now_ns

    def pass_(self, ns: int) -> None:
        self.now_ns += ns

    def reboot(self, boot: bytes, began_ns: int) -> None:
        """Another boot, whose clock begins at `began_ns`; in the world no time has passed."""
        self._booted_at_ns += self.now_ns - began_ns
        self.now_ns, self.boot = began_ns, boot

    def take(self, party: LimitFile) -> int:
        wait_ns = party.take()
        if not wait_ns:
            self.turns.append((self._booted_at_ns + self.now_ns) / SECOND)
        return wait_ns


@contextmanager
def a_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, "limit")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "limit"


def joined(
    path: Path,
    kernel: Kernel,
    rate: float = 50,
    priority: Priority = "normal",
    owner: bytes = OWNER,
    output: str = "/out",
) -> LimitFile:
    return LimitFile(
        path,
        rate_per_s=rate,
        owner=owner,
        output=output,
        priority=priority,
        now_ns=kernel.clock,
        clock=kernel.boot,
    )


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.integers(0, 300_000_000)),
        st.tuples(st.just("burst"), st.integers(0, 5)),
        st.tuples(st.just("wait"), st.integers(0, 5)),
        st.tuples(st.just("join"), st.sampled_from(["normal", "low"])),
        st.tuples(st.just("die"), st.integers(0, 5)),
        st.tuples(st.just("close"), st.integers(0, 3 * SECOND)),
        st.tuples(st.just("reboot"), st.integers(0, 3_000 * SECOND)),
    ),
    min_size=5,
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(steps=STEPS, rate=st.sampled_from([0.5, 1.0, 2.5, 7.0, 39.0, 50.0, 200.0, 1_000.0]))
def test_no_sliding_second_holds_more_turns_than_the_limit_whoever_takes_them(
    steps: list[tuple[str, int | str]], rate: float
) -> None:
    kernel, boots = Kernel(), count()
    parties: list[LimitFile] = []
    with a_path() as path:
        parties.append(joined(path, kernel, rate))
        for name, value in steps:
            match name, value:
                case "pass", int(ns):
                    kernel.pass_(ns)
                case "burst", int(who) if parties:  # all that can be had now
                    while not kernel.take(parties[who % len(parties)]):
                        pass
                case "wait", int(who) if parties:  # one as soon as it can be had
                    while wait_ns := kernel.take(parties[who % len(parties)]):
                        kernel.pass_(wait_ns)
                case "join", "normal" | "low" as priority:
                    parties.append(joined(path, kernel, rate, priority))
                case "die", int(who) if parties:
                    parties.pop(who % len(parties)).leave()
                case "close", int(ns) if parties:
                    parties[0].close_until(kernel.now_ns + ns)
                case "reboot", int(began_ns):
                    while parties:
                        parties.pop().leave()
                    kernel.reboot(b"%016d" % next(boots), began_ns)
                    parties.append(joined(path, kernel, rate))
                case _:
                    pass
        for party in parties:
            party.leave()
    assert worst_second(kernel.turns) <= max(1, rate) if kernel.turns else True


def test_nearly_the_whole_limit_is_used_however_many_share_it(path: Path) -> None:
    kernel = Kernel()
    parties = [joined(path, kernel, 200) for _ in range(3)]
    dice = random.Random(7)
    kernel.pass_(2 * SECOND)
    began = kernel.now_ns
    while kernel.now_ns < began + 10 * SECOND:
        kernel.pass_(min(kernel.take(dice.choice(parties)) or 1, 1_000_000))
    assert worst_second(kernel.turns) <= 200
    assert len(kernel.turns) >= 0.95 * 2_000


def test_a_new_file_begins_with_a_silent_second(path: Path) -> None:
    kernel = Kernel()
    party = joined(path, kernel)
    assert party.closed_until_ns == 0, "as last read: nothing yet"
    assert party.take() == SECOND
    kernel.pass_(SECOND)
    assert party.take() == 0


def test_who_joins_stops_nobody(path: Path) -> None:
    kernel = Kernel()
    one = joined(path, kernel)
    kernel.pass_(2 * SECOND)
    other = joined(path, kernel)
    assert one.take() == 0
    kernel.pass_(SECOND)
    assert other.take() == 0


def test_who_has_normal_priority_and_waits_goes_first_and_for_a_tenth_of_a_second_at_most(
    path: Path,
) -> None:
    kernel = Kernel()
    low = joined(path, kernel, 10, "low")
    normal = joined(path, kernel, 10)
    kernel.pass_(2 * SECOND)
    assert low.take() == 0
    wait_ns = normal.take()
    assert wait_ns > 0
    kernel.pass_(wait_ns)
    assert low.take() > 0, "its turn, but a normal one waits"
    assert normal.take() == 0
    kernel.pass_(SECOND)
    assert low.take() == 0, "and waits no more: it had its turn"
    assert normal.take() > 0
    kernel.pass_(99_999_999)
    assert low.take() > 0
    kernel.pass_(2)
    assert low.take() == 0, "whoever does not come back keeps nobody"


def test_a_low_one_is_not_told_to_come_before_there_can_be_a_turn(path: Path) -> None:
    kernel = Kernel()
    low, normal = joined(path, kernel, 2, "low"), joined(path, kernel, 2)
    kernel.pass_(2 * SECOND)
    assert normal.take() == 0
    assert normal.take() > 0, "it waits, for a tenth of a second as far as others know"
    assert low.take() > 400_000_000, "two a second: half a second, less what makes good a wake-up"


def test_a_low_one_is_told_to_come_back_where_a_turn_was_ready_long_ago(path: Path) -> None:
    kernel = Kernel()
    low, normal = joined(path, kernel, 200, "low"), joined(path, kernel, 200)
    kernel.pass_(60 * SECOND)
    assert normal.take(more=True) == 0
    kernel.pass_(90_000_000)
    assert 0 < low.take() <= 10_000_000, "a normal one said that it wants more"


def test_a_low_one_is_told_to_come_back_when_nobody_says_any_more_that_it_waits(path: Path) -> None:
    kernel = Kernel()
    low, normal = joined(path, kernel, 2, "low"), joined(path, kernel, 2)
    kernel.pass_(60 * SECOND)
    assert normal.take() == 0
    kernel.pass_(450_000_000)
    assert normal.take() > 0
    kernel.pass_(60_000_000)
    assert low.take() == 40_000_000, "there is a turn since 10 ms"


def test_low_ones_do_not_wait_for_each_other(path: Path) -> None:
    kernel = Kernel()
    one, other = joined(path, kernel, 50, "low"), joined(path, kernel, 50, "low")
    kernel.pass_(2 * SECOND)
    assert one.take(more=True) == 0
    assert one.take(more=True) > 0
    kernel.pass_(21_000_000)
    assert other.take() == 0
    kernel.pass_(21_000_000)
    assert one.take() == 0


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("pass"), st.integers(0, 60_000_000), st.just(False)),
            st.tuples(st.just("take"), st.integers(0, 4), st.booleans()),
            st.tuples(st.just("die"), st.integers(0, 4), st.just(False)),
        ),
        max_size=80,
    ),
    rate=st.sampled_from([10.0, 50.0, 200.0]),
)
def test_no_low_one_has_a_turn_while_a_normal_one_waits_and_none_waits_in_vain(
    steps: list[tuple[str, int, bool]], rate: float
) -> None:
    kernel, awaited_until = Kernel(), 0
    with a_path() as path:
        parties = {
            number: joined(path, kernel, rate, "low" if number < 2 else "normal")
            for number in range(5)
        }
        kernel.pass_(2 * SECOND)
        for name, value, more in steps:
            party = parties.get(value)
            if name == "pass":
                kernel.pass_(value)
            elif name == "die" and party is not None and len(parties) > 1:
                parties.pop(value).leave()
            elif party is not None:
                wait_ns = party.take(more=more)
                if value >= 2:
                    is_awaited = wait_ns > 0 or more
                    awaited_until = kernel.now_ns + 100_000_000 if is_awaited else 0
                elif not wait_ns:
                    assert kernel.now_ns >= awaited_until
        # Whoever is left has a turn soon, if it comes when it was told to.
        last, until = parties[max(parties)], kernel.now_ns + 100_000_000 + int(3 * SECOND / rate)
        while wait_ns := last.take():
            kernel.pass_(wait_ns)
        assert kernel.now_ns <= until
        for party in parties.values():
            party.leave()


def test_what_the_vendor_wants_of_one_holds_for_all(path: Path) -> None:
    kernel = Kernel()
    one, other = joined(path, kernel), joined(path, kernel, priority="low")
    kernel.pass_(2 * SECOND)
    one.close_until(kernel.now_ns + 3 * SECOND)
    assert other.take() == 3 * SECOND
    assert other.closed_until_ns == kernel.now_ns + 3 * SECOND
    one.close_until(kernel.now_ns + SECOND)
    assert other.take() == 3 * SECOND, "never sooner than was wanted before"
    other.close_until(kernel.now_ns + 2 * SECOND)
    assert one.take() == 3 * SECOND, "nor because another was told of a shorter pause"
    third = joined(path, kernel)
    third.close_until(kernel.now_ns + SECOND)
    assert third.take() == 3 * SECOND, "nor by one that came later and knows of no pause yet"
    kernel.pass_(3 * SECOND)
    assert other.take() == 0


def test_while_another_process_holds_the_lock_there_is_no_turn_and_nothing_is_lost(
    path: Path,
) -> None:
    kernel = Kernel()
    one, other = joined(path, kernel), joined(path, kernel)
    kernel.pass_(2 * SECOND)
    held = os.open(path, os.O_RDWR)
    lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
    fcntl.fcntl(held, fcntl.F_OFD_SETLK, lock)
    before = path.read_bytes()
    assert one.take() == 1_000_000
    one.close_until(kernel.now_ns + 5 * SECOND)
    kernel.pass_(60 * SECOND)
    assert one.take() == 1_000_000
    kernel.pass_(1_000_000)
    with pytest.raises(StoreError, match="locked by a process that does not go on") as caught:
        one.take()
    assert caught.value.code == "limit_file.stuck"
    assert path.read_bytes() == before, "whoever holds the lock may be writing"
    one.close_until(kernel.now_ns + 5 * SECOND)
    os.close(held)
    assert one.take() == 5 * SECOND
    assert other.take() == 5 * SECOND


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """By another process, as far as one can tell."""
    held = os.open(path, os.O_RDWR)
    try:
        lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
        fcntl.fcntl(held, fcntl.F_OFD_SETLK, lock)
        yield
    finally:
        os.close(held)


def test_a_lock_that_was_free_in_between_is_not_stuck(path: Path) -> None:
    kernel = Kernel()
    party = joined(path, kernel)
    kernel.pass_(2 * SECOND)
    for _ in range(3):
        with locked(path):
            assert party.take() == 1_000_000
        assert party.take() == 0
        kernel.pass_(40 * SECOND)
    party.leave()


def test_while_others_of_a_normal_one_wait_no_low_one_slips_in_between_its_turns(
    path: Path,
) -> None:
    kernel = Kernel()
    low = joined(path, kernel, 50, "low")
    normal = joined(path, kernel, 50)
    kernel.pass_(2 * SECOND)
    for _ in range(5):
        while wait_ns := normal.take(more=True):
            kernel.pass_(wait_ns)
        kernel.pass_(21_000_000)  # its loop is busy; the next turn could be had
        assert low.take() > 0
    while wait_ns := normal.take():
        kernel.pass_(wait_ns)
    kernel.pass_(21_000_000)
    assert low.take() == 0


@pytest.mark.parametrize("is_stopped", [False, True])
def test_another_rate_is_refused_while_somebody_shares_the_file(
    path: Path, is_stopped: bool
) -> None:
    kernel = Kernel()
    one = joined(path, kernel, 50, output="/nightly")
    kernel.pass_(2 * SECOND)
    assert one.take() == 0
    if is_stopped:
        kernel.pass_(3600 * SECOND)
    with pytest.raises(ConfigError) as caught:
        joined(path, kernel, 30)
    said = str(caught.value)
    assert "50 requests a second" in said
    assert "pace.rate_per_s is 30" in said
    assert f"process {os.getpid()} with /nightly" in said
    one.leave()


def test_another_rate_is_refused_for_two_seconds_after_a_turn_and_then_taken(path: Path) -> None:
    kernel = Kernel()
    one = joined(path, kernel, 50)
    kernel.pass_(2 * SECOND)
    assert one.take() == 0
    one.leave()
    kernel.pass_(1_900_000_000)
    with pytest.raises(ConfigError, match="has just ended"):
        joined(path, kernel, 30)
    kernel.pass_(200_000_000)
    other = joined(path, kernel, 30)
    with pytest.raises(ConfigError, match="in use at 30 requests a second"):
        joined(path, kernel, 50)
    other.leave()


def test_another_key_or_address_is_refused(path: Path) -> None:
    kernel = Kernel()
    joined(path, kernel).leave()
    before = open_files()
    with pytest.raises(ConfigError, match="belongs to another vendor address or key"):
        joined(path, kernel, owner=OWNER[::-1])
    assert open_files() == before


def open_files() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the names alone


def test_the_owner_is_told_by_address_key_and_secret_and_shows_none(path: Path) -> None:
    config = load(
        flags={"pace.limit_file": str(path), "vendor.base_url": "https://a.test/v"}
    ).config
    secrets = Secrets("bDqJFiq9", "7bz1lzh9")
    with sharing(config.vendor, config.pace, secrets, Path("out")):
        pass
    for other in (Secrets("bDqJFiq8", "7bz1lzh9"), Secrets("bDqJFiq9", "7bz1lzh8")):
        with (
            pytest.raises(ConfigError, match="another vendor address or key"),
            sharing(config.vendor, config.pace, other, Path("out")),
        ):
            pass
    elsewhere = load(
        flags={"pace.limit_file": str(path), "vendor.base_url": "https://b.test/v"}
    ).config
    with (
        pytest.raises(ConfigError, match="another vendor address or key"),
        sharing(elsewhere.vendor, elsewhere.pace, secrets, Path("out")),
    ):
        pass
    same = load(
        flags={"pace.limit_file": str(path), "vendor.base_url": "https://A.test:443/v/"}
    ).config
    with sharing(same.vendor, same.pace, secrets, Path("out")) as limit:
        assert limit is not None
    for hidden in (b"bDqJFiq9", b"7bz1lzh9", b"a.test"):
        assert hidden not in path.read_bytes()
    # A whole digest would show a short secret to whoever tries them all: 4 of its bytes do not.
    assert 0 not in path.read_bytes()[12:16]
    assert path.read_bytes()[16:44] == bytes(28)


def test_without_a_file_there_is_nothing_to_share(tmp_path: Path) -> None:
    plain = load().config
    with sharing(plain.vendor, plain.pace, Secrets("a", "b"), tmp_path) as limit:
        assert limit is None


def test_another_clock_is_refused_while_it_runs_and_begins_anew_after_it(path: Path) -> None:
    kernel, container = Kernel(), Kernel()
    container.boot = BOOT[::-1]
    kernel.now_ns = 90_000 * SECOND
    one = joined(path, kernel)
    with pytest.raises(ConfigError, match="another machine or container"):
        joined(path, container)
    one.leave()
    other = joined(path, container, 30)
    assert other.take() == SECOND, "by its own clock, which is far behind"
    other.leave()


def leave_nothing(path: Path) -> None:
    path.write_bytes(b"")


def leave_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("lose", [leave_nothing, leave_zeros])
def test_what_a_loss_of_power_leaves_is_made_anew(path: Path, lose: Callable[[Path], None]) -> None:
    kernel = Kernel()
    joined(path, kernel).leave()
    lose(path)
    assert read_sharing(path) is None
    party = joined(path, kernel)
    assert party.take() == SECOND
    party.leave()


def spoil(at: int, new: bytes) -> Callable[[Path], None]:
    def spoiled(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(at)
            file.write(new)

    return spoiled


def cut(path: Path) -> None:
    os.truncate(path, 100)


FOR_EVER = b"\xff" * 7 + b"\x7f"
DAMAGES = {
    "cut": (cut, StoreError, "is damaged"),
    "a flipped byte of the rate": (spoil(61, b"\xff"), StoreError, "is damaged"),
    "a bucket that is full for ever": (spoil(96, FOR_EVER), StoreError, "is damaged"),
    "a push-back of another world": (spoil(104, FOR_EVER), StoreError, "is damaged"),
    "one that waits for ever": (spoil(112, FOR_EVER), StoreError, "is damaged"),
    "another file": (lambda path: path.write_text("notes\n" * 100), ConfigError, "no limit file"),
    "another version": (spoil(8, b"\x02"), StoreError, "is damaged"),
    "a larger file of zeros": (
        lambda path: path.write_bytes(bytes(100_000)),
        ConfigError,
        "no limit file",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_and_left_as_it_is(path: Path, damage: str) -> None:
    how, kind, told = DAMAGES[damage]
    kernel = Kernel()
    joined(path, kernel).leave()
    how(path)
    before = path.read_bytes()
    with pytest.raises(kind, match=told) as caught:
        joined(path, kernel)
    assert path.read_bytes() == before
    assert isinstance(caught.value, HarvesterError)
    assert caught.value.code == (
        "limit_file.damaged" if kind is StoreError else "limit_file.foreign"
    )


def test_a_folder_or_a_device_is_no_limit_file(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/null")):
        with pytest.raises(ConfigError, match="is no file"):
            joined(path, Kernel())
        with pytest.raises(ConfigError, match="is no file"):
            read_sharing(path)


def test_where_a_file_is_in_the_way_of_its_folder_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(StoreError, match="can't be used"):
        joined(tmp_path / "a" / "limit", Kernel())


def test_a_file_that_was_moved_or_replaced_is_seen(path: Path) -> None:
    party = joined(path, Kernel())
    party.refuse_moved()
    moved = path.rename(path.with_name("elsewhere"))
    with pytest.raises(StoreError, match="moved or replaced"):
        party.refuse_moved()
    path.write_bytes(moved.read_bytes())
    with pytest.raises(StoreError, match="moved or replaced"):
        party.refuse_moved()
    moved.replace(path)
    party.refuse_moved()
    spoil(20, b"?")(path)
    with pytest.raises(StoreError, match="is damaged"):
        party.refuse_moved()
    os.truncate(path, 100)
    with pytest.raises(StoreError, match="is damaged"):
        party.take()
    party.leave()


def test_so_many_may_share_it_and_no_more(path: Path) -> None:
    kernel = Kernel()
    parties = [joined(path, kernel) for _ in range(SLOTS)]
    with pytest.raises(ConfigError, match=f"{SLOTS} processes share"):
        joined(path, kernel)
    parties.pop(3).leave()
    parties.append(joined(path, kernel))
    for party in parties:
        party.leave()


def test_who_shares_it_can_be_read(path: Path) -> None:
    assert read_sharing(path) is None
    config = load(flags={"pace.limit_file": str(path), "pace.priority": "low"}).config
    with sharing(config.vendor, config.pace, Secrets("a", "b"), Path("out")):
        found = read_sharing(path)
        assert found is not None
        assert (found.file, found.rate_per_s) == (str(path), 50.0)
        [party] = found.parties
        assert (party.pid, party.priority, party.idle_s) == (os.getpid(), "low", None)
        assert party.output == str(Path("out").absolute())
    left = read_sharing(path)
    assert left is not None
    assert left.parties == ()


def test_who_has_left_is_not_read_any_more_though_others_that_came_later_stay(path: Path) -> None:
    one, other = (
        LimitFile(path, rate_per_s=50, owner=OWNER, output=output) for output in ("/one", "/other")
    )
    one.leave()
    found = read_sharing(path)
    assert found is not None
    assert [party.output for party in found.parties] == ["/other"]
    other.leave()


def test_a_long_path_is_told_by_its_end(path: Path) -> None:
    party = LimitFile(path, rate_per_s=50, owner=OWNER, output="/o" + "x" * 300 + "/end")
    found = read_sharing(path)
    assert found is not None
    assert found.parties[0].output.endswith("x/end")
    assert len(found.parties[0].output) == 112
    party.leave()


def test_the_file_is_for_owner_and_group_whatever_the_umask(path: Path) -> None:
    before = os.umask(0o077)
    try:
        joined(path / "far" / "below" / "limit", Kernel()).leave()
    finally:
        os.umask(before)
    assert (path / "far" / "below" / "limit").stat().st_mode & 0o777 == 0o660


# The pace that takes its turns there


@contextmanager
def paces(path: Path, rate: float, **priorities: Priority) -> Iterator[dict[str, SharedPace]]:
    """By name; on the loop's clock, the file a second old."""

    def now_ns() -> int:
        return int(virtual_loop().time() * SECOND)

    limits = {
        name: LimitFile(
            path,
            rate_per_s=rate,
            owner=OWNER,
            output=name,
            priority=priority,
            now_ns=now_ns,
            clock=BOOT,
        )
        for name, priority in priorities.items()
    }
    opens_at = virtual_loop().time() + 1.0
    try:
        yield {
            name: SharedPace(rate, opens_at=opens_at, limit=limit) for name, limit in limits.items()
        }
    finally:
        for limit in limits.values():
            limit.leave()


async def _work(pace: SharedPace, until: float, times: list[float], *, rest_s: float = 0.0) -> None:
    while virtual_loop().time() < until:
        await pace.opened()
        await pace.turn()
        times.append(virtual_loop().time())
        await asyncio.sleep(rest_s)


@pytest.mark.parametrize("rate", [50, 200, 1_000])
def test_a_backfill_gets_what_the_nightly_run_leaves(path: Path, rate: int) -> None:
    async def main() -> tuple[list[float], list[float]]:
        nightly: list[float] = []
        backfill: list[float] = []
        until = virtual_loop().time() + 6.0
        with paces(path, rate, nightly="normal", backfill="low") as by_name:
            # The nightly run has few connections: it uses a third of the limit at most.
            await asyncio.gather(
                _work(by_name["nightly"], until, nightly, rest_s=3.0 / rate),
                *(_work(by_name["backfill"], until, backfill) for _ in range(8)),
            )
        return nightly, backfill

    nightly, backfill = run_virtually(main)
    assert worst_second(nightly + backfill) <= rate
    assert len(nightly) + len(backfill) >= 0.95 * rate * 5
    assert len(nightly) >= 0.9 * rate / 3 * 5
    assert len(backfill) >= rate


def test_push_back_to_one_closes_all_and_slows_down_that_one(path: Path) -> None:
    async def main() -> None:
        with paces(path, 50, one="normal", other="low") as by_name:
            one, other = by_name["one"], by_name["other"]
            await one.turn()
            one.slow_down(7.0)
            assert not other.take()
            assert 6.9 < other.closed_for_s <= 7.0
            assert not other.is_open
            before = virtual_loop().time()
            await other.turn()
            assert 7.0 <= virtual_loop().time() - before < 7.2
            assert other.rate_per_s == 50
            assert one.rate_per_s == 35

    run_virtually(main)


def as_version_1(closed_until: int, version: int = 1) -> bytes:
    """A file that nobody shares now, packed by hand: another release may be the one that reads."""
    head = struct.pack("<8sI32s16sd", b"cdrlimit", version, OWNER, BOOT, 50.0)
    whole = bytearray(128 + 30 * 128)
    whole[:72] = head + struct.pack("<I", zlib.crc32(head))
    whole[96:120] = struct.pack("<qqq", 0, closed_until, 0)
    return bytes(whole)


def test_a_file_of_version_1_is_read_and_written_as_other_releases_do(path: Path) -> None:
    kernel = Kernel()
    path.write_bytes(as_version_1(kernel.now_ns + SECOND))
    party = joined(path, kernel)
    assert kernel.take(party) == SECOND
    kernel.pass_(SECOND)
    assert kernel.take(party) == 0
    after = path.read_bytes()
    assert len(after) == 3968
    assert after[:96] == as_version_1(0)[:96]
    empty_at, closed_until, _ = struct.unpack_from("<qqq", after, 96)
    assert kernel.now_ns < empty_at < kernel.now_ns + SECOND // 20
    assert closed_until == kernel.now_ns
    latest, pid, is_low, output = struct.unpack_from("<qII112s", after, 128)
    assert (latest, pid, is_low) == (kernel.now_ns, os.getpid(), 0)
    assert output.rstrip(b"\0") == b"/out"
    party.leave()


@pytest.mark.parametrize("size", [40, 1_000, 3_967, 3_969])
def test_a_file_of_another_length_is_damaged(path: Path, size: int) -> None:
    path.write_bytes(as_version_1(0).ljust(4_096, b"x")[:size])
    with pytest.raises(StoreError, match="damaged"):
        joined(path, Kernel())
    assert path.stat().st_size == size


def test_where_the_vendor_wants_no_pause_none_is_told(path: Path) -> None:
    party = LimitFile(path, rate_per_s=50, owner=OWNER, output="/out")
    with path.open("r+b") as file:
        file.seek(96)
        file.write(struct.pack("<qqq", 0, 0, 0))
    found = read_sharing(path)
    assert found is not None
    assert found.closed_s == 0
    party.leave()


@pytest.mark.parametrize("version", [0, 2])
def test_a_whole_file_of_another_version_is_refused_and_left_as_it_is(
    path: Path, version: int
) -> None:
    path.write_bytes(as_version_1(0, version))
    with pytest.raises(ConfigError, match="is of another version of the harvester"):
        joined(path, Kernel())
    assert path.read_bytes() == as_version_1(0, version)


def test_whose_times_are_of_another_clock_tells_nothing_of_who_shares_it(path: Path) -> None:
    party, before = joined(path, Kernel()), open_files()
    assert read_sharing(path) is None
    assert open_files() == before
    party.leave()


def test_how_long_a_process_took_no_turn_and_a_pause_still_lasts_can_be_read(path: Path) -> None:
    moment = time.monotonic_ns() - 10 * SECOND
    party = LimitFile(path, rate_per_s=50, owner=OWNER, output="/out", now_ns=lambda: moment)
    moment += 2 * SECOND
    assert party.take() == 0
    party.close_until(moment + 3_000 * SECOND)
    found = read_sharing(path)
    assert found is not None
    assert found.parties[0].priority == "normal"
    idle_s = found.parties[0].idle_s
    assert idle_s is not None
    assert idle_s >= 8
    assert found.closed_s <= 2_992
    assert idle_s + found.closed_s == pytest.approx(3_000), "both by the clock of this machine"
    party.leave()
