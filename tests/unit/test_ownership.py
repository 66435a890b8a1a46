"""What this user may not read or change of an output, and what is said of it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from harvester.errors import StoreError
from harvester.state.database import get_meta, open_database, set_meta
from harvester.state.read_only import has_state, looking
from harvester.storage.output import Output
from harvester.storage.ownership import CHANGE, READ, explained, refuse_closed

NOBODY, UNKNOWN = 65534, 54_321

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")


@contextmanager
def nobody() -> Iterator[None]:
    """This process is another user's."""
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.fixture
def out() -> Iterator[Path]:
    """An output of root's, within reach of another user."""
    place = Path(tempfile.mkdtemp(prefix="harvester-owner-"))
    place.chmod(0o711)  # it may be gone through, not looked into
    (place / "out/state").mkdir(parents=True)
    for name, mode in (("open", 0o644), ("closed", 0o600), ("for all", 0o666)):
        (place / "out/state" / name).touch()
        (place / "out/state" / name).chmod(mode)
    for folder in (place / "out", place / "out/state"):
        folder.chmod(0o711)
    yield place / "out"
    shutil.rmtree(place)


def refused(out: Path, path: Path, wanted: int) -> str:
    """What is said of it to another user, who asks for more than it."""
    with nobody(), pytest.raises(StoreError) as told:
        refuse_closed(out, [out / "missing", path, out / "state/closed"], wanted)
    assert told.value.code == "output.permission"
    return str(told.value)


@pytest.mark.parametrize(
    ("name", "wanted", "closed"),
    [
        ("state/open", READ, False),
        ("state/open", CHANGE, True),
        ("state/closed", READ, True),
        ("state/for all", CHANGE, False),
        ("state", READ, True),
        ("state/missing", CHANGE, False),
        ("missing/missing", CHANGE, False),
    ],
)
def test_what_is_closed_to_this_user_is_refused_by_its_name(
    out: Path, name: str, wanted: int, closed: bool
) -> None:
    if closed:
        assert refused(out, out / name, wanted).startswith(
            f"{out / name} belongs to root, and nobody, who runs this command, may not use it. "
            f"Run it as root, or give the whole output to nobody: `sudo chown -R nobody {out}`"
        )
    else:
        with nobody():
            refuse_closed(out, [out / name, out / name], wanted)


def test_a_folder_that_hides_the_rest_is_named_itself(out: Path) -> None:
    (out / "state").chmod(0o600)
    told = refused(out, out / "state/for all", READ)
    assert told.startswith(f"{out / 'state'} belongs to root"), "all may use that file"


def test_what_is_this_users_own_is_to_be_opened_not_given_away(out: Path) -> None:
    os.chown(out / "state/closed", NOBODY, NOBODY)
    (out / "state/closed").chmod(0o200)
    told = refused(out, out / "state/closed", READ)
    assert told.startswith(f"{out / 'state/closed'} is closed to nobody, whose own it is")
    assert f"chmod -R u+rwX {out}" in told


def test_a_user_without_a_name_is_told_by_number(out: Path) -> None:
    os.chown(out / "state/closed", UNKNOWN, UNKNOWN)
    told = refused(out, out / "state/closed", READ)
    assert f"closed belongs to {UNKNOWN}, and nobody" in told


@pytest.mark.parametrize("is_text", [True, False])
def test_an_error_of_the_system_is_told_with_both_users(out: Path, is_text: bool) -> None:
    path = out / "state/closed"
    error = PermissionError(13, "Permission denied", str(path) if is_text else os.fsencode(path))
    with nobody():
        told = explained(out, error)
    assert str(told).startswith(f"{path} belongs to root, and nobody")
    assert told.code == "output.permission"
    (out / "state").chmod(0o600)
    with nobody():
        assert str(explained(out, error)).startswith(f"{out / 'state'} belongs to root")


@pytest.mark.parametrize("name", [None, 7])
def test_an_error_that_names_no_file_is_about_the_output(out: Path, name: int | None) -> None:
    with nobody():
        told = explained(out, PermissionError(13, "Permission denied", name))
    assert str(told).startswith(f"{out} belongs to root")


def test_an_error_about_what_is_open_by_now_names_that(out: Path) -> None:
    path = out / "state/for all"
    with nobody():
        told = explained(out, PermissionError(13, "Permission denied", str(path)))
    assert str(told).startswith(f"{path} belongs to root")


@pytest.mark.parametrize("file_mode", [0o644, 0o666])
def test_who_may_only_read_an_output_looks_at_its_ledger_and_changes_nothing(
    out: Path, file_mode: int
) -> None:
    output = Output(out)
    with closing(open_database(output.database, "acme")) as db:
        set_meta(db, "mark", "seen")
    output.lock.touch()
    output.lock.chmod(0o644)
    output.state.chmod(0o755)
    output.database.chmod(file_mode)
    before = output.database.read_bytes()
    with nobody():
        assert has_state(output)
        with looking(output, "status") as db:
            assert get_meta(db, "mark") == "seen"
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                set_meta(db, "mark", "changed")
    assert output.database.read_bytes() == before


def test_whether_there_is_a_ledger_is_not_known_to_who_may_not_read_it(out: Path) -> None:
    output = Output(out)
    open_database(output.database, "acme").close()
    with nobody(), pytest.raises(StoreError, match=r"state belongs to root, and nobody"):
        has_state(output)
