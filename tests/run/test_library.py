"""harvester as a library: in any thread, inside a loop, silent, and as exact as the command."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

import harvester
from tests.support.pages import blocks

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "library.md").read_text()
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def vendor() -> Iterator[harvester.Vendor]:
    with harvester.simulate(ids=300) as vendor:
        yield vendor


@pytest.fixture
def config(vendor: harvester.Vendor, tmp_path: Path) -> harvester.Config:
    return configured(vendor, tmp_path)


def configured(vendor: harvester.Vendor, folder: Path, **more: object) -> harvester.Config:
    overrides = {
        "vendor.base_url": vendor.base_url,
        "output.dir": str(folder / "out"),
        "pace.rate_per_s": 2000,
        **{name.replace("__", "."): value for name, value in more.items()},
    }
    return harvester.load_config(overrides=overrides)


def test_a_run_delivers_what_the_output_then_holds(
    vendor: harvester.Vendor, config: harvester.Config, capfd: pytest.CaptureFixture[str]
) -> None:
    handlers = [signal.getsignal(number) for number in SIGNALS]
    seen: list[harvester.Event] = []
    during: list[object] = []

    def on_event(event: harvester.Event) -> None:
        seen.append(event)
        during.extend(signal.getsignal(number) for number in SIGNALS)

    result = harvester.run(config, vendor.secrets, ids=vendor.ids, on_event=on_event)
    counts = result.counts
    assert counts.delivered + counts.open + counts.dead == 300
    assert result.exit_code == (3 if counts.dead else 0)
    assert result.error is None
    assert result.summary["run_id"] == result.run_id
    assert {"run_started", "input_listed", "progress"} <= {event.name for event in seen}
    assert [event for event in seen if event.progress][-1].progress is not None
    assert set(during) == set(handlers)

    output = harvester.open_output(config.output.dir)
    table = output.dataset().to_table()
    assert table.num_rows == counts.delivered
    assert set(table["voice_id"].to_pylist()) <= set(vendor.ids)
    assert len(output.dead_letters()) == counts.dead
    assert len(output.open_calls()) == counts.open
    assert [run.id for run in output.runs()] == [result.run_id]
    assert output.explain(vendor.ids[0]).voice_id == vendor.ids[0]
    (answer,) = output.sql("SELECT count(*) AS calls FROM cdr").to_pylist()
    assert answer == {"calls": counts.delivered}
    assert output.sql("SELECT voice_id FROM dead_letter").num_rows == counts.dead
    assert harvester.verify(config.output.dir).is_clean
    assert capfd.readouterr() == ("", "")


def test_delivered_ids_are_fetched_again_and_compared(
    vendor: harvester.Vendor, config: harvester.Config
) -> None:
    delivered = harvester.run(config, vendor.secrets, ids=vendor.ids).counts.delivered
    some = list(vendor.ids)[:50]
    result = harvester.refetch(config, vendor.secrets, "delivered", ids=[*some, "nobodys-id"])
    found = result.summary["refetch"]
    assert isinstance(found, dict)
    assert found["again"] == found["same"] == 51 - found["outside"]
    since = datetime(2000, 1, 1, tzinfo=UTC)
    result = harvester.refetch(config, vendor.secrets, "delivered", since=since)
    assert isinstance(result.summary["refetch"], dict)
    assert result.summary["refetch"]["same"] == delivered
    assert result.counts.delivered == 0


@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize("at", [date(2026, 11, 1), datetime(2026, 11, 1), "2026-11-01"])  # noqa: DTZ001
def test_what_is_no_instant_is_refused(
    name: str, at: Any, vendor: harvester.Vendor, config: harvester.Config
) -> None:
    between: dict[str, Any] = {name: at}
    with pytest.raises(harvester.HarvesterError, match=f"time zone, and {name} is ") as refused:
        harvester.refetch(config, vendor.secrets, "delivered", **between)
    assert refused.value.code == "usage.date"


def test_by_pages_is_refused_as_the_command_refuses_it(
    vendor: harvester.Vendor, config: harvester.Config
) -> None:
    day = date(2026, 11, 3)

    def code_of(run: Callable[[], object]) -> str:
        with pytest.raises(harvester.HarvesterError) as refused:
            run()
        return refused.value.code

    def fetched(**how: Any) -> str:
        return code_of(lambda: harvester.run(config, vendor.secrets, ids=vendor.ids[:2], **how))

    def again(**how: Any) -> str:
        return code_of(lambda: harvester.refetch(config, vendor.secrets, "delivered", **how))

    assert fetched(first=day, last=day) == "usage.conflict"
    assert fetched(via="page") == again(via="page") == "usage.value"
    harvester.run(config, vendor.secrets, ids=vendor.ids[:2])
    assert fetched(via="pages") == again(via="pages") == "listing.not_compared"
    running = harvester.run_async(config, vendor.secrets, ids=vendor.ids[:2], via="pages")
    assert code_of(lambda: asyncio.run(running)) == "listing.not_compared"


def test_it_works_in_another_thread_and_inside_a_running_loop(
    vendor: harvester.Vendor, tmp_path: Path
) -> None:
    def fetched(name: str) -> int:
        config = configured(vendor, tmp_path / name)
        return harvester.run(config, vendor.secrets, ids=vendor.ids[:20]).counts.requests

    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(fetched("thread")))
    thread.start()
    thread.join()

    async def inside() -> None:
        found.append(fetched("loop"))
        config = configured(vendor, tmp_path / "async")
        run = await harvester.run_async(config, vendor.secrets, ids=vendor.ids[:20])
        found.append(run.counts.requests)

    asyncio.run(inside())
    assert len(found) == 3
    assert min(found) >= 20


def test_paths_and_ids_are_told_apart(
    vendor: harvester.Vendor, config: harvester.Config, tmp_path: Path
) -> None:
    for name, ids in (("a", vendor.ids[:5]), ("b", vendor.ids[5:12])):
        (tmp_path / f"{name}.txt").write_text("\n".join(ids))
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    assert harvester.plan(config, ids=paths).to_fetch == 12
    assert harvester.plan(config, ids=tmp_path / "b.txt").to_fetch == 7
    assert harvester.plan(config, ids=f"{tmp_path}/*.txt").to_fetch == 12
    assert harvester.plan(config, ids=iter(vendor.ids[:3])).to_fetch == 3


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([20260902], "number 1 is no id: it is of type int"),
        (["1", ""], "number 2 is no id: it is empty"),
        (["1\n2"], "number 1 is no id: it is text of several lines"),
        (["1", Path("ids.txt")], "1 paths and 1 ids are mixed"),
    ],
)
def test_what_is_no_id_is_refused_before_anything_is_made(
    config: harvester.Config, vendor: harvester.Vendor, ids: list[str], said: str
) -> None:
    with pytest.raises(harvester.UsageError, match=re.escape(said)):
        harvester.run(config, vendor.secrets, ids=ids)
    assert not Path(config.output.dir).exists()


def test_stop_ends_it_in_good_order_and_the_next_run_goes_on(
    vendor: harvester.Vendor, tmp_path: Path
) -> None:
    config = configured(vendor, tmp_path, pace__rate_per_s=50)
    stop = threading.Event()

    def on_event(event: harvester.Event) -> None:
        if event.progress is not None and event.progress.requests >= 10:
            stop.set()

    first = harvester.run(config, vendor.secrets, ids=vendor.ids, on_event=on_event, stop=stop)
    assert first.exit_code == 130
    assert isinstance(first.error, harvester.Interrupted)
    assert 10 <= first.counts.requests < 300
    quick = configured(vendor, tmp_path)
    second = harvester.run(quick, vendor.secrets, ids=vendor.ids)
    done = [first.counts, second.counts]
    assert sum(one.delivered + one.open + one.dead for one in done) == 300


def test_a_stop_that_is_set_before_the_run_sends_nothing(
    vendor: harvester.Vendor, config: harvester.Config
) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(harvester.Interrupted):
        harvester.run(config, vendor.secrets, ids=vendor.ids, stop=stop)
    paths = Path(config.output.dir).parent / "ids.txt"
    paths.write_text("\n".join(vendor.ids))
    result = harvester.run(config, vendor.secrets, ids=paths, stop=stop)
    assert (result.exit_code, result.counts.requests) == (130, 0)


def test_a_stop_is_heeded_while_the_ids_are_read(
    vendor: harvester.Vendor, config: harvester.Config
) -> None:
    stop = threading.Event()

    def endless() -> Iterator[str]:
        for number in range(10**9):
            if number == 1_000:
                stop.set()
            yield str(number)

    with pytest.raises(harvester.Interrupted):
        harvester.run(config, vendor.secrets, ids=endless(), stop=stop)


def test_a_stop_that_raises_ends_no_run(
    vendor: harvester.Vendor, config: harvester.Config, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def is_set(self) -> bool:
            raise ValueError("a fault of the caller's")

    result = harvester.run(config, vendor.secrets, ids=vendor.ids, stop=Broken())
    assert result.counts.delivered > 0
    assert [record.message for record in caplog.records if record.name == "harvester"] == [
        "stop.is_set raised; it is asked no more"
    ]


def test_cancelling_run_async_ends_it_in_good_order(
    vendor: harvester.Vendor, tmp_path: Path
) -> None:
    config = configured(vendor, tmp_path, pace__rate_per_s=50)
    has_begun = threading.Event()

    def on_event(event: harvester.Event) -> None:
        if event.progress is not None and event.progress.requests:
            has_begun.set()

    async def main() -> None:
        running = asyncio.create_task(
            harvester.run_async(config, vendor.secrets, ids=vendor.ids, on_event=on_event)
        )
        await asyncio.to_thread(has_begun.wait)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    (run,) = harvester.open_output(config.output.dir).runs()
    assert run.exit_code == 130


def test_a_second_cancel_does_not_hold_up_the_loop(
    vendor: harvester.Vendor, tmp_path: Path
) -> None:
    """The run drains in its thread all the same, and the next one waits for its lock."""
    config = configured(vendor, tmp_path, pace__rate_per_s=50)
    has_begun, is_free = threading.Event(), threading.Event()
    waited: list[bool] = []

    def on_event(event: harvester.Event) -> None:
        if event.progress is not None and event.progress.requests:
            has_begun.set()
            # A drain that lasts until the loop has shown that it is not held up by it.
            waited.append(is_free.wait(10))

    async def main() -> None:
        running = asyncio.create_task(
            harvester.run_async(config, vendor.secrets, ids=vendor.ids, on_event=on_event)
        )
        await asyncio.to_thread(has_begun.wait)
        for _ in range(2):
            running.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await running
        is_free.set()

    asyncio.run(main())
    assert False not in waited
    for thread in threading.enumerate():
        if thread.name.startswith("harvester-run"):
            thread.join()
    (run,) = harvester.open_output(config.output.dir).runs()
    assert run.exit_code == 130


@pytest.mark.parametrize("raised", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_callback_that_raises_ends_no_run(
    vendor: harvester.Vendor,
    config: harvester.Config,
    caplog: pytest.LogCaptureFixture,
    raised: type[BaseException],
) -> None:
    calls: list[object] = []

    def on_event(event: harvester.Event) -> None:
        calls.append(event)
        raise raised("a fault of the caller's")

    result = harvester.run(config, vendor.secrets, ids=vendor.ids, on_event=on_event)
    assert result.exit_code in (0, 3)
    assert len(calls) == 1
    assert [record.message for record in caplog.records if record.name == "harvester"] == [
        "on_event raised; it is called no more"
    ]


def test_errors_are_raised_as_they_are_named(
    vendor: harvester.Vendor, config: harvester.Config, tmp_path: Path
) -> None:
    with pytest.raises(harvester.ConfigError, match=r"pace\.rate_per_s"):
        harvester.load_config(overrides={"pace.rate_per_s": -1})
    with pytest.raises(harvester.ConfigError, match=r"no\.such"):
        harvester.load_config(overrides={"no.such": 1})
    with pytest.raises(harvester.UsageError, match="holds no data yet"):
        harvester.open_output(tmp_path)
    denied = harvester.run(config, harvester.Secrets("key", "hushed-secret"), ids=vendor.ids)
    assert denied.exit_code == 4
    assert isinstance(denied.error, harvester.VendorRefused)
    assert "hushed-secret" not in str(denied)


def test_ctrl_c_in_a_script_ends_it_in_good_order(tmp_path: Path) -> None:
    script = """
import os, signal, sys
import harvester

def on_event(event):
    if event.progress and event.progress.requests >= 10 and not sent:
        sent.append(1)
        os.kill(os.getpid(), signal.SIGINT)

sent = []
with harvester.simulate(ids=300) as vendor:
    config = harvester.load_config(
        overrides={"vendor.base_url": vendor.base_url, "output.dir": "out", "pace.rate_per_s": 50}
    )
    try:
        harvester.run(config, vendor.secrets, ids=vendor.ids, on_event=on_event)
    except KeyboardInterrupt:
        (run,) = harvester.open_output("out").runs()
        print("exit", run.exit_code)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.stdout == "exit 130\n", done.stderr


def test_the_page_runs_as_it_stands(tmp_path: Path) -> None:
    (example, *_) = blocks("docs/library.md", "# As a library", "python")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert (tmp_path / "out" / "cdr").is_dir()


@pytest.mark.parametrize("scheduler", ["Airflow", "Dagster"])
def test_a_schedulers_block_can_be_imported(tmp_path: Path, scheduler: str) -> None:
    """Where it is installed (see docs/CONTRIBUTING.md); it needs more packages than harvester."""
    pytest.importorskip(scheduler.lower(), reason=f"{scheduler} is not installed")
    (code,) = blocks("docs/library.md", f"## In {scheduler}", "python")
    (tmp_path / "job.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-c", "import job"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_name_is_on_the_page() -> None:
    assert [name for name in harvester.__all__ if f"`{name}" not in PAGE] == ["__version__"]
