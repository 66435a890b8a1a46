"""`harvester …` with a bug in it: judging an answer raises, and quotes all that it had in hand.

`python tests/security/broken_run.py run …`; the bug is in this process only.
"""

from __future__ import annotations

from typing import NoReturn

from harvester.cli.main import main
from harvester.client.sign import signed_headers
from harvester.pipeline.engine import fetcher
from tests.security.leaks import KEY, SECRET


def _broken(voice_id: str, reply: object, now: float) -> NoReturn:
    from harvester.config import Secrets

    headers = signed_headers(Secrets(KEY, SECRET), int(now))
    raise RuntimeError(f"bug at {headers} {voice_id} +49 151 1234567 8613812345678 \x1b[2J")


vars(fetcher)["judge"] = _broken

if __name__ == "__main__":
    main()
