"""The stand-in vendor over real sockets: every fault as a client meets it."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp
import pytest
import trustme

from harvester.simulator import SimulatorOptions, listening
from harvester.simulator.signature import sign
from tests.support.simulated import Simulator

KEY, SECRET = "bDqJFiq9", "7bz1lzh9"
VOICE_ID = "2609021133180000041"
NO_FATES = "dead_param=0,dead_empty=0,dead_range=0,open_then_final=0,open_forever=0,no_record=0"


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    with Simulator(rate_limit=0, fates=NO_FATES, slow_s=0.05, drip_s=1, log_size=50) as simulator:
        yield simulator


@pytest.fixture(autouse=True)
def calm(vendor: Simulator) -> None:
    vendor.post_faults("none", down=False, refuse=None, retry_after=0, clock_skew_s=0, forget=True)


@dataclass(frozen=True)
class Answer:
    code: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def status(self) -> object:
        return json.loads(self.body)["status"]


def signed(skew_s: int = 0) -> dict[str, str]:
    timestamp = str(int(time.time()) + skew_s)
    return {"Api-Key": KEY, "Sign": sign(KEY, SECRET, timestamp), "Timestamp": timestamp}


def ask(
    vendor: Simulator,
    path: str = f"/voice/recordGroup/{VOICE_ID}",
    *,
    headers: dict[str, str] | None = None,
    method: str = "GET",
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", vendor.port, timeout=10)
    try:
        connection.request(method, path, headers=signed() if headers is None else headers)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def test_a_signed_question_gets_its_record(vendor: Simulator) -> None:
    answer = ask(vendor)
    assert answer.code == 200
    assert answer.headers["Content-Type"] == "application/json;charset=UTF-8"
    assert json.loads(answer.body)["data"]["voiceId"] == VOICE_ID


def test_the_same_question_gets_the_same_answer(vendor: Simulator) -> None:
    assert ask(vendor).body == ask(vendor).body


def test_a_question_without_a_signature_is_refused(vendor: Simulator) -> None:
    assert ask(vendor, headers={}).status == "-1"
    assert ask(vendor, headers={**signed(), "Api-Key": "another"}).status == "-1"


def test_a_doubled_header_is_refused(vendor: Simulator) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", vendor.port, timeout=10)
    connection.putrequest("GET", f"/voice/recordGroup/{VOICE_ID}")
    for name, value in [*signed().items(), *signed().items()]:
        connection.putheader(name, value)
    connection.endheaders()
    assert json.loads(connection.getresponse().read())["status"] == "-1"
    connection.close()


def test_an_old_timestamp_has_expired_and_the_date_header_tells_the_vendors_clock(
    vendor: Simulator,
) -> None:
    assert ask(vendor, headers=signed(-3600)).status == "-16"
    vendor.post_faults(clock_skew_s=7200)
    refused = ask(vendor)
    assert refused.status == "-16"
    ahead_s = parsedate_to_datetime(refused.headers["Date"]).timestamp() - time.time()
    assert 7100 < ahead_s < 7300
    assert ask(vendor, headers=signed(7200)).status in ("0", 0)


def test_its_clock_starts_at_the_instant_it_was_given_and_goes_on() -> None:
    begin = datetime(2030, 12, 31, 23, 59, 58, tzinfo=UTC)
    with Simulator(now=begin.isoformat()) as pinned:
        refused = ask(pinned)
        assert refused.status == "-16"
        told = parsedate_to_datetime(refused.headers["Date"])
        assert begin <= told < begin + timedelta(minutes=2)
        ahead_s = round(told.timestamp() - time.time())
        assert ask(pinned, headers=signed(ahead_s)).status in ("0", 0)


@pytest.mark.parametrize(
    "path", ["/", "/voice", "/voice/recordGroup/", "/recordGroup/1", "/voice/recordGroup/1/2"]
)
def test_another_address_is_not_found(vendor: Simulator, path: str) -> None:
    assert ask(vendor, path).code == 404


def test_another_method_is_not_allowed(vendor: Simulator) -> None:
    assert ask(vendor, method="DELETE").code == 405


@pytest.mark.parametrize(
    ("fault", "status"),
    [("busy", "-18"), ("expired", "-16"), ("refused", "-1"), ("unknown", "-99")],
)
def test_a_fault_is_said_in_the_envelope_and_passes(
    vendor: Simulator, fault: str, status: str
) -> None:
    vendor.post_faults(f"{fault}=1", times=2)
    assert [str(ask(vendor).status) for _ in range(3)] == [status, status, "0"]
    assert vendor.stats()["whys"] == {fault: 2, "record": 1}


@pytest.mark.parametrize("code", [500, 502, 503])
def test_a_server_error_carries_no_envelope(vendor: Simulator, code: int) -> None:
    vendor.post_faults(f"http{code}=1", times=1)
    answer = ask(vendor)
    assert answer.code == code
    assert answer.body.startswith(b"<!DOCTYPE html>")


def test_a_redirect_points_elsewhere(vendor: Simulator) -> None:
    vendor.post_faults("redirect=1")
    answer = ask(vendor)
    assert (answer.code, answer.headers["Location"]) == (302, "/voice/elsewhere")


def test_push_back_comes_as_a_status_or_as_http_429(vendor: Simulator) -> None:
    vendor.post_faults("throttle=1")
    answers = [ask(vendor, f"/voice/recordGroup/id{number}") for number in range(20)]
    assert {answer.code for answer in answers} == {200, 429}
    assert all("Retry-After" in answer.headers for answer in answers if answer.code == 429)
    assert all(answer.status == "-15" for answer in answers if answer.code == 200)


def test_a_torn_answer_ends_before_its_length(vendor: Simulator) -> None:
    vendor.post_faults("torn=1")
    with pytest.raises(http.client.IncompleteRead):
        ask(vendor)


def test_a_dripping_answer_never_ends_well(vendor: Simulator) -> None:
    vendor.post_faults("drip=1")
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(vendor)
    assert len(caught.value.partial) == 1


def test_a_reset_is_a_reset_and_no_orderly_end(vendor: Simulator) -> None:
    vendor.post_faults("reset=1")
    with socket.create_connection(("127.0.0.1", vendor.port), timeout=10) as plug:
        plug.sendall(f"GET /voice/recordGroup/{VOICE_ID} HTTP/1.1\r\nHost: a\r\n".encode())
        for name, value in signed().items():
            plug.sendall(f"{name}: {value}\r\n".encode())
        plug.sendall(b"\r\n")
        with pytest.raises(ConnectionResetError):
            plug.recv(1000)


def test_a_vendor_that_is_down_resets_everybody_but_can_be_told_to_get_up(
    vendor: Simulator,
) -> None:
    vendor.post_faults(down=True)
    with pytest.raises(ConnectionError):
        ask(vendor)
    vendor.post_faults(down=False)
    assert ask(vendor).code == 200


def test_a_slow_answer_is_the_right_one(vendor: Simulator) -> None:
    right = ask(vendor)
    vendor.post_faults("slow=1")
    assert ask(vendor).body == right.body


def test_a_web_page_and_nothing_at_all_come_with_http_200(vendor: Simulator) -> None:
    vendor.post_faults("html=1")
    page = ask(vendor)
    assert (page.code, page.body[:9]) == (200, b"<!DOCTYPE")
    vendor.post_faults("empty=1")
    assert (ask(vendor).code, ask(vendor).body) == (200, b"")


def test_envelopes_of_the_wrong_shape_are_still_json(vendor: Simulator) -> None:
    vendor.post_faults("list=1")
    assert isinstance(json.loads(ask(vendor).body), list)
    vendor.post_faults("no_status=1")
    assert set(json.loads(ask(vendor).body)) == {"reason", "data"}
    vendor.post_faults("data_text=1")
    assert isinstance(json.loads(ask(vendor).body)["data"], str)


def test_a_lying_cache_answers_with_another_call(vendor: Simulator) -> None:
    vendor.post_faults("other_id=1")
    assert json.loads(ask(vendor).body)["data"]["voiceId"] != VOICE_ID


def test_a_right_answer_may_be_packed_or_in_chunks(vendor: Simulator) -> None:
    right = ask(vendor)
    vendor.post_faults("gzip=1")
    packed = ask(vendor)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == right.body
    vendor.post_faults("chunked=1")
    chunked = ask(vendor)
    assert chunked.headers["Transfer-Encoding"] == "chunked"
    assert chunked.body == right.body


def test_a_bomb_is_small_on_the_wire_and_a_long_answer_is_not(vendor: Simulator) -> None:
    vendor.post_faults("bomb=1")
    assert len(ask(vendor).body) < 1 << 20
    vendor.post_faults("long=1")
    assert len(ask(vendor).body) > 1 << 20


def test_faults_for_one_id_leave_the_next_one_alone(vendor: Simulator) -> None:
    vendor.post_faults("busy=1", only=[VOICE_ID])
    assert str(ask(vendor).status) == "-18"
    assert str(ask(vendor, "/voice/recordGroup/2609021133180000042").status) == "0"
    vendor.post_faults("none", only=[VOICE_ID])


def test_stats_and_log_tell_what_was_asked_and_answered(vendor: Simulator) -> None:
    for name in ("a", "a", "b"):
        ask(vendor, f"/voice/recordGroup/{name}")
    stats = vendor.stats()
    assert (stats["requests"], stats["statuses"], stats["rate_limit"]) == (3, {"0": 3}, None)
    assert 1 <= stats["worst_window"] <= 3
    assert stats["connections"] >= 3
    assert vendor.asks() == {"a": 2, "b": 1}
    log = vendor.log()
    assert [entry["voice_id"] for entry in log] == ["a", "a", "b"]
    assert [entry["at"] for entry in log] == sorted(entry["at"] for entry in log)


def test_a_wish_that_makes_no_sense_is_answered_with_the_reason(vendor: Simulator) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", vendor.port, timeout=10)
    connection.request("POST", "/_simulator/faults", body=b'{"faults":"buzy=1"}')
    response = connection.getresponse()
    assert response.status == 400
    assert b"buzy" in response.read()
    connection.close()


def test_transient_faults_end_for_every_id() -> None:
    with Simulator(rate_limit=0, fates=NO_FATES, faults="busy=0.5,http500=0.4") as vendor:
        for number in range(20):
            answers = [ask(vendor, f"/voice/recordGroup/id{number}") for _ in range(4)]
            assert (answers[-1].code, str(answers[-1].status)) == (200, "0")
        assert vendor.stats()["whys"]["busy"] > 10


def test_an_enforced_limit_turns_the_next_one_away() -> None:
    with Simulator(rate_limit=1, enforce=True, prefix="/v3/voice") as vendor:
        path = f"/v3/voice/recordGroup/{VOICE_ID}"
        answers = [ask(vendor, path) for _ in range(4)]
        refused = vendor.stats()["over_limit"]
        assert vendor.base_url.endswith("/v3/voice")
        assert refused == sum(answer.code == 429 or answer.status == "-15" for answer in answers)


def test_the_simulator_stops_on_sigterm_and_leaves_a_whole_log(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with Simulator(rate_limit=0, log=log) as vendor:
        ask(vendor, "/voice/recordGroup/a")
        assert vendor.stop() == 0
    assert [json.loads(line)["voice_id"] for line in log.read_text().splitlines()] == ["a"]


def test_a_simulator_that_cannot_start_says_why() -> None:
    with pytest.raises(RuntimeError, match="127.0.0.1, ::1 or localhost"):  # noqa: RUF043
        Simulator(host="0.0.0.0").__enter__()


async def test_with_a_certificate_it_speaks_https_in_this_process_too() -> None:
    authority = trustme.CA()
    server, client = (
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        ssl.create_default_context(),
    )
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    options = SimulatorOptions(host="localhost", ssl_context=server, drift=False)
    async with listening(options) as base_url, aiohttp.ClientSession() as session:
        assert base_url.startswith("https://localhost:")
        address = f"{base_url}/recordGroup/{VOICE_ID}"
        async with session.get(address, headers=signed(), ssl=client) as response:
            assert (await response.json())["data"]["voiceId"] == VOICE_ID
