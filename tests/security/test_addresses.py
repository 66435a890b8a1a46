"""Signed headers go to the configured address and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.security.commands import harvester, run
from tests.security.hostile import Ask, HostileVendor
from tests.security.leaks import KEY

IDS = [f"26090212345612{n:04d}" for n in range(40)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ids.txt").write_text("\n".join(IDS))
    return tmp_path


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 T", "308 P"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_redirect_leads_nobody_to_another_port_or_host(
    folder: Path, status: str, host: str
) -> None:
    with HostileVendor(lambda ask: ask.deliver()) as elsewhere:
        port = elsewhere.base_url.rsplit(":", 1)[1].split("/")[0]

        def redirect(ask: Ask) -> None:
            ask.answer(b"", f"Location: http://{host}:{port}{ask.path}", status=status)

        with HostileVendor(redirect) as vendor:
            done = run(vendor.base_url, folder)
        assert elsewhere.connections == 0
    assert done.returncode == 4, done.stderr
    assert "base_url" in done.stderr


def test_a_redirect_to_the_same_place_under_another_scheme_leads_nobody_there(folder: Path) -> None:
    def redirect(ask: Ask) -> None:
        to = f"https://{ask.headers['host']}{ask.path}"
        ask.answer(b"", f"Location: {to}", "Refresh: 0", status="301 Moved")

    with HostileVendor(redirect) as vendor:
        done = run(vendor.base_url, folder)
        # A TLS greeting would have come over a connection without a head that can be read.
        assert vendor.connections <= len(IDS)
        assert {ask.path for ask in vendor.asks} <= {f"/voice/recordGroup/{i}" for i in IDS}
    assert done.returncode == 4, done.stderr


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_of_the_environment_is_told_nothing(folder: Path, name: str) -> None:
    with (
        HostileVendor(lambda ask: ask.deliver()) as vendor,
        HostileVendor(lambda ask: ask.deliver()) as proxy,
    ):
        env = {name: proxy.base_url.removesuffix("/voice"), "NO_PROXY": "", "no_proxy": ""}
        done = run(vendor.base_url, folder, env=env)
        assert proxy.connections == 0
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1/voice",
        "http://vendor.invalid/voice",
        "http://localhost.vendor.invalid/voice",
        "http://127.0.0.1.vendor.invalid/voice",
        "http://2130706433.invalid/voice",
        "HTTP://vendor.invalid/voice",
        f"https://{KEY}:x@vendor.invalid/voice",
        "ftp://vendor.invalid/voice",
        "http://127.0.0.1@vendor.invalid/voice",
    ],
)
def test_an_address_that_is_not_safe_is_refused_before_anything_is_sent(
    folder: Path, url: str
) -> None:
    done = harvester("run", "ids.txt", "--out", "out", "--base-url", url, cwd=folder)
    assert done.returncode == 2
    assert "base_url" in done.stderr
    assert KEY not in done.stderr


def test_plain_http_to_another_machine_is_asked_for_by_name(folder: Path) -> None:
    words = ["config", "check"]
    env = {"HARVESTER_VENDOR__BASE_URL": "http://192.0.2.1/voice"}
    assert harvester(*words, cwd=folder, env=env).returncode == 2
    env["HARVESTER_VENDOR__ALLOW_INSECURE_HTTP"] = "true"
    assert harvester(*words, cwd=folder, env=env).returncode == 0
