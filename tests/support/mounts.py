"""Small file systems of our own, to fill and to make read-only."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size_kb: int) -> Iterator[Path]:
    """A tmpfs of `size_kb` at `folder`; skips, saying so, where mounting is not allowed."""
    folder.mkdir(exist_ok=True)
    if not _mount("-t", "tmpfs", "-o", f"size={size_kb}k,mode=0755", "tmpfs", str(folder)):
        pytest.skip("SKIPPED ALOUD: this machine lets nobody mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def resize(folder: Path, size_kb: int) -> None:
    """Give a small disk another size."""
    assert _mount("-o", f"remount,size={size_kb}k", str(folder))


def set_read_only(folder: Path, *, read_only: bool) -> None:
    """Remount a small disk."""
    assert _mount("-o", f"remount,{'ro' if read_only else 'rw'}", str(folder))


def _mount(*arguments: str) -> bool:
    try:
        done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0
