"""A night under Airflow 2.7 or later: put this file into the DAGs folder.

The exit code decides what Airflow does, and the tasks' retries are only for what passes by itself:

    0, 3, 8    success    done; done, some ids are dead; at its own budget, the next night goes on
    5          retry      the vendor was out of reach, or ids are pending
    7          skip       another run works on this output already
    others     fail       2 configuration or input, 4 access denied, 6 output or state,
                          1 a bug: trying again changes nothing, somebody has to look

Key and secret lie in files on the worker (a mounted secret), never in Airflow's variables, whose
values get into rendered templates and logs.
"""

from __future__ import annotations

import os
import subprocess
from datetime import datetime, timedelta, timezone

from airflow.decorators import dag, task
from airflow.exceptions import AirflowException, AirflowFailException, AirflowSkipException

HOME = "/srv/cdr"
HARVESTER = f"{HOME}/.venv/bin/harvester"
CONFIG = ["-c", f"{HOME}/configs/nightly.toml"]
SECRETS = {
    "HARVESTER_API_KEY_FILE": "/etc/harvester/key",
    "HARVESTER_API_SECRET_FILE": "/etc/harvester/secret",
}
SUCCESS = {0, 3, 8}
RETRY = {5, 130, 143}
SKIP = {7}


def harvester(*words: str) -> None:
    """Run one command; its exit code becomes the task's state.

    Its stderr is the task's log. Airflow's SIGTERM reaches the run, which drains in good order.
    """
    code = subprocess.run(
        [HARVESTER, *words, *CONFIG], cwd=HOME, env={**os.environ, **SECRETS}, check=False
    ).returncode
    if code in SUCCESS:
        return
    message = f"harvester {words[0]} ended with exit code {code}"
    if code in SKIP:
        raise AirflowSkipException(message)
    if code in RETRY:
        raise AirflowException(message)
    raise AirflowFailException(message)


@dag(
    schedule="10 1 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,  # one run fetches whatever is carried over: no night is made up for
    max_active_runs=1,
    default_args={"retries": 4, "retry_delay": timedelta(minutes=15)},
    tags=["cdr"],
)
def cdr_harvest() -> None:
    """Doctor, run, verify."""

    @task(retries=1)
    def doctor() -> None:
        harvester("doctor", f"{HOME}/ids")

    @task(execution_timeout=timedelta(hours=6))
    def run() -> None:
        harvester("run", f"{HOME}/ids", "--max-duration", "5h")

    @task
    def verify() -> None:
        harvester("verify")

    doctor() >> run() >> verify()


cdr_harvest()
