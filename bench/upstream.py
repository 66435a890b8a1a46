"""nginx in the vendor's place: two ports of the same answers, one at once, one after 50 ms.

The faster the upstream, the more of what is measured is the client's.  nginx makes an answer out
of the id's digits (see `ids`), so the output can be checked, and holds the slow ones back on a
timer (its echo module): no thread or process a request.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.places import BenchError

INSTALL = "apt-get install nginx-light libnginx-mod-http-echo"
LATENCY_S = 0.05

_ECHO = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")
_READY_WITHIN_S = 10.0

_ID = (
    r"^/voice/recordGroup/(?<voice_id>(?<yy>\d\d)(?<mo>\d\d)(?<dd>\d\d)(?<hh>\d\d)(?<mi>\d\d)"
    r"(?<s1>\d)(?<s2>\d)(?<d1>\d)(?<mid>\d\d)(?<tail>\d\d(?<d6>\d)(?<d7>\d)))$"
)
_BODY = (
    '{"status":"0","reason":"success","data":{"voiceId":"$voice_id","callee":"9185632$d1$tail",'
    '"displayNum":"1008122211","code":"Afghanistan(Kandahar)",'
    '"submitTime":"$at:$s1$s2+08:00","callTime":"$at:3$s2+08:00","ringingTime":"$at:3$s2+08:00",'
    '$answer"hangupTime":"$at:5$s2+08:00","callDuration":$secs,"chargedDuration":$secs,'
    '"terminationCode":"200","terminationReason":"success","cost":"$d1.$tail",'
    '"billPeriod":"20+20","rate":"1.2","baseCost":"1",'
    '"voiceFileId":"12022022570cc2484c59d4f8b9745$voice_id.mp3",'
    '"feedbackValue":"$d7","calledInfo":"",$settle}}'
)
# The moment it came: the log's own $msec is that of the answer's end.
_ANSWER = f"""set $came $msec;
      set $at "20$yy-$mo-${{dd}}T$hh:$mi";
      return 200 '{_BODY}';"""
_HELD_BACK = f"""set $came $msec;
      echo_sleep {LATENCY_S};
      echo_exec @answer;"""
_CONF = r"""
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
worker_rlimit_nofile 65536;
events {{ worker_connections 16384; multi_accept on; }}
http {{
  log_format came "$came";
  access_log {log};
  default_type "application/json;charset=UTF-8";
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  tcp_nodelay on;
  server_tokens off;
  map $d6$d7 $secs {{ default $d6$d7; ~^0(?<x>\d)$ $x; }}
  map $d7 $answer {{ default '"answerTime":"$at:4$s2+08:00",'; 9 '"answerTime":"",'; }}
  map $d7 $settle {{
    default
      '"settleRate":"1.2793","quoteExchange":"0.938","currency":"EUR","settlePay":"$d1.$tail"';
    ~[02468] '"settleRate":"","quoteExchange":"","currency":"USD","settlePay":""';
  }}
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{fast} backlog=4096;
    location ~ "{id}" {{
      {answer}
    }}
  }}
  server {{
    listen 127.0.0.1:{slow} backlog=4096;
    location ~ "{id}" {{
      {held_back}
    }}
    location @answer {{
      {answer_again}
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Upstream:
    """A running nginx; addresses without a path."""

    fast: str
    slow: str
    log: Path | None
    pid: int

    def address(self, *, slow: bool = False) -> str:
        """One of the two."""
        return self.slow if slow else self.fast

    def arrivals(self) -> list[float]:
        """The Unix times at which requests came, in order; for one that was started `logged`."""
        assert self.log is not None
        time.sleep(1.1)  # the log is written once a second
        return sorted(float(line) for line in self.log.read_text().split())


@contextmanager
def upstream(*, logged: bool = False) -> Iterator[Upstream]:
    """nginx for as long as the `with` lasts.  Raises BenchError where there is none."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None or not _ECHO.exists():
        raise BenchError(f"the benchmarks need nginx with its echo module: {INSTALL}")
    with tempfile.TemporaryDirectory(prefix="cdr-bench-nginx-") as name:
        folder = Path(name)
        log = folder / "came.log" if logged else None
        fast, slow = _free_ports()
        conf = folder / "nginx.conf"
        conf.write_text(_configuration(folder, fast, slow, log))
        command = [nginx, "-p", name, "-e", f"{name}/error.log", "-c", str(conf)]
        with subprocess.Popen(command) as process:
            try:
                _wait_for(process, fast)
                yield Upstream(_at(fast), _at(slow), log, process.pid)
            finally:
                process.terminate()


def _configuration(folder: Path, fast: int, slow: int, log: Path | None) -> str:
    text = _CONF.format(
        folder=folder,
        log=f"{log} came buffer=256k flush=1s" if log else "off",
        fast=fast,
        slow=slow,
        id=_ID,
        answer=_ANSWER,
        answer_again=_ANSWER.removeprefix("set $came $msec;"),
        held_back=_HELD_BACK,
    )
    return f"load_module {_ECHO};\n{text}"


def _at(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _free_ports() -> tuple[int, int]:
    here = ("127.0.0.1", 0)
    with socket.create_server(here) as one, socket.create_server(here) as two:
        return one.getsockname()[1], two.getsockname()[1]


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise BenchError("nginx did not start; what it said is above.")
