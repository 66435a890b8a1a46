"""Configuration: TOML, environment and flags become one frozen `Config`; secrets stay apart.

Precedence, highest first: flags, environment (`HARVESTER_<SECTION>__<KEY>`; lists as JSON),
the TOML file, the defaults below.  Unknown keys and unknown `HARVESTER_*` names are refused with
their path: a misspelt limit that is silently ignored would be a broken promise to the vendor.

Secrets come from `HARVESTER_API_KEY` and `HARVESTER_API_SECRET`, or from the files named by
`HARVESTER_API_KEY_FILE` and `HARVESTER_API_SECRET_FILE` (systemd credentials, Kubernetes secrets);
never from a flag (it would show in `ps`) and never from the TOML file (it gets committed).  So does
the key of the masks, `HARVESTER_MASK_KEY`, which only `export --mask` needs.
"""

from __future__ import annotations

import ipaddress
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints
from urllib.parse import SplitResult, unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from harvester.errors import ConfigError

ENV_PREFIX = "HARVESTER_"
SECRETS = ("API_KEY", "API_SECRET", "MASK_KEY")
SECRET_NAMES = (*SECRETS, *(f"{name}_FILE" for name in SECRETS))
SHORTEST_MASK_KEY = 32
"""Characters: 128 bits in hex.  Phone numbers are few, so only the key keeps masks from being
tried out."""

Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Mode = Annotated[str, Meta(pattern=r"^0[0-7]{3}$")]
Memory = Annotated[str, Meta(pattern=r"^[1-9][0-9]*(KB|MB|GB|KiB|MiB|GiB)$")]
Account = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,64}$")]
_SIZES = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_BESIDE_BYTES = 150_000_000
Priority = Literal["normal", "low"]
DateBy = Literal["submit", "answer", "hangup"]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A TOML table; a key that it doesn't name is refused."""


class Vendor(_Section, frozen=True, kw_only=True):
    """[vendor]: whom to ask, and how long to wait."""

    base_url: str = "https://api.itniotech.com/voice"
    account: Account = "default"
    timeout_s: Positive = 15.0
    allow_insecure_http: bool = False
    transport: Literal["aiohttp", "lean"] = "aiohttp"
    proxy: Annotated[str, Meta(min_length=1)] | None = None


class Pace(_Section, frozen=True, kw_only=True):
    """[pace]: the vendor's limit.  `rate_per_s` is never exceeded in any sliding second."""

    rate_per_s: Positive = 50.0
    concurrency: Annotated[int, Meta(ge=1, le=1024)] = 64
    per_day: Count | None = None
    limit_file: str | None = None
    priority: Priority = "normal"


class Workers(_Section, frozen=True, kw_only=True):
    """[workers]: processes that fetch beside this one; with 0 it fetches alone."""

    count: Annotated[int, Meta(ge=0, le=64)] = 0
    engine: Literal["local", "ray"] = "local"
    ray_address: Annotated[str, Meta(min_length=1)] = "auto"


class Retry(_Section, frozen=True, kw_only=True):
    """[retry]: budgets of one id in one run, and of the run in an outage."""

    busy_attempts: Count = 8
    network_attempts: Count = 5
    backoff_initial_s: Positive = 0.5
    backoff_max_s: Positive = 30.0
    max_runs: Count = 7
    max_outage_s: Positive = 900.0


class OpenCalls(_Section, frozen=True, kw_only=True):
    """[open_calls]: when a call that isn't over or rated is fetched again, and when that ends."""

    delays_s: Annotated[tuple[Positive, ...], Meta(min_length=1)] = (600, 3600, 21600, 86400)
    max_age_s: Positive = 950400.0
    unrated_max_age_s: Positive = 259200.0
    free_destinations: tuple[Annotated[str, Meta(min_length=1)], ...] = ()


class Input(_Section, frozen=True, kw_only=True):
    """[input]: the id files, where the command line names none."""

    paths: tuple[str, ...] = ()
    allow_empty: bool = False
    column: Annotated[str, Meta(min_length=1)] = "voiceId"
    max_bad_share: Share = 0.5
    min_age_s: Annotated[float, Meta(ge=0, le=5_184_000)] = 0.0


class Output(_Section, frozen=True, kw_only=True):
    """[output]: where the data set goes, and in what portions."""

    dir: Annotated[str, Meta(min_length=1)] = "data"
    partition_timezone: str = "UTC"
    publish_records: Count = 250_000
    publish_bytes: Count = 100_663_296
    publish_after_s: Positive = 3600.0
    mode: Mode = "0640"
    omit_fields: tuple[Annotated[str, Meta(min_length=1)], ...] = ()
    keep_runs_days: NotNegative = 90.0

    @property
    def file_mode(self) -> int:
        """`mode` as the system wants it."""
        return int(self.mode, 8)


class Plan(_Section, frozen=True, kw_only=True):
    """[plan]: making the work list."""

    memory_limit: Memory = "400MB"


class Compact(_Section, frozen=True, kw_only=True):
    """[compact]: files of the data set take the place of others."""

    grace_s: NotNegative = 3600.0


class Billing(_Section, frozen=True, kw_only=True):
    """[billing]: what a day and a month mean where calls and money are counted."""

    zone: str = "Asia/Shanghai"
    date_by: DateBy = "submit"


class Log(_Section, frozen=True, kw_only=True):
    """[log]: messages on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Monitor(_Section, frozen=True, kw_only=True):
    """[monitor]: who else is told how a run is doing."""

    metrics_file: Annotated[str, Meta(min_length=1)] | None = None
    ping_url: Annotated[str, Meta(min_length=1)] | None = None


class Config(_Section, frozen=True, kw_only=True):
    """All settings of a run; read once, never changed."""

    vendor: Vendor = Vendor()
    pace: Pace = Pace()
    workers: Workers = Workers()
    retry: Retry = Retry()
    open_calls: OpenCalls = OpenCalls()
    input: Input = Input()
    output: Output = Output()
    plan: Plan = Plan()
    compact: Compact = Compact()
    billing: Billing = Billing()
    log: Log = Log()
    monitor: Monitor = Monitor()
    given: frozenset[str] = frozenset()
    """Each `section.key` that a flag, the environment or the TOML file has set."""

    def is_set(self, key: str) -> bool:
        """Whether `section.key` was set, if only to its default."""
        section, name = key.split(".")
        value = getattr(getattr(self, section), name)
        return key in self.given or value != getattr(getattr(Config(), section), name)


SECTIONS = tuple(name for name in Config.__struct_fields__ if name != "given")


@dataclass(frozen=True, slots=True)
class Secrets:
    """The vendor's key and secret; neither shows in a repr, so neither shows in a traceback."""

    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)


class Settings(msgspec.Struct, frozen=True):
    """A `Config` and, for each `section.key`, where its value came from."""

    config: Config
    origins: Mapping[str, str]


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Settings:
    """Read and check the configuration.

    `flags` maps "section.key" to a value; None means that the flag was not given.
    Raises ConfigError with the path of the first key that is wrong.
    """
    layers = [
        (str(path), _flatten(_read_toml(path))) if path else ("", {}),
        ("environment", _from_environ(environ or {})),
        ("flag", {k: v for k, v in (flags or {}).items() if v is not None}),
    ]
    values: dict[str, object] = {}
    origins = dict.fromkeys(_hints(), "default")
    for key in flags or {}:
        if key not in origins:
            raise ConfigError(
                f"configuration: unknown key {key!r}. A key is written as section.key, for "
                "example pace.rate_per_s; `harvester config show` has them all.",
                code="config.unknown_key",
            )
    for origin, layer in layers:
        for key, value in layer.items():
            values[key] = value
            origins[key] = f"{ENV_PREFIX}{_env_name(key)}" if origin == "environment" else origin
    if values.get("pace.limit_file") == "":
        values["pace.limit_file"] = None  # TOML and the environment have no other word for none
    try:
        config = msgspec.convert(_nest(values), Config)
    except msgspec.ValidationError as exc:
        raise ConfigError(
            f"configuration: {exc}. {_whence(str(exc), origins)}", code="config.value"
        ) from exc
    check(config)
    return Settings(replace(config, given=frozenset(values)), origins)


def load_secrets(environ: Mapping[str, str]) -> Secrets:
    """The vendor's key and secret.  Raises ConfigError naming what is missing, never a value."""
    return Secrets(
        api_key=_secret("API_KEY", environ),
        api_secret=_secret("API_SECRET", environ),
    )


def load_mask_key(environ: Mapping[str, str]) -> str:
    """The key of the masks.  Raises ConfigError that says what is wrong, never a value."""
    variable = f"{ENV_PREFIX}MASK_KEY"
    made = "`openssl rand -hex 32 > mask.key` makes one; keep it as you keep the data."
    key = _read_secret("MASK_KEY", environ)
    if not key:
        raise ConfigError(
            f"the key of the masks is missing: set {variable}, or {variable}_FILE to a file that "
            f"holds it. {made}",
            code="config.mask_key",
        )
    if len(key) < SHORTEST_MASK_KEY:
        raise ConfigError(
            f"{variable} is too short: phone numbers are few, so a key that can be guessed hides "
            f"nothing. It must have {SHORTEST_MASK_KEY} characters at least. {made}",
            code="config.mask_key",
        )
    return key


def buffer_bytes(memory_limit: str) -> int:
    """What DuckDB may hold in its buffers under `plan.memory_limit`, in bytes.

    Its own limit covers nothing else.  Beside them stand Python, Arrow and the blocks that are
    being read: measured 150 to 200 MB.  Raises ConfigError if it is no size.
    """
    match = re.fullmatch(r"([0-9]+)([KMG]i?B)", memory_limit)
    if match is None:
        raise ConfigError(
            f"plan.memory_limit: {memory_limit!r} isn't a size such as 400MB.", code="config.value"
        )
    limit = int(match[1]) * _SIZES[match[2]]
    return max(limit - _BESIDE_BYTES, limit // 2)


def known_secrets(environ: Mapping[str, str], config: Config | None = None) -> tuple[str, ...]:
    """Every secret that is set, for whoever must not show one.  Never raises."""
    proxies = [environ.get(f"{ENV_PREFIX}VENDOR__PROXY", "")]
    if config is not None and config.vendor.proxy is not None:
        proxies.append(config.vendor.proxy)
    found = [secret for proxy in proxies for secret in _proxy_secrets(proxy)]
    for name in SECRETS:
        try:
            found.append(_read_secret(name, environ))
        except ConfigError:
            found.append(environ.get(f"{ENV_PREFIX}{name}", ""))
    return tuple(filter(None, found))


def is_loopback(url: str) -> bool:
    """Whether `url` names this machine itself, so that plain http leaves no wire to listen on."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def effective(config: Config) -> dict[str, object]:
    """Every setting as `section.key: value`, in the order of the sections above, to be shown."""
    shown: dict[str, object] = {
        f"{section}.{key}": getattr(getattr(config, section), key)
        for section in SECTIONS
        for key in getattr(config, section).__struct_fields__
    }
    if config.vendor.proxy is not None:
        shown["vendor.proxy"] = _without_login(config.vendor.proxy)
    return shown


def proxy_login(proxy: str) -> tuple[str, str] | None:
    """The user and the password that a proxy's address carries, decoded."""
    url = urlsplit(proxy)
    if url.username is None:
        return None
    return unquote(url.username), unquote(url.password or "")


def _without_login(proxy: str) -> str:
    url = urlsplit(proxy)
    place = url.netloc.rpartition("@")[2]
    return f"{url.scheme}://{'***@' if '@' in url.netloc else ''}{place}"


def _proxy_secrets(proxy: str) -> tuple[str, ...]:
    """What must not be shown of a proxy's address: its login as it is written, and the password."""
    login, has_login, _ = proxy.rpartition("@")
    if not has_login:
        return ()
    written = login.rpartition("/")[2]
    return tuple({written, unquote(written.partition(":")[2]), written.partition(":")[2]} - {""})


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError(
            f"configuration file {path}: {exc.strerror or exc}", code="config.file"
        ) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(
            f"configuration file {path} is not TOML: {exc}", code="config.file"
        ) from exc


def _flatten(document: Mapping[str, object]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for section, table in document.items():
        if section not in SECTIONS:
            raise ConfigError(
                f"configuration: unknown section [{section}]. Known are: {', '.join(SECTIONS)}.",
                code="config.unknown_key",
            )
        if not isinstance(table, dict):
            raise ConfigError(
                f"configuration: $.{section} must be a table: [{section}].", code="config.value"
            )
        for key, value in table.items():
            flat[f"{section}.{key}"] = value
    return flat


def _from_environ(environ: Mapping[str, str]) -> dict[str, object]:
    hints = _hints()
    names = {_env_name(key): key for key in hints}
    values: dict[str, object] = {}
    for variable in sorted(environ):
        if not variable.startswith(ENV_PREFIX):
            continue
        name = variable.removeprefix(ENV_PREFIX)
        if name in SECRET_NAMES:
            continue
        key = names.get(name)
        if key is None:
            raise ConfigError(
                f"environment: unknown variable {variable}. Settings are named "
                f"{ENV_PREFIX}<SECTION>__<KEY>, for example {ENV_PREFIX}PACE__RATE_PER_S.",
                code="config.unknown_key",
            )
        values[key] = _parse_text(variable, environ[variable], hints[key])
    return values


def _parse_text(variable: str, text: str, kind: Any) -> object:  # noqa: ANN401 - a type form
    """An environment value as its key's type; a list is written as JSON."""
    try:
        if text[:1] == "[":
            return msgspec.json.decode(text, type=kind)
        return msgspec.convert(text, kind, strict=False)
    except (msgspec.ValidationError, msgspec.DecodeError) as exc:
        raise ConfigError(f"environment: {variable}: {exc}", code="config.value") from exc


def _hints() -> dict[str, Any]:
    return {
        f"{section}.{key}": kind
        for section, struct in get_type_hints(Config).items()
        if section in SECTIONS
        for key, kind in get_type_hints(struct, include_extras=True).items()
        if not key.startswith("_")
    }


def _env_name(key: str) -> str:
    return key.replace(".", "__").upper()


def _nest(flat: Mapping[str, object]) -> dict[str, dict[str, object]]:
    nested: dict[str, dict[str, object]] = {}
    for path, value in flat.items():
        section, key = path.split(".", 1)
        nested.setdefault(section, {})[key] = value
    return nested


def _whence(message: str, origins: Mapping[str, str]) -> str:
    for key, origin in origins.items():
        if f"$.{key}`" in message or f"$.{key}[" in message:
            return f"It was set by: {origin}."
    return "See `harvester config show` for every key."


def _split(url: str) -> SplitResult:
    """A URL in its parts; without any where it is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")


def _refuse_endless(config: Config) -> None:
    for section in SECTIONS:
        values = getattr(config, section)
        for key in values.__struct_fields__:
            value = getattr(values, key)
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(
                    f"configuration: $.{section}.{key}: {value} is no number to go by. Give a "
                    "finite one.",
                    code="config.value",
                )


def check(config: Config) -> None:
    """The rules that no type can say.  Raises ConfigError."""
    _refuse_endless(config)
    url = _split(config.vendor.base_url)
    is_http = url.scheme in ("http", "https")
    if not is_http or not url.hostname or url.query or url.fragment or not _has_good_port(url):
        raise ConfigError(
            "configuration: $.vendor.base_url must be http(s)://host[:port]/prefix without a "
            "query, for example https://api.itniotech.com/voice.",
            code="config.base_url",
        )
    if url.username or url.password:
        raise ConfigError(
            "configuration: $.vendor.base_url must not carry a user or password.",
            code="config.base_url",
        )
    insecure = url.scheme == "http" and not is_loopback(config.vendor.base_url)
    if insecure and not config.vendor.allow_insecure_http:
        raise ConfigError(
            "configuration: $.vendor.base_url is plain http to another machine, so the API key "
            "and the records would travel unencrypted. Use https, or set "
            "vendor.allow_insecure_http = true if you mean it.",
            code="config.base_url",
        )
    if config.workers.count and config.pace.limit_file:
        raise ConfigError(
            "configuration: $.workers.count and $.pace.limit_file can't be used together: workers "
            "share the limit among themselves, and no other process may use the key meanwhile. Set "
            'workers.count = 0, or pace.limit_file = "" (HARVESTER_PACE__LIMIT_FILE= does it for '
            "one run) once nothing else uses the key.",
            code="config.workers",
        )
    if config.vendor.proxy is not None:
        _check_proxy(config.vendor, config.vendor.proxy)
    if config.monitor.metrics_file is not None:
        _check_metrics_file(config.monitor.metrics_file, config.output.dir)
    if config.monitor.ping_url is not None:
        _check_ping_url(config.monitor.ping_url)
    _check_zone("output.partition_timezone", config.output.partition_timezone)
    _check_zone("billing.zone", config.billing.zone)


def _check_zone(key: str, name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise ConfigError(
            f"configuration: $.{key}: no time zone is named {name!r}. Use an IANA name such as UTC "
            "or Asia/Shanghai.",
            code="config.value",
        ) from exc


def _check_proxy(vendor: Vendor, proxy: str) -> None:
    """Raise ConfigError; it never quotes the address, which may hold a password."""
    if not _is_proxy(proxy):
        raise ConfigError(
            "configuration: $.vendor.proxy must be http(s)://[user:password@]host:port, for "
            "example http://proxy.example.com:3128.",
            code="config.proxy",
        )
    if vendor.transport != "aiohttp":
        raise ConfigError(
            'configuration: $.vendor.proxy: only vendor.transport = "aiohttp" can go through a '
            f"proxy, {vendor.transport!r} can not. Set one or the other.",
            code="config.proxy",
        )
    if urlsplit(vendor.base_url).scheme == "http" and not vendor.allow_insecure_http:
        raise ConfigError(
            "configuration: $.vendor.proxy: to a $.vendor.base_url of plain http the proxy would "
            "see the API key and the records. Use https, or set vendor.allow_insecure_http = true "
            "if you mean it.",
            code="config.proxy",
        )


def _is_proxy(proxy: str) -> bool:
    try:
        url = urlsplit(proxy)
        login = proxy_login(proxy)
        is_whole = url.port is not None and bool(url.hostname)
    except ValueError:
        return False
    more = url.path.strip("/") or url.query or url.fragment
    has_user = login is None or (login[0] != "" and ":" not in login[0])
    return url.scheme in ("http", "https") and is_whole and not more and has_user


def _has_good_port(url: SplitResult) -> bool:
    try:
        return url.port is None or url.port > 0
    except ValueError:
        return False


_FOLDERS = ("cdr", "changes", "dropped", "state", "runs")
"""Of an output (`storage.output`)."""


def _check_metrics_file(file: str, output: str) -> None:
    """Raise ConfigError where replacing it would cost data: readers glob cdr/, state/ is ours."""
    path, root = Path(file).resolve(), Path(output).resolve()
    if any(path.is_relative_to(root / own) for own in _FOLDERS):
        raise ConfigError(
            f"configuration: $.monitor.metrics_file: {file} lies among the output's own files. "
            "Put it beside the output, or where the collector looks.",
            code="config.metrics_file",
        )
    if path.is_dir():
        raise ConfigError(
            f"configuration: $.monitor.metrics_file: {file} is a folder. Name a file in it, for "
            "example cdr_harvester.prom.",
            code="config.metrics_file",
        )


def _check_ping_url(text: str) -> None:
    """Raise ConfigError; it never quotes the address, whose path lets anybody ping."""
    url = _split(text)
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
        raise ConfigError(
            "configuration: $.monitor.ping_url must be https://host/path without a query, for "
            "example https://hc-ping.com/your-uuid-here.",
            code="config.ping_url",
        )
    if url.username or url.password:
        raise ConfigError(
            "configuration: $.monitor.ping_url must not carry a user or password.",
            code="config.ping_url",
        )
    if url.scheme == "http" and not is_loopback(text):
        raise ConfigError(
            "configuration: $.monitor.ping_url is plain http to another machine. Use https.",
            code="config.ping_url",
        )


def _secret(name: str, environ: Mapping[str, str]) -> str:
    variable = f"{ENV_PREFIX}{name}"
    value = _read_secret(name, environ)
    if not value:
        raise ConfigError(
            f"the vendor's {name.lower().replace('_', ' ')} is missing: set {variable}, or "
            f"{variable}_FILE to a file that holds it.",
            code="config.secret_missing",
        )
    if not value.isascii() or not value.isprintable():
        raise ConfigError(
            f"{variable} holds characters that can't stand in an HTTP header.", code="config.secret"
        )
    return value


_LONGEST_SECRET = 65_536
"""Characters.  Whatever is longer, a device that has no end among them, is another file."""


def _read_secret(name: str, environ: Mapping[str, str]) -> str:
    """A secret from wherever it is; "" where it isn't set."""
    variable = f"{ENV_PREFIX}{name}"
    value = environ.get(variable, "")
    file = environ.get(f"{variable}_FILE", "")
    if value and file:
        raise ConfigError(
            f"both {variable} and {variable}_FILE are set: unset one of them.", code="config.secret"
        )
    if file:
        try:
            # Some editors put a mark of UTF-8 first; no header could hold it.
            with Path(file).open(encoding="utf-8-sig") as opened:
                value = opened.read(_LONGEST_SECRET + 1).strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(
                f"{variable}_FILE: {file} can't be read ({exc}).", code="config.secret"
            ) from exc
        if len(value) > _LONGEST_SECRET:
            raise ConfigError(
                f"{variable}_FILE: {file} holds no secret: it is too long. Name another file.",
                code="config.secret",
            )
        if not value:
            raise ConfigError(
                f"{variable}_FILE: {file} is empty. Write it again.", code="config.secret"
            )
    return value
