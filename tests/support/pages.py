"""What the pages tell a reader to type, taken from them and typed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.simulated import ROOT

_BLOCK = re.compile(r"(?ms)^```(\w*)\n(.*?)^```$")


def blocks(page: str, heading: str, language: str) -> list[str]:
    """The blocks of code in `language` below `heading` ("## Read the data") of a page of ours.

    `page` is relative to the repository.
    """
    text = (ROOT / page).read_text()
    level = len(heading) - len(heading.lstrip("#"))
    found = re.search(rf"(?ms)^{re.escape(heading)}$(.*?)(?=^#{{1,{level}}} |\Z)", text)
    assert found, f"{page} has no heading {heading!r}"
    taken = [code for name, code in _BLOCK.findall(found[1]) if name == language]
    assert taken, f"{page}, {heading!r}: no block of {language!r}"
    return taken


def type_in(
    script: str, folder: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`script` as one shell of somebody who stops at the first error; no setting of ours is set.

    `.venv` of the folder is that of this test, as in a checkout.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HARVESTER_")}
    venv = folder / ".venv"
    if not venv.exists():
        venv.symlink_to(Path(sys.executable).parent.parent)
    return subprocess.run(
        ["bash", "-e", "-u", "-o", "pipefail", "-c", script],
        cwd=folder,
        env={**environment, "PATH": f"{venv}/bin:{environment['PATH']}", **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
