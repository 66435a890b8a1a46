"""`harvester …` with a bug behind the workers: publishing raises, and quotes a customer."""

from __future__ import annotations

from typing import NoReturn

from harvester.cli.main import main
from harvester.pipeline.publish.publisher import Publisher
from tests.security.leaks import KEY, SECRET


def _broken(*_: object) -> NoReturn:
    raise RuntimeError(f"bug at {KEY} {SECRET} +49 151 1234567 8613812345678 \x1b[2J")


setattr(Publisher, "publish", _broken)  # noqa: B010 - of another type, on purpose

if __name__ == "__main__":
    main()
