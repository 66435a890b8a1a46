"""The licences of the pinned dependencies, from their own metadata; GPL, AGPL and none fail.

`python tests/licences.py requirements.txt`, in the environment that they are installed in.
"""

from __future__ import annotations

import re
import sys
from email.message import Message
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import cast

_PINNED = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+)", re.MULTILINE)
_REFUSED = re.compile(r"\bA?GPL|GNU (Affero )?General Public", re.IGNORECASE)
_LONG = 60


def main(requirements: str) -> int:
    """Print a line a package; 1 if one of them may not be shipped with ours."""
    refused = []
    for name, version in _PINNED.findall(Path(requirements).read_text()):
        try:
            found = metadata(name)
        except PackageNotFoundError:
            print(f"{name:<24}{version:<14}NOT INSTALLED")
            refused.append(name)
            continue
        licence = licence_of(cast("Message", found))
        print(f"{name:<24}{found['Version']:<14}{licence or 'UNKNOWN'}")
        if is_refused(licence):
            refused.append(name)
    if refused:
        print(f"\nGPL, AGPL or unknown: {', '.join(refused)}", file=sys.stderr)
    return 1 if refused else 0


def is_refused(licence: str) -> bool:
    """Whether a licence is unknown or asks for more than ours; an "or" leaves the choice to us."""
    return all(_REFUSED.search(choice) for choice in licence.split(" OR ")) or not licence


def licence_of(package: Message) -> str:
    """What a package says of its licence: expression, else classifiers, else the short field."""
    expression = package["License-Expression"]
    if expression:
        return str(expression)
    classifiers = [
        text.split(" :: ")[-1]
        for text in package.get_all("Classifier", [])
        if text.startswith("License :: ") and not text.endswith("OSI Approved")
    ]
    told = str(package["License"] or "").strip()
    return ", ".join(classifiers) or (told if "\n" not in told and len(told) <= _LONG else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
