"""Can the tests fail?  `make mutants` puts small faults into the code and runs them.

Theory of operation: a sample of the faults of tests/small_faults.py is drawn by a seed.  Each is
put into a copy of the project, never into the work tree; the copy has an environment of its own,
whose paths begin with the copy, so that processes started by a test import the fault as well.  Of
the quick tests those that fit the module run, until one fails: the fault is found.  One that goes
on until the time is over counts as found too.  A test that fails without the fault proves nothing:
it is run once more on the clean copy, and if it fails there the fault counts as not decided.

Which tests fit: those named like the module, those that import it, and those that
tests/mutants.toml names for it or for its room.

`python -m tests.mutants [--seed N] [--count N] [--jobs N] [PATH …]`: exit 0; or 1 if of at least
`judged_from` faults less than `least_share` was found (tests/mutants.toml), or if one could not be
decided.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from importlib.util import cache_from_source
from itertools import takewhile
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.small_faults import Fault, faults_of

ROOT = Path(__file__).resolve().parents[1]
_COPIED = ("harvester", "tests", "bench", "configs", "docs")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?\.py(?:::\w+)*)", re.MULTILINE)
_TEST_S, _RUN_S = 60, 900
_AROUND = 40
FOUND, SURVIVED, UNDECIDED = "found", "SURVIVED", "not decided"


@dataclass(frozen=True)
class Mutant:
    """A fault, and the file below the root that it is put into."""

    path: str
    fault: Fault

    def __str__(self) -> str:
        new = self.fault.new  # in brackets, unless it is a word
        old, new = _where_they_differ(self.fault.old, new[1:-1] if new[0] == "(" else new)
        return f"{self.path}:{self.fault.line}: {old} -> {new}"


def _where_they_differ(old: str, new: str) -> tuple[str, str]:
    """Both on a line; of long ones only the part that differs, and a little around it."""
    old, new = " ".join(old.split()), " ".join(new.split())
    begin = max(_alike(old, new) - _AROUND, 0)
    end = max(_alike(old[:begin:-1], new[:begin:-1]) - _AROUND, 0)
    shown = (text[begin : len(text) - end] for text in (old, new))
    first, second = (f"{'…' if begin else ''}{text}{'…' if end else ''}" for text in shown)
    return first, second


def _alike(one: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


@dataclass(frozen=True)
class Ending:
    """What became of a mutant; `by` is the test that failed, or why nothing is known."""

    mutant: Mutant
    word: str
    by: str = ""


@cache
def settings(root: Path = ROOT) -> dict[str, Any]:
    """tests/mutants.toml."""
    return tomllib.loads((root / "tests/mutants.toml").read_text())


def drawn(root: Path, seed: int, count: int, places: list[str]) -> list[Mutant]:
    """`count` mutants of the modules at or below `places`, the same ones for the same seed."""
    modules = sorted(
        path for place in places for path in (root / place, *(root / place).rglob("*.py"))
    )
    mutants = [
        Mutant(str(path.relative_to(root)), fault)
        for path in dict.fromkeys(modules)
        if path.suffix == ".py"
        for fault in faults_of(path.read_bytes())
    ]
    return random.Random(seed).sample(mutants, min(count, len(mutants)))


def fitting(root: Path, path: str) -> list[str]:
    """The quick tests that fit a module, the likeliest first; files below `root`."""
    known = settings(root)
    quick = [
        str(file.relative_to(root))
        for folder in known["quick"]
        for file in sorted((root / folder).glob("test_*.py"))
    ]
    module = path.removesuffix(".py").replace("/", ".")
    stem = "_".join(module.split(".")[1:])
    package, name = module.split(".")[1], module.rpartition(".")[2]
    named = [
        file
        for file in quick
        if Path(file).stem in {f"test_{stem}", f"test_{package}_{name}", f"test_{name}"}
    ]
    importing = [file for file in quick if module in _imported(root / file)]
    listed = [
        file
        for prefix in sorted(known["fits"], key=len, reverse=True)
        if path.startswith(prefix)
        for file in known["fits"][prefix]
    ]
    return list(dict.fromkeys([*named, *importing, *listed]))


@cache
def _imported(path: Path) -> frozenset[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=aliases):
                names |= {alias.name for alias in aliases}
            case ast.ImportFrom(module=str(module), names=aliases):
                names |= {module, *(f"{module}.{alias.name}" for alias in aliases)}
    return frozenset(names)


class Copy:
    """A copy of the project below `folder`, with an environment that imports from it alone."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = folder / "project"
        self.root.mkdir(parents=True)
        self._running: subprocess.Popen[str] | None = None
        for name in _COPIED:
            if (root / name).exists():
                shutil.copytree(
                    root / name, self.root / name, ignore=shutil.ignore_patterns("__pycache__")
                )
        for file in root.iterdir():
            if file.is_file():
                shutil.copy2(file, self.root)
        environment = folder / "environment"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
        # A folder that is named in a .pth file has its own .pth files passed over: that of the
        # work tree among them.
        purelib = sysconfig.get_path("purelib")
        [packages] = environment.glob("lib/python*/site-packages")
        (packages / "copy.pth").write_text(f"{self.root}\n{purelib}\n")
        self._python = environment / "bin/python"

    def judge(self, mutant: Mutant, tests: list[str], seed: int) -> Ending:
        """Run `tests` with the fault in its place, which is empty again afterwards."""
        if not tests:
            return Ending(mutant, SURVIVED, "no quick test fits this module")
        file = self.root / mutant.path
        clean = file.read_bytes()
        try:
            self._write(file, mutant.fault.put_into(clean))
            code, text = self._run(tests, seed)
        finally:
            self._write(file, clean)
        if code == 0:
            return Ending(mutant, SURVIVED)
        failed = _FAILED.search(text)
        if failed is None:
            return _without_a_name(mutant, code, text)
        if code in (1, 2) and self._run([failed[1]], seed)[0] != 0:
            return Ending(mutant, UNDECIDED, f"{failed[1]} fails without it too")
        return Ending(mutant, FOUND, failed[1])

    def stop(self) -> None:
        """End what runs in it."""
        if self._running is not None and self._running.poll() is None:
            _end_group(self._running.pid)

    def _write(self, file: Path, source: bytes) -> None:
        file.write_bytes(source)
        # Its compiled form is told from others by size and second alone.
        Path(cache_from_source(str(file))).unlink(missing_ok=True)

    def _run(self, tests: list[str], seed: int) -> tuple[int | None, str]:
        words = ["-x", "-q", "--tb=no", f"--timeout={_TEST_S}", "-p", "no:cacheprovider"]
        words += ["-p", "no:xdist", f"--hypothesis-seed={seed}", *tests]
        environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        process = subprocess.Popen(
            [self._python, "-m", "pytest", *words],
            cwd=self.root,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            errors="replace",
        )
        self._running = process
        try:
            text, _ = process.communicate(timeout=_RUN_S)
        except subprocess.TimeoutExpired:
            text = ""
        finally:  # What a failed test left behind ends as well.
            _end_group(process.pid)
            late = process.poll() is None
            process.wait()
        return (None if late else process.returncode), text


def _without_a_name(mutant: Mutant, code: int | None, text: str) -> Ending:
    if code is None:
        return Ending(mutant, FOUND, "the time was over")
    if "ImportError" in text or "Error while" in text or code < 0:
        return Ending(mutant, FOUND, "nothing runs with it")
    last = text.strip().splitlines()[-1:] or ["nothing said"]
    return Ending(mutant, UNDECIDED, f"pytest ended with {code}: {last[0]}")


def _end_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def endings(root: Path, mutants: list[Mutant], seed: int, jobs: int) -> Iterator[Ending]:
    """What became of each, as it is known."""
    with tempfile.TemporaryDirectory(prefix="cdr-mutants-") as folder:
        idle: SimpleQueue[Copy] = SimpleQueue()
        copies = [Copy(root, Path(folder, str(number))) for number in range(jobs)]
        for copy in copies:
            idle.put(copy)

        def judged(mutant: Mutant) -> Ending:
            copy = idle.get()
            try:
                return copy.judge(mutant, fitting(copy.root, mutant.path), seed)
            finally:
                idle.put(copy)

        pool = ThreadPoolExecutor(jobs)
        try:
            for done in as_completed([pool.submit(judged, mutant) for mutant in mutants]):
                yield done.result()
        finally:  # Also where somebody has seen enough.
            pool.shutdown(wait=False, cancel_futures=True)
            for copy in copies:
                copy.stop()
            pool.shutdown()


def main(words: list[str] | None = None, root: Path = ROOT) -> int:
    """Judge a sample and show each; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("places", nargs="*", default=["harvester"])
    asked = parser.parse_args(words)
    mutants = drawn(root, asked.seed, asked.count, asked.places)
    print(f"mutants: seed {asked.seed}, {len(mutants)} small faults", flush=True)
    counts = {FOUND: 0, SURVIVED: 0, UNDECIDED: 0}
    for ending in endings(root, mutants, asked.seed, max(1, min(asked.jobs, len(mutants)))):
        counts[ending.word] += 1
        by = f"\n{'':14}{ending.by}" if ending.by else ""
        print(f"{ending.word:>12}  {ending.mutant}{by}", flush=True)
    decided = counts[FOUND] + counts[SURVIVED]
    share = counts[FOUND] / decided if decided else 0.0
    others = f", {counts[UNDECIDED]} not decided" if counts[UNDECIDED] else ""
    print(f"mutants: {counts[FOUND]} of {decided} found, {share:.0%}{others}")
    known = settings(root)
    is_enough = share >= known["least_share"] or decided < known["judged_from"]
    return 0 if is_enough and not counts[UNDECIDED] else 1


if __name__ == "__main__":
    sys.exit(main())
