"""docs/metrics.md: its alerts ask for metrics that there are and fire when they should; its line
for a Pushgateway pushes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.run.test_cli_commands import KEYS, harvester
from tests.support.pages import blocks, type_in
from tests.support.simulated import Simulator
from tests.unit.test_docs import coded, page, rows
from tests.unit.test_pipeline_prometheus import read

PAGE = "docs/metrics.md"
RULES = blocks(PAGE, "## Alerts worth having", "yaml")[0]
SUCCESS = "cdr_harvester_last_success_timestamp_seconds"


def test_alerts_ask_for_metrics_that_the_page_names() -> None:
    named = {re.sub(r"\{.*", "", coded(cells[0])[0]) for cells in rows(page("metrics"))}
    (group,) = yaml.safe_load(RULES)["groups"]
    asked = set(re.findall(r"cdr_harvester_\w+", " ".join(r["expr"] for r in group["rules"])))
    assert SUCCESS in asked
    assert asked <= named


def fires(at: str, alert: str, fired: bool = True) -> dict[str, Any]:
    return {"eval_time": at, "alertname": alert, "exp_alerts": [{}] if fired else []}


# Every hour is a sample; "_" is none.
CASES = {
    "no file ever came": (
        [],
        [fires("25h", "NoHarvestYet", False), fires("27h", "NoHarvestYet")],
    ),
    "there are runs, but never a success": (
        [("cdr_harvester_run_exit_code", "5x40")],
        [fires("27h", "NoHarvestYet"), fires("27h", "NoHarvestFor26Hours", False)],
    ),
    "the last success grows old": (
        [(SUCCESS, "0x40")],
        [
            fires("25h", "NoHarvestFor26Hours", False),
            fires("27h", "NoHarvestFor26Hours"),
            fires("27h", "NoHarvestYet", False),
        ],
    ),
    "a run at the end of its own budget calls nobody": (
        [("cdr_harvester_run_exit_code", "8x40"), (SUCCESS, "0+3600x40")],
        [
            fires("30h", name, False)
            for name in ("NoHarvestYet", "NoHarvestFor26Hours", "HarvestNeedsAction")
        ],
    ),
    "one that is denied access calls somebody": (
        [("cdr_harvester_run_exit_code", "4x4")],
        [fires("2h", "HarvestNeedsAction")],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_they_fire_when_they_should(tmp_path: Path, name: str) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("SKIPPED: no promtool here (Debian's package prometheus)")
    series, alerts = CASES[name]
    (tmp_path / "rules.yml").write_text(RULES)
    test = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1h",
        "tests": [
            {
                "interval": "1h",
                "input_series": [{"series": one, "values": values} for one, values in series],
                "alert_rule_test": alerts,
            }
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test))
    words = ["promtool", "test", "rules", "test.yml"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def sink() -> Iterator[tuple[int, list[tuple[str, str, str]]]]:
    """A server that takes what it is given: its port, and (method, path, body) of each request."""
    taken: list[tuple[str, str, str]] = []

    class Taking(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            taken.append((self.command, self.path, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Taking) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port, taken
        server.shutdown()
        thread.join()


def test_the_line_for_a_pushgateway_pushes_and_keeps_the_exit_code(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("SKIPPED: no curl here")
    (line,) = blocks(PAGE, "## Without node_exporter", "bash")
    harvester("init", cwd=tmp_path)
    (tmp_path / "ids").mkdir()
    harvester("simulate", "--ids", 20, "ids/calls.txt", cwd=tmp_path)
    with Simulator(rate_limit=0) as vendor, sink() as (port, taken):
        env = {
            **KEYS,
            "HARVESTER_VENDOR__BASE_URL": vendor.base_url,
            "HARVESTER_PACE__PER_DAY": "5",
            "NO_PROXY": "127.0.0.1",
        }
        # A schedule's shell goes on after an error; this one begins with `-e`.
        script = "set +e\n" + line.replace("pushgateway:9091", f"127.0.0.1:{port}")
        done = type_in(script, tmp_path, env)
    assert done.returncode == 8, done.stderr
    ((method, path, body),) = taken
    assert (method, path) == ("PUT", "/metrics/job/cdr_harvester")
    assert body == (tmp_path / "run.prom").read_text()
    found = read(body)
    assert found[("run_exit_code", ())] == 8
    assert ("last_success_timestamp_seconds", ()) in found
