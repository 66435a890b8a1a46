"""The gate before every attempt: when it shuts, whom it lets through, when it gives a run up."""

from __future__ import annotations

import asyncio

import pytest

from harvester.errors import HarvesterError, VendorUnavailable
from harvester.pipeline.limits.health import OUTAGE_ROW, PROBE_EVERY_S
from harvester.pipeline.limits.outage_gate import OutageGate
from tests.support.virtual_time import run_virtually

MAX_OUTAGE_S = 60.0


class Ended:
    """What a gate said when it gave up."""

    def __init__(self) -> None:
        self.reasons: list[HarvesterError] = []
        self.gate = OutageGate(MAX_OUTAGE_S, self.reasons.append)

    def fail(self, at: float, times: int = OUTAGE_ROW) -> None:
        for _ in range(times):
            self.gate.note(at, failed=True)

    @property
    def codes(self) -> list[str]:
        assert all(isinstance(reason, VendorUnavailable) for reason in self.reasons)
        return [reason.code for reason in self.reasons]


def now() -> float:
    return asyncio.get_running_loop().time()


def test_all_pass_an_open_gate_at_once() -> None:
    async def main() -> None:
        ended = Ended()
        began = now()
        assert [await ended.gate.enter() for _ in range(3)] == [False] * 3
        assert now() - began < 0.1
        assert not ended.gate.is_shut
        assert ended.gate.outages == 0

    run_virtually(main)


def test_one_probe_every_5_seconds_passes_a_shut_gate_and_all_the_others_wait() -> None:
    async def main() -> None:
        ended = Ended()
        ended.fail(now())
        shut_at = now()
        assert ended.gate.is_shut
        probes: list[float] = []

        async def attempts() -> None:
            while True:
                assert await ended.gate.enter()
                probes.append(now() - shut_at)

        waiting = [asyncio.create_task(attempts()) for _ in range(3)]
        await asyncio.sleep(4 * PROBE_EVERY_S + 1)
        assert probes == pytest.approx([PROBE_EVERY_S * n for n in (1, 2, 3, 4)], abs=0.01)
        for task in waiting:
            task.cancel()

    run_virtually(main)


def test_the_first_answer_lets_all_through_at_once_and_a_second_outage_is_counted() -> None:
    async def main() -> None:
        ended = Ended()
        gate = ended.gate
        ended.fail(now())
        waiting = [asyncio.create_task(gate.enter()) for _ in range(3)]
        await asyncio.sleep(1)
        gate.note(now(), failed=False)
        began = now()
        assert await asyncio.gather(*waiting) == [False] * 3
        assert now() - began < 0.1, "nobody sleeps until the next probe"
        assert not gate.is_shut
        ended.fail(now())
        assert gate.is_shut
        late = asyncio.create_task(gate.enter())
        await asyncio.sleep(1)
        assert not late.done(), "they wait in the second as in the first"
        assert gate.outages == 2
        late.cancel()

    run_virtually(main)


def test_an_outage_ends_the_run_when_it_outlasts_its_time_and_says_what_failed_last() -> None:
    async def main() -> None:
        ended = Ended()
        ended.gate.latest = "nobody there"
        ended.fail(1000.0)
        ended.fail(1000.0 + MAX_OUTAGE_S, 1)
        assert ended.codes == []
        ended.fail(1000.5 + MAX_OUTAGE_S, 1)
        assert ended.codes == ["vendor.unavailable"]
        assert "nobody there" in str(ended.reasons[0])

    run_virtually(main)


def test_push_back_on_end_ends_the_run_after_the_same_time_and_is_no_outage() -> None:
    async def main() -> None:
        ended = Ended()
        for after_s in (0.0, 30.0, MAX_OUTAGE_S):
            ended.gate.note_throttled(1000.0 + after_s)
        for _ in range(2 * OUTAGE_ROW):
            ended.gate.note_throttled(1000.0 + MAX_OUTAGE_S)
        assert ended.codes == []
        assert not ended.gate.is_shut
        ended.gate.note_throttled(1000.5 + MAX_OUTAGE_S)
        assert ended.codes == ["vendor.throttling"]
        assert "latest failure" not in str(ended.reasons[0]), "there was none"

    run_virtually(main)


@pytest.mark.parametrize("failed", [False, True])
def test_any_other_answer_between_two_push_backs_begins_their_time_anew(failed: bool) -> None:
    async def main() -> None:
        ended = Ended()
        ended.gate.note_throttled(1000.0)
        ended.gate.note(1050.0, failed=failed)
        ended.gate.note_throttled(1055.0)
        ended.gate.note_throttled(1055.0 + MAX_OUTAGE_S)
        assert ended.codes == []

    run_virtually(main)


def test_a_machine_without_descriptors_ends_the_run_after_the_same_time_and_shuts_nothing() -> None:
    async def main() -> None:
        ended = Ended()
        for after_s in (0.0, 30.0, MAX_OUTAGE_S):
            ended.gate.note_exhausted(1000.0 + after_s, "no file descriptor")
        assert ended.codes == []
        ended.gate.note_exhausted(1000.5 + MAX_OUTAGE_S, "no file descriptor")
        assert ended.codes == ["vendor.no_connection"]
        assert "no file descriptor" in str(ended.reasons[0])
        assert not ended.gate.is_shut

    run_virtually(main)


@pytest.mark.parametrize("is_push_back", [False, True])
def test_an_answer_between_shows_that_there_are_descriptors(is_push_back: bool) -> None:
    async def main() -> None:
        ended = Ended()
        ended.gate.note_exhausted(1000.0, "no file descriptor")
        if is_push_back:
            ended.gate.note_throttled(1050.0)
        else:
            ended.gate.note(1050.0, failed=False)
        ended.gate.note_exhausted(1055.0, "no file descriptor")
        ended.gate.note_exhausted(1055.0 + MAX_OUTAGE_S, "no file descriptor")
        assert ended.codes == []

    run_virtually(main)


@pytest.mark.parametrize(("lasted_s", "probes"), [(0.0, 12), (50.0, 3), (600.0, 3)])
def test_an_outage_that_goes_on_is_given_up_when_it_was_long_enough_in_all(
    lasted_s: float, probes: int
) -> None:
    """But not for one bad answer: a few probes of this gate have to fail."""

    async def main() -> None:
        ended = Ended()
        ended.gate.go_on(now() - lasted_s)
        assert ended.gate.is_shut
        sent = 0
        while not ended.codes:
            assert await ended.gate.enter(), "the first at once, the others 5 s apart"
            sent += 1
            await asyncio.sleep(0.001)
            ended.gate.note(now(), failed=True)
        assert sent == probes + 1
        assert ended.codes == ["vendor.unavailable"]
        assert ended.gate.outages == 0, "whoever saw it has counted it"

    run_virtually(main)


def test_an_outage_that_goes_on_is_over_with_the_first_answer() -> None:
    async def main() -> None:
        ended = Ended()
        ended.gate.go_on(now() - 600)
        assert await ended.gate.enter()
        ended.gate.note(now(), failed=False)
        assert (ended.gate.is_shut, ended.gate.since) == (False, None)
        ended.fail(now(), times=40)
        assert (ended.gate.is_shut, ended.codes) == (False, [])

    run_virtually(main)
