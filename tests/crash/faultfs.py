"""Kill a process at a chosen durable step, let that step fail, or cut the power afterwards.

`faultfs.c` counts the steps.  A power cut is made out of a kill: what was never synced is taken
back.  A file's content becomes that of its last fsync (or nothing); a name that a folder did not
have at its own last fsync is gone, and one that was removed or replaced since is there again with
its old content, or not: as the dice say.  Folders that changed places, or got another name, are
back where they were, unless both parents were synced since.  That is harder than LazyFS, which does
not lose names.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harvester.storage.disk import RealDisk

SOURCE = Path(__file__).with_name("faultfs.c")


@dataclass(frozen=True, slots=True)
class Step:
    """One durable step of a traced process: its number, what it did, and to what kind of file."""

    number: int
    name: str


class FaultFs:
    """The preloaded library, and the files that it writes."""

    def __init__(self, folder: Path, root: Path) -> None:
        """Built in `folder`; watches what lies under `root`.  Skips aloud without a C compiler."""
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            pytest.skip("SKIPPED ALOUD: there is no C compiler to build the fault library with")
        folder.mkdir(parents=True, exist_ok=True)
        self._library = folder / "faultfs.so"
        flags = ["-O1", "-shared", "-fPIC", "-Wall", "-Werror", "-ldl", "-lpthread"]
        subprocess.run([compiler, "-o", self._library, SOURCE, *flags], check=True)
        self._root = root
        self.trace = folder / "trace"
        self._shadow = folder / "shadow"

    def environment(
        self,
        *,
        at: int = 0,
        when: str = "",
        process: str = "harvest_once",
        power: bool = False,
        forget: str | None = None,
    ) -> dict[str, str]:
        """Variables for the process to be hurt; `process` is a part of its command line.

        Syncs of paths that contain `forget` do nothing, as if the code had forgotten them.
        """
        self.trace.unlink(missing_ok=True)
        variables = {
            "LD_PRELOAD": str(self._library),
            "FAULT_ROOT": str(self._root),
            "FAULT_TRACE": str(self.trace),
            "FAULT_AT": str(at),
            "FAULT_WHEN": when,
            "FAULT_PROCESS": process,
        }
        if power:
            self._remember_what_is_there()
            variables["FAULT_SHADOW"] = str(self._shadow)
        if forget is not None:
            variables["FAULT_FORGET"] = forget
        return {**os.environ, **variables}

    def steps(self) -> list[Step]:
        """What the last process did, in order."""
        if not self.trace.exists():
            return []
        lines = (line.split(" ", 2) for line in self.trace.read_text().splitlines())
        return [Step(int(n), f"{op} {_kind(path, self._root)}") for n, op, path in lines]

    def cut_power(self, dice: random.Random) -> None:
        """Take back what the killed process had not made durable."""
        self._undo_moves()
        for path in sorted(self._root.rglob("*"), reverse=True):
            if path.is_dir():
                self._lose_names(path, dice)
            elif path.exists():
                self._lose_bytes(path)
        self._lose_names(self._root, dice)
        for folder in [self._root, *self._root.rglob("*")]:
            if folder.is_dir():
                self._bring_back(folder, dice)

    def _remember_what_is_there(self) -> None:
        """What was there before the process began is durable."""
        shutil.rmtree(self._shadow, ignore_errors=True)
        self._shadow.mkdir()
        for path in [self._root, *self._root.rglob("*")]:
            if path.is_dir():
                names = "\n".join(entry.name for entry in path.iterdir())
                (self._shadow / f"{path.stat().st_ino}.names").write_text(names)
            elif path.is_file():
                shutil.copyfile(path, self._shadow / f"{path.stat().st_ino}.bytes")

    def _undo_moves(self) -> None:
        """Folders back to where they were, the last first."""
        durable: list[tuple[str, str]] = []
        moves = [(int(one.name.split(".")[1]), one) for one in self._shadow.glob("undo.*")]
        for number, kept in sorted(moves, reverse=True):
            operation, source, target = kept.read_text().split("\n")
            if not list(self._shadow.glob(f"wait.{number}.*")):
                if operation == "rename":
                    durable.append((source, target))
                continue
            # A parent that was renamed for good since has its new name.
            places = [_renamed(path, reversed(durable)) for path in (source, target)]
            if not places[1].exists() or (operation == "exchange" and not places[0].exists()):
                continue  # removed since: there is nothing to take back
            if operation == "exchange":
                RealDisk().exchange(*places)
            else:
                places[1].rename(places[0])

    def _lose_names(self, folder: Path, dice: random.Random) -> None:
        kept = self._shadow / f"{folder.stat().st_ino}.names"
        durable = set(kept.read_text().split("\n")) if kept.exists() else set()
        for path in sorted(folder.iterdir()):
            # The folders of the output were made before anything was acknowledged.
            if path.name in durable or path.is_dir() or _is_sqlites(path.name):
                continue
            if dice.random() < 0.5:
                path.unlink()

    def _bring_back(self, folder: Path, dice: random.Random) -> None:
        """The names that were removed or replaced, if that was not durable."""
        for kept in sorted(self._shadow.glob(f"gone.{folder.stat().st_ino}.*")):
            name = kept.name.split(".", 2)[2]
            if not _is_sqlites(name) and dice.random() < 0.5:
                (folder / name).write_bytes(kept.read_bytes())
                (folder / name).chmod(0o600)

    def _lose_bytes(self, path: Path) -> None:
        kept = self._shadow / f"{path.stat().st_ino}.bytes"
        if kept.exists():
            path.write_bytes(kept.read_bytes())
        else:
            path.write_bytes(b"")


def _renamed(path: str, renames: Iterable[tuple[str, str]]) -> Path:
    for source, target in renames:
        if path.startswith(f"{source}/"):
            path = target + path.removeprefix(source)
    return Path(path)


def _is_sqlites(name: str) -> bool:
    """The ledger's own files are SQLite's to make durable, and it syncs their folder."""
    return name.startswith("state.db")


def _kind(path: str, root: Path) -> str:
    """A path with the numbers, dates and process ids taken out: the name of a crash point."""
    relative = os.path.relpath(path, root)
    relative = re.sub(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}", "RUN", relative)
    relative = re.sub(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "DATE", relative)
    relative = re.sub(r"part-[0-9a-f]{8}-[0-9]+-[0-9]+", "part", relative)
    return re.sub(r"[0-9]+", "N", relative)


def chosen(steps: list[Step], *, only: int | None, dice: random.Random) -> list[Step]:
    """The first, second and last step of each name; a random `only` of them if given."""
    by_name: dict[str, list[Step]] = {}
    for step in steps:
        by_name.setdefault(step.name, []).append(step)
    found = {s.number: s for same in by_name.values() for s in (*same[:2], same[-1])}
    ordered = [found[number] for number in sorted(found)]
    return (
        ordered
        if only is None
        else sorted(dice.sample(ordered, min(only, len(ordered))), key=lambda step: step.number)
    )
