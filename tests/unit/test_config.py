"""Settings from file, environment and flags: who wins, what is refused, what is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from harvester.config import (
    Config,
    Monitor,
    Secrets,
    Vendor,
    buffer_bytes,
    effective,
    is_loopback,
    known_secrets,
    load,
    load_mask_key,
    load_secrets,
    proxy_login,
)
from harvester.errors import ConfigError


def refused(match: str, **flags: object) -> str:
    """What `load` says of these flags, section__key=value."""
    with pytest.raises(ConfigError, match=match) as told:
        load(flags={name.replace("__", "."): value for name, value in flags.items()})
    assert told.value.exit_code == 2
    return str(told.value)


def test_flags_come_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "night.toml"
    file.write_text("[pace]\nrate_per_s = 1\nconcurrency = 2\nper_day = 3\n[log]\nlevel='debug'\n")
    environ = {"HARVESTER_PACE__CONCURRENCY": "20", "HARVESTER_PACE__PER_DAY": "30", "PATH": "/"}
    found = load(file, environ=environ, flags={"pace.per_day": 300, "log.level": None})
    pace = found.config.pace
    assert (pace.rate_per_s, pace.concurrency, pace.per_day) == (1, 20, 300)
    assert found.config.log.level == "debug", "a flag that is not given sets nothing"
    told = {key: found.origins[f"pace.{key}"] for key in ("rate_per_s", "concurrency", "per_day")}
    assert told == {
        "rate_per_s": str(file),
        "concurrency": "HARVESTER_PACE__CONCURRENCY",
        "per_day": "flag",
    }
    assert found.origins["output.dir"] == "default"
    assert set(found.origins) == set(effective(found.config))
    given = {"pace.rate_per_s", "pace.concurrency", "pace.per_day", "log.level"}
    assert found.config.given == given


def test_what_is_set_to_its_default_is_set_all_the_same() -> None:
    assert not Config().is_set("vendor.account")
    assert load(flags={"vendor.account": "default"}).config.is_set("vendor.account")
    assert not load(flags={"vendor.account": "default"}).config.is_set("vendor.base_url")
    assert Config(vendor=Vendor(account="acme")).is_set("vendor.account")


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        ("PACE__RATE_PER_S", "0.5", "pace.rate_per_s", 0.5),
        ("VENDOR__ALLOW_INSECURE_HTTP", "true", "vendor.allow_insecure_http", True),
        ("INPUT__PATHS", '["a.txt", "b.csv"]', "input.paths", ("a.txt", "b.csv")),
        ("VENDOR__ACCOUNT", "acme", "vendor.account", "acme"),
        ("MONITOR__METRICS_FILE", "x.prom", "monitor.metrics_file", "x.prom"),
    ],
)
def test_the_environment_names_every_setting(name: str, text: str, key: str, value: object) -> None:
    found = load(environ={f"HARVESTER_{name}": text})
    shown = effective(found.config)[key]
    assert (tuple(shown) if isinstance(shown, list) else shown) == value


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"HARVESTER_PACE__RATE": "1"}, "unknown variable HARVESTER_PACE__RATE"),
        ({"HARVESTER_RATE_PER_S": "1"}, "unknown variable HARVESTER_RATE_PER_S"),
        ({"HARVESTER_PACE__RATE_PER_S": "fast"}, "HARVESTER_PACE__RATE_PER_S: "),
        ({"HARVESTER_INPUT__PATHS": "[a]"}, "HARVESTER_INPUT__PATHS: "),
        ({"HARVESTER_INPUT__PATHS": "[1]"}, "environment: HARVESTER_INPUT__PATHS: "),
        ({"HARVESTER_PACE__RATE_PER_S": "0"}, "HARVESTER_PACE__RATE_PER_S"),
    ],
)
def test_a_variable_that_means_nothing_is_refused_by_its_name(
    environ: dict[str, str], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        load(environ=environ)


def test_secrets_and_others_variables_are_no_settings() -> None:
    environ = {
        "HARVESTER_API_KEY": "k",
        "HARVESTER_API_SECRET_FILE": "/run/secret",
        "HARVESTER_MASK_KEY": "m",
        "HARVEST": "moon",
    }
    assert load(environ=environ).config == Config()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[pace]\nrate = 1\n", r"unknown field `rate`.*\$\.pace"),
        ("[speed]\nrate = 1\n", r"unknown section \[speed\]\. Known are: vendor, pace, "),
        ("pace = 1\n", r"\$\.pace must be a table: \[pace\]"),
        ("given = []\n", "unknown section"),
        ("[pace]\nrate_per_s = 0\n", r"> 0\.0.*\$\.pace\.rate_per_s.*It was set by: .*night\.toml"),
        ("[input]\npaths = [1]\n", r"\$\.input\.paths\[.*It was set by: .*night\.toml"),
        ("[pace]\nconcurrency = 1025\n", r"1024.*\$\.pace\.concurrency"),
        ("[pace]\nconcurrency = 0\n", r">= 1.*\$\.pace\.concurrency"),
        ("[retry]\nbusy_attempts = 0\n", r"busy_attempts"),
        ("[input]\nmax_bad_share = 1.1\n", r"max_bad_share"),
        ("[input]\nmax_bad_share = -0.1\n", r"max_bad_share"),
        ("[output]\nmode = '640'\n", r"mode"),
        ("[plan]\nmemory_limit = '0GB'\n", r"memory_limit"),
        ("[vendor]\ntransport = 'fast'\n", r"transport"),
        ("[vendor]\naccount = ''\n", r"account"),
        ("[vendor\n", r"night\.toml is not TOML"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_key(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "night.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=told):
        load(file)


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml: No such file"):
        load(tmp_path / "gone.toml")
    (tmp_path / "latin.toml").write_bytes(b"[log]\nlevel = '\xe9'\n")
    with pytest.raises(ConfigError, match="is not TOML"):
        load(tmp_path / "latin.toml")


def test_a_flag_that_names_no_setting_is_refused() -> None:
    for key in ("pace.rate", "rate_per_s", "pace", "given"):
        with pytest.raises(ConfigError, match=rf"unknown key '{key}'.*pace\.rate_per_s") as told:
            load(flags={key: None})
        assert told.value.code == "config.unknown_key"


@pytest.mark.parametrize("key", ["output.keep_runs_days", "compact.grace_s"])
def test_a_time_that_may_be_nothing_is_not_below_that(key: str) -> None:
    load(flags={key: 0.0})
    refused(r">= 0\.0", **{key: -0.1})


@pytest.mark.parametrize("limit", [{"pace__concurrency": 1}, {"pace__concurrency": 1024}])
def test_a_limit_itself_is_allowed(limit: dict[str, object]) -> None:
    load(flags={name.replace("__", "."): value for name, value in limit.items()})
    load(flags={"input.max_bad_share": 0.0})
    load(flags={"input.max_bad_share": 1.0, "pace.per_day": 1, "vendor.account": "x" * 64})


@pytest.mark.parametrize(
    "url",
    [
        "ftp://api.example.com/voice",
        "api.example.com/voice",
        "https:///voice",
        "https://api.example.com/voice?x=1",
        "https://api.example.com/voice#x",
        "https://api.example.com:99999/voice",
        "https://api.example.com:0/voice",
        "https://api.example.com:x/voice",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    refused(r"\$\.vendor\.base_url must be http", vendor__base_url=url)


@pytest.mark.parametrize("login", ["me@", "me:pass@", ":pass@"])
def test_an_address_with_a_login_is_refused_and_not_shown(login: str) -> None:
    told = refused("must not carry a user", vendor__base_url=f"https://{login}api.example.com/v")
    assert "pass" not in told.replace("password", "")
    told = refused("must not carry a user", monitor__ping_url=f"https://{login}hc.example.com/v")
    assert "pass" not in told.replace("password", "")


def test_plain_http_to_another_machine_is_refused_unless_it_is_meant() -> None:
    http = "http://10.0.0.1/voice"
    refused("is plain http to another machine", vendor__base_url=http)
    load(flags={"vendor.base_url": http, "vendor.allow_insecure_http": True})
    load(flags={"vendor.base_url": "http://127.0.0.1:8080/voice"})
    for port in (1, 8443, 65_535):
        load(flags={"vendor.base_url": f"https://api.example.com:{port}/voice"})


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://localhost/v", True),
        ("http://127.0.0.1:80/v", True),
        ("http://127.9.9.9/v", True),
        ("http://[::1]:80/v", True),
        ("http://localhost.example.com/v", False),
        ("http://10.0.0.1/v", False),
        ("http://[::2]/v", False),
        ("/v", False),
    ],
)
def test_only_this_machine_is_loopback(url: str, here: bool) -> None:
    assert is_loopback(url) is here


def test_a_time_zone_that_is_none_is_refused() -> None:
    for zone in ("Mars/Olympus", "../etc/passwd", ""):
        refused(r"\$\.output\..*no time zone is named", output__partition_timezone=zone)
        refused(r"\$\.billing\.zone: no time zone is named", billing__zone=zone)
    load(flags={"output.partition_timezone": "Asia/Shanghai"})


@pytest.mark.parametrize("own", ["cdr", "changes", "dropped", "state", "runs"])
def test_a_metrics_file_among_the_outputs_own_files_is_refused(tmp_path: Path, own: str) -> None:
    out = tmp_path / "out"
    for file in (out / own / "x.prom", out / own, out / "new" / ".." / own / "a" / "x.prom"):
        refused("lies among", monitor__metrics_file=str(file), output__dir=str(out))
    for file in (out / "x.prom", tmp_path / own / "x.prom", out / f"{own}.prom"):
        load(flags={"monitor.metrics_file": str(file), "output.dir": str(out)})
    refused("is a folder", monitor__metrics_file=str(tmp_path), output__dir=str(out))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://hc.example.com/x",
        "https:///x",
        "https://hc.example.com/x?a",
        "https://hc.example.com/x#a",
    ],
)
def test_a_ping_address_that_is_none_is_refused_and_not_shown(url: str) -> None:
    told = refused(r"\$\.monitor\.ping_url must be https", monitor__ping_url=url)
    assert url not in told


def test_a_ping_goes_in_plain_http_to_this_machine_alone() -> None:
    refused("ping_url is plain http", monitor__ping_url="http://hc.example.com/x")
    for url in ("http://127.0.0.1:9/x", "https://hc.example.com/x"):
        found = load(flags={"monitor.ping_url": url}).config.monitor
        assert found == Monitor(ping_url=url)


@pytest.mark.parametrize(
    "proxy",
    [
        "ftp://proxy:1",
        "proxy:1",
        "http://tunnel",
        "http://:1",
        "http://proxy:1/path",
        "http://proxy:1?x",
        "http://proxy:1#x",
        "http://:pass@proxy:1",
        "http://a%3Ab:pass@proxy:1",
        "http://proxy:x",
    ],
)
def test_a_proxy_that_is_none_is_refused_and_not_shown(proxy: str) -> None:
    told = refused(r"\$\.vendor\.proxy must be", vendor__proxy=proxy)
    assert proxy not in told


def test_a_proxy_that_would_see_the_key_or_is_not_gone_through_is_refused() -> None:
    proxy, http = "http://tunnel.example:3128", "http://127.0.0.1:8080/voice"
    refused("only vendor.transport", vendor__proxy=proxy, vendor__transport="lean")
    refused("the proxy would see the API key", vendor__proxy=proxy, vendor__base_url=http)
    meant = {"vendor.base_url": http, "vendor.allow_insecure_http": True}
    assert load(flags={"vendor.proxy": proxy, **meant}).config.vendor.proxy == proxy


def test_a_proxys_login_is_never_shown() -> None:
    config = load(flags={"vendor.proxy": "http://me:p%40ss@proxy.example.com:3128/"}).config
    assert effective(config)["vendor.proxy"] == "http://***@proxy.example.com:3128"
    assert proxy_login("http://me:p%40ss@proxy:1") == ("me", "p@ss")
    assert proxy_login("http://me@proxy:1") == ("me", "")
    assert proxy_login("http://proxy:1") is None
    plain = load(flags={"vendor.proxy": "http://proxy.example.com:3128"}).config
    assert effective(plain)["vendor.proxy"] == "http://proxy.example.com:3128"
    assert set(known_secrets({}, config)) == {"me:p%40ss", "p@ss", "p%40ss"}
    assert known_secrets({}, plain) == ()
    # Also one that is not read yet, or is no address at all.
    found = known_secrets({"HARVESTER_VENDOR__PROXY": "me:pass@proxy"})
    assert set(found) == {"me:pass", "pass"}


def test_every_secret_that_is_set_is_known_also_one_that_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(" from-file\n")
    environ = {
        "HARVESTER_API_KEY": "key",
        "HARVESTER_API_SECRET_FILE": str(file),
        "HARVESTER_MASK_KEY": "mask",
        "HARVESTER_MASK_KEY_FILE": str(file),
    }
    assert set(known_secrets(environ)) == {"key", "from-file", "mask"}
    assert known_secrets({}) == known_secrets({}, Config()) == ()


def test_key_and_secret_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("secret\n")
    environ = {"HARVESTER_API_KEY": "key", "HARVESTER_API_SECRET_FILE": str(file)}
    found = load_secrets(environ)
    assert found == Secrets("key", "secret")
    assert "secret" not in repr(found).replace("Secrets", "")
    assert "key" not in repr(found)
    with pytest.raises(ConfigError, match="both HARVESTER_API_KEY and HARVESTER_API_KEY_FILE"):
        load_secrets({**environ, "HARVESTER_API_KEY_FILE": str(file)})
    for missing in ("HARVESTER_API_KEY", "HARVESTER_API_SECRET_FILE"):
        name = missing.removeprefix("HARVESTER_").removesuffix("_FILE").lower().replace("_", " ")
        with pytest.raises(ConfigError, match=f"the vendor's {name} is missing"):
            load_secrets({key: value for key, value in environ.items() if key != missing})
    for name, read in (("API_KEY", load_secrets), ("MASK_KEY", load_mask_key)):
        for nothing in (b"", b" \r\n", b"\xef\xbb\xbf"):
            file = tmp_path / "empty"
            file.write_bytes(nothing)
            with pytest.raises(ConfigError, match=rf"HARVESTER_{name}_FILE: {file} is empty\."):
                read({f"HARVESTER_{name}_FILE": str(file), "HARVESTER_API_SECRET": "secret"})
    with pytest.raises(ConfigError, match=r"HARVESTER_API_SECRET_FILE: .*can't be read"):
        load_secrets({**environ, "HARVESTER_API_SECRET_FILE": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"/dev/zero holds no secret: it is too long"):
        load_secrets({**environ, "HARVESTER_API_SECRET_FILE": "/dev/zero"})


@pytest.mark.parametrize("key", ["pace.rate_per_s", "vendor.timeout_s", "retry.max_outage_s"])
@pytest.mark.parametrize("value", ["inf", "nan"])
def test_a_number_without_an_end_is_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=key):
        load(flags={key: float(value)})


@pytest.mark.parametrize("key", ["vendor.base_url", "monitor.ping_url"])
@pytest.mark.parametrize("url", ["http://[::1/voice", "https://[x]/y", "https://a]b/"])
def test_an_address_with_half_a_bracket_is_refused(key: str, url: str) -> None:
    with pytest.raises(ConfigError, match=key):
        load(flags={key: url})


@pytest.mark.parametrize("value", ["clé", "a\nb", "a\x7f"])
def test_a_secret_that_no_header_can_hold_is_refused_and_not_shown(value: str) -> None:
    environ = {"HARVESTER_API_KEY": value, "HARVESTER_API_SECRET": "secret"}
    with pytest.raises(ConfigError, match="HARVESTER_API_KEY holds characters") as told:
        load_secrets(environ)
    assert value not in str(told.value)


def test_the_key_of_the_masks_is_long() -> None:
    assert load_mask_key({"HARVESTER_MASK_KEY": "k" * 32}) == "k" * 32
    with pytest.raises(ConfigError, match="is too short") as told:
        load_mask_key({"HARVESTER_MASK_KEY": "k" * 31})
    assert "k" * 31 not in str(told.value)
    with pytest.raises(ConfigError, match="the key of the masks is missing"):
        load_mask_key({})


@pytest.mark.parametrize(
    ("limit", "size"),
    [
        ("400MB", 250_000_000),
        ("1GB", 850_000_000),
        ("1GiB", 2**30 - 150_000_000),
        ("400MiB", 400 * 2**20 - 150_000_000),
        ("900000KB", 750_000_000),
        ("900000KiB", 900_000 * 1024 - 150_000_000),
        # With less than twice of what stands beside its buffers, DuckDB has half.
        ("301MB", 151_000_000),
        ("299MB", 149_500_000),
        ("100MB", 50_000_000),
    ],
)
def test_what_duckdb_may_hold_under_a_memory_limit(limit: str, size: int) -> None:
    assert buffer_bytes(limit) == size


@pytest.mark.parametrize("limit", ["400", "MB", "400 MB", "4e2MB", "400TB", "-1GB"])
def test_a_memory_limit_that_is_no_size_is_refused(limit: str) -> None:
    with pytest.raises(ConfigError, match=r"plan\.memory_limit: .* isn't a size"):
        buffer_bytes(limit)


@pytest.mark.parametrize(
    ("mode", "number"), [("0640", 0b110_100_000), ("0777", 0b111_111_111), ("0600", 0b110_000_000)]
)
def test_the_mode_of_files_is_octal(mode: str, number: int) -> None:
    assert load(flags={"output.mode": mode}).config.output.file_mode == number


def test_an_empty_limit_file_is_none_and_lets_workers_in() -> None:
    named = {"HARVESTER_PACE__LIMIT_FILE": "limit", "HARVESTER_WORKERS__COUNT": "2"}
    with pytest.raises(ConfigError, match="no other process may use the key meanwhile"):
        load(environ=named)
    assert load(environ={**named, "HARVESTER_WORKERS__COUNT": "0"}).config.pace.limit_file
    config = load(environ={**named, "HARVESTER_PACE__LIMIT_FILE": ""}).config
    assert config.pace.limit_file is None
    assert config.workers.count == 2
