"""What an output belongs to: what is compared, what is refused, and what is the output's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from harvester.config import Config, Output, Vendor, load
from harvester.errors import ConfigError
from harvester.identity import (
    STAND_IN,
    Identity,
    disagreement,
    merged,
    normal_address,
    proof_of,
    same_address,
    same_dates,
    settled,
    vendor_of,
    with_address,
)

VENDOR = "https://api.itniotech.com/voice"
OWN = Identity(account="acme", timezone="Asia/Shanghai", addresses=(VENDOR,))


def of(**flags: object) -> Config:
    return load(flags={name.replace("__", ".", 1): v for name, v in flags.items()}).config


@pytest.mark.parametrize(
    "other",
    [
        "https://API.ITNIOTECH.com/voice",
        "HTTPS://api.itniotech.com/voice",
        "https://api.itniotech.com:443/voice",
        "https://api.itniotech.com/voice/",
        "https://api.itniotech.com/v3/../voice",
        "https://api.itniotech.com/./voice/.",
        "https://api.itniotech.com./voice",
        "https://api.itniotech.com/%76oice",
        "https://api.itniotech.com:/voice",
    ],
)
def test_one_address_in_other_letters_is_the_same(other: str) -> None:
    assert same_address(VENDOR, other)


@pytest.mark.parametrize(
    "other",
    [
        "http://api.itniotech.com/voice",
        "https://api.itniotech.com:8443/voice",
        "https://api.itniotech.com/v3/voice",
        "https://api.itniotech.com/Voice",
        "https://api.itniotech.com",
        "https://api.sister.example/voice",
        "https://xn--api-itniotech.com/voice",
        "http://127.0.0.1:8080/voice",
    ],
)
def test_another_place_is_another_address(other: str) -> None:
    assert not same_address(VENDOR, other)


def test_a_port_that_the_scheme_has_anyway_is_no_difference() -> None:
    for scheme, port, other in (("http", 80, 443), ("https", 443, 80)):
        assert same_address(f"{scheme}://vendor.example:{port}/v", f"{scheme}://vendor.example/v")
        assert not same_address(
            f"{scheme}://vendor.example:{other}/v", f"{scheme}://vendor.example/v"
        )


@pytest.mark.parametrize(
    ("addresses", "vendor"),
    [
        ((), ""),
        ((VENDOR,), "api.itniotech.com"),
        (("https://API.itniotech.com:8443/v3", VENDOR), "api.itniotech.com"),
        ((VENDOR, "https://new.example/v"), "api.itniotech.com, new.example"),
        (("http://127.0.0.1:1/v", "http://localhost:2/v"), STAND_IN),
        (("https://[2001:db8::1]/v",), "2001:db8::1"),
    ],
)
def test_a_vendor_is_told_by_its_hosts(addresses: tuple[str, ...], vendor: str) -> None:
    assert vendor_of(Identity(addresses=addresses)) == vendor


def test_a_port_is_no_part_of_an_ipv6_address() -> None:
    assert same_address("https://[2001:DB8:0::1]:443/v", "https://[2001:db8::1]/v")
    assert not same_address("https://[2001:db8::1]:8443/v", "https://[2001:db8::1:8443]/v")


def test_a_name_in_any_script_is_compared_as_it_is_looked_up() -> None:
    assert same_address("https://Bücher.example/v", "https://xn--bcher-kva.example/v")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/voice",
        "http://127.0.0.1:41234/other",
        "https://127.8.9.1/voice",
        "http://[::1]:9/v",
        "http://[::ffff:127.0.0.1]:9/v",
        "http://LOCALHOST/v",
        "http://localhost.:80/v",
        "http://vendor.localhost:80/v",
        "http://0.0.0.0:8080/v",
    ],
)
def test_every_address_of_this_machine_is_one_stand_in(url: str) -> None:
    assert normal_address(url) == STAND_IN


@pytest.mark.parametrize("url", ["http://128.0.0.1/v", "http://localhost.example/v"])
def test_another_machine_is_no_stand_in(url: str) -> None:
    assert normal_address(url) != STAND_IN


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://vendor.example/../../voice", "https://vendor.example/voice"),
        ("https://vendor.example/a%2fb", "https://vendor.example/a%2Fb"),
        # No name that can be looked up; the configuration is not the place to say so.
        (f"https://{'A' * 64}.example./v", f"https://{'a' * 64}.example/v"),
    ],
)
def test_odd_spellings_are_compared_too(one: str, other: str) -> None:
    assert same_address(one, other)


def test_of_two_addresses_that_differ_the_stand_in_is_told_as_one() -> None:
    here, there = "http://127.0.0.1:9/v", "https://vendor.example/v"
    for own, given in ((here, there), (there, here)):
        with pytest.raises(ConfigError) as raised:
            settled(of(vendor__base_url=given), Identity(addresses=(own,)), rebind=False)
        assert f"{STAND_IN} ({here})" in str(raised.value)
        assert f"{STAND_IN} ({there})" not in str(raised.value)
        assert there in str(raised.value)


@pytest.mark.parametrize("names", [("UTC", "Etc/UTC"), ("Asia/Shanghai", "PRC")])
def test_two_names_of_a_zone_have_the_same_days(names: tuple[str, str]) -> None:
    assert same_dates(*names)


def test_a_zone_that_this_machine_does_not_know_is_itself() -> None:
    assert same_dates("Mars/Olympus", "Mars/Olympus")


@pytest.mark.parametrize(
    "names",
    [
        ("Europe/Berlin", "Africa/Lagos"),  # one hour of difference in summer
        ("Asia/Shanghai", "Asia/Manila", "Asia/Singapore"),
        ("America/New_York", "America/Havana"),  # the clock is set at another hour of the day
    ],
)
def test_zones_that_agree_most_of_the_time_are_others(names: tuple[str, ...]) -> None:
    agree = names[0].startswith("Asia")
    assert all(same_dates(names[0], other) is agree for other in names[1:])


def test_what_was_not_set_is_the_outputs_own_in_every_command() -> None:
    config = settled(of(), OWN)
    assert (config.vendor.account, config.output.partition_timezone) == ("acme", "Asia/Shanghai")
    assert config.vendor.base_url == Config().vendor.base_url, "nothing is sent: not looked at"
    moved = replace(OWN, addresses=(VENDOR, "https://new.example/v"))
    assert settled(of(), moved, rebind=False).vendor.base_url == "https://new.example/v"


def test_what_says_the_same_is_taken() -> None:
    config = of(
        vendor__account="acme",
        vendor__base_url=f"{VENDOR}/",
        output__partition_timezone="Asia/Shanghai",
    )
    assert settled(config, OWN, rebind=False) == config


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ({"vendor__account": "default"}, ["acme", "default", "--out"]),
        ({"output__partition_timezone": "UTC"}, ["Asia/Shanghai", "UTC", "--out"]),
        (
            {"vendor__base_url": "https://sister.example/v3"},
            [VENDOR, "sister.example", "--rebind"],
        ),
        ({"vendor__base_url": "http://127.0.0.1:8080/voice"}, [VENDOR, STAND_IN]),
    ],
)
def test_what_was_set_and_differs_is_refused_though_it_is_the_default(
    flags: dict[str, object], names: list[str]
) -> None:
    with pytest.raises(ConfigError) as raised:
        settled(of(**flags), OWN, rebind=False)
    assert all(name in str(raised.value) for name in names)
    assert raised.value.exit_code == 2


@pytest.mark.parametrize("where", ["environment", "file", "object"])
def test_wherever_it_was_set(tmp_path: Path, where: str) -> None:
    if where == "environment":
        config = load(environ={"HARVESTER_OUTPUT__PARTITION_TIMEZONE": "UTC"}).config
    elif where == "file":
        file = tmp_path / "c.toml"
        file.write_text('[output]\npartition_timezone = "UTC"\n')
        config = load(file).config
    else:
        config = Config(output=Output(partition_timezone="Europe/Berlin"))
    with pytest.raises(ConfigError):
        settled(config, OWN)


def test_a_command_that_sends_nothing_does_not_compare_addresses() -> None:
    config = of(vendor__base_url="https://sister.example/v3")
    assert settled(config, OWN).vendor.base_url == "https://sister.example/v3"


def test_a_rebind_takes_the_new_address_and_remembers_the_old() -> None:
    new = "https://sister.example/v3"
    config = settled(of(vendor__base_url=new), OWN, rebind=True)
    assert config.vendor.base_url == new
    both = with_address(OWN, config)
    assert both.addresses == (VENDOR, new)
    assert with_address(both, config) == both


def test_an_output_that_says_nothing_takes_what_is_set() -> None:
    config = of(vendor__base_url="https://new.example/v", vendor__account="acme")
    assert settled(config, Identity(), rebind=False) == config
    found = with_address(Identity(account="acme"), config)
    assert found == Identity(account="acme", addresses=("https://new.example/v",))


def test_of_the_stand_in_the_last_port_is_kept() -> None:
    own = Identity(addresses=("http://127.0.0.1:1/v",))
    config = settled(of(vendor__base_url="http://[::1]:2/v"), own, rebind=False)
    assert with_address(own, config).addresses == ("http://[::1]:2/v",)


def test_an_own_address_is_checked_as_a_set_one_is() -> None:
    own = Identity(addresses=("http://vendor.example/v",))
    with pytest.raises(ConfigError, match="plain http"):
        settled(of(), own, rebind=False)
    allowed = settled(of(vendor__allow_insecure_http=True), own, rebind=False)
    assert allowed.vendor.base_url == "http://vendor.example/v"


@pytest.mark.parametrize("port", ["99999", "x", "0"])
def test_a_port_that_is_none_is_a_mistake_of_the_configuration(port: str) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        of(vendor__base_url=f"https://api.example:{port}/v")


def test_a_section_of_that_name_is_unknown(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[given]\nx = 1\n")
    with pytest.raises(ConfigError, match="unknown section"):
        load(file)


def test_it_is_read_back_as_it_was_written() -> None:
    assert Identity.decoded(OWN.encoded()) == OWN
    assert Identity.decoded(Identity().encoded()) == Identity()
    assert Identity().encoded() == {}, "what says nothing takes no place in a part"


def test_a_new_output_belongs_to_what_its_first_settings_say() -> None:
    config = of(vendor__account="acme", output__partition_timezone="Asia/Shanghai")
    assert Identity.of(config) == OWN


def test_parts_agree_where_one_knows_more_than_another() -> None:
    later = replace(OWN, addresses=(VENDOR, "https://new.example/v"))
    assert merged({"a": Identity(), "b": OWN, "c": later, "d": OWN, "e": Identity()}) == (
        later,
        (),
    )


@pytest.mark.parametrize(
    "other",
    [
        Identity(account="beta"),
        Identity(timezone="UTC"),
        Identity(addresses=("https://sister.example/v3", VENDOR)),
    ],
)
def test_two_parts_that_disagree_are_named(other: Identity) -> None:
    assert disagreement(OWN, other)
    _, apart = merged({"old": Identity(), "a": OWN, "again": OWN, "b": other})
    assert (apart[0], apart[2]) == ("a", "b")
    assert apart[1] != apart[3]


def test_settings_made_by_hand_are_set_where_they_differ() -> None:
    config = Config(vendor=Vendor(account="x"))
    assert config.is_set("vendor.account")
    assert not config.is_set("vendor.base_url")


def test_a_proof_stands_for_an_address_and_whose_it_is_and_shows_neither() -> None:
    proof = proof_of("https://api.example.com/voice", "key", "s")
    assert proof == proof_of("https://API.example.com:443/voice/", "key", "s")
    others = [
        proof_of("https://api.example.org/voice", "key", "s"),
        proof_of("https://api.example.com/voice", "other", "s"),
        proof_of("https://api.example.com/voice", "key", "t"),
    ]
    assert proof not in others
    assert "key" not in proof


def test_of_two_names_of_a_zone_the_first_stays() -> None:
    found = {"a": Identity(timezone="UTC"), "b": Identity(timezone="Etc/UTC")}
    assert merged(found) == (Identity(timezone="UTC"), ())
