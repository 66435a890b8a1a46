"""`make mutants` itself: what it changes, what it runs, and that it tells found from survived."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants import ROOT, drawn, fitting, main, settings
from tests.small_faults import faults_of

MODULE = '''"""Text > text."""
from __future__ import annotations

LIMIT = 3


def is_over(number: int, *, really: bool = True) -> bool:
    """Whether number > 3."""
    if not really:
        raise ValueError(f"{number + 1} is not really over")
    return number > LIMIT


def sign(number: int) -> int:
    return -1 if number < 0 else 1
'''
PLANTED = """def is_over(number: int, limit: int) -> bool:
    return number > limit


def is_under(number: int, limit: int) -> bool:
    return number < limit
"""
TESTS = """import subprocess, sys

from harvester.state.made_up import is_over, is_under


def test_in_a_process_of_its_own():
    assert is_under(3, 4)
    code = "from harvester.state.made_up import is_over; print(is_over(3, 3), is_over(4, 3))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert shown.stdout == "False True\\n"
"""


def changed(source: str) -> set[str]:
    """The lines that differ, one of each fault."""
    found = set()
    for fault in faults_of(source.encode()):
        after = fault.put_into(source.encode()).decode()
        compile(after, "made up", "exec")
        [line] = set(after.splitlines()) - set(source.splitlines())
        found.add(line.strip())
    return found


def test_small_faults_of_a_module() -> None:
    assert changed(MODULE) == {
        "LIMIT = 4",
        "LIMIT = 2",
        "def is_over(number: int, *, really: bool = False) -> bool:",
        "if (really):",
        "if True:",
        "if False:",
        "pass",
        "return (number >= LIMIT)",
        "return (-1)",
        "return (1)",
        "return -1 if (number <= 0) else 1",
        "return -1 if number < 1 else 1",
        "return -1 if number < 0 else 2",
        "return -1 if number < 0 else 0",
        "return -2 if number < 0 else 1",
        "return -0 if number < 0 else 1",
    }


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a and b", {"(a or b)", "(a)", "(b)"}),
        ("a == b", {"(a != b)"}),
        ("a + b", {"(a - b)"}),
        ("'é' + f(a)", set()),
        ("d = f(a, b=c)", {"d = (f(a))"}),
        ("d = max(a, b)", {"d = (a)"}),
        ("d = frozenset(a)", {"d = (a)"}),
        ("d = frozenset({a})", set()),
        ("f(a)", {"pass"}),
        ("await asyncio.shield(a)", {"await (a)", "pass"}),
        ("log.warning('it is so', number=1 + a)", {"pass"}),
        ("log.info('it is so', number=1 + a)", set()),
        ("self.a = a > b", {"self.a = (a >= b)", "pass"}),
        ("self.a += b", {"pass"}),
        (
            "d = 'SELECT a FROM b WHERE c > ? AND d = 0 ORDER BY a DESC'",
            {
                "d = 'SELECT a FROM b WHERE c >= ? AND d = 0 ORDER BY a DESC'",
                "d = 'SELECT a FROM b WHERE c > ? OR d = 0 ORDER BY a DESC'",
                "d = 'SELECT a FROM b WHERE c > ? AND d = 1 ORDER BY a DESC'",
                "d = 'SELECT a FROM b WHERE c > ? AND d = 0 ORDER BY a'",
                "d = 'SELECT a FROM b WHERE c > ? AND d = 0'",
            },
        ),
        ("raise AssertionError(a + b)", set()),
        ("del a, b", set()),
        ("del a[b]", {"pass"}),
    ],
)
def test_small_faults_of_a_line(before: str, after: set[str]) -> None:
    source = f"async def f():\n    {before}\n    ...\n"
    assert changed(source) == after


def test_the_same_seed_draws_the_same_faults() -> None:
    first, again, other = (drawn(ROOT, seed, 5, ["harvester/state"]) for seed in (1, 1, 2))
    assert first == again != other
    assert all(mutant.path.startswith("harvester/state/") for mutant in first)
    everything = drawn(ROOT, 1, 10**9, ["harvester"])
    assert len(everything) == len(set(everything)) > 10_000


def test_each_module_has_quick_tests_that_are_there() -> None:
    listed = {file for files in settings(ROOT)["fits"].values() for file in files}
    assert [file for file in sorted(listed) if not (ROOT / file).is_file()] == []
    places = [place for place in settings(ROOT)["fits"] if not (ROOT / place).exists()]
    assert places == []
    with_code = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "harvester").rglob("*.py"))
        if faults_of(path.read_bytes()) and path.name != "__main__.py"
    ]
    assert [path for path in with_code if not fitting(ROOT, path)] == []
    # Named like it, importing it, listed for its room: in this order.
    pace = fitting(ROOT, "harvester/pipeline/limits/pace.py")
    assert pace[0] == "tests/unit/test_pipeline_pace.py"
    assert pace.index("tests/run/test_harvest_pipeline.py") > 0


def test_found_and_survived(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A planted survivor is reported, and what a test sees, in whichever process, is found."""
    project = tmp_path / "project"
    for folder in ("harvester/state", "tests/unit"):
        (project / folder).mkdir(parents=True)
    module = project / "harvester/state/made_up.py"
    module.write_text(PLANTED)
    (project / "tests/unit/test_state_made_up.py").write_text(TESTS)
    (project / "tests/mutants.toml").write_text(
        'quick = ["tests/unit"]\nleast_share = 0.95\njudged_from = 2\n[fits]\n'
    )
    words = ["--seed", "1", "--count", "9", "--jobs", "1", "harvester"]
    assert main(words, root=project) == 1
    assert sorted(capsys.readouterr().out.splitlines()) == [
        "              tests/unit/test_state_made_up.py::test_in_a_process_of_its_own",
        "       found  harvester/state/made_up.py:2: number > limit -> number >= limit",
        "    SURVIVED  harvester/state/made_up.py:6: number < limit -> number <= limit",
        "mutants: 1 of 2 found, 50%",
        "mutants: seed 1, 2 small faults",
    ]
    assert module.read_text() == PLANTED
