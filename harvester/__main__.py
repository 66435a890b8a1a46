"""The `harvester` command, also as `python -m harvester`.

Its own imports take a quarter of a second, and Ctrl-C may come in that too.
"""

from __future__ import annotations

import os
import sys

_INTERRUPTED = 130  # as for every command, and every shell


def main() -> None:
    """Run the command that the arguments name; ends the process."""
    # Libraries open that file as soon as they are loaded, Arrow and aiohttp among them.
    os.environ.pop("SSLKEYLOGFILE", None)
    try:
        from harvester.cli.main import main as run  # here, so that an interrupt ends it quietly
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
