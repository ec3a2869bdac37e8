from ipaddress import ip_address, ip_network

import pytest

from services.fetcher.addresses import is_public


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.251",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::10.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:0:7f00:1::",
        "2001:db8::1",
        "2002:7f00:1::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_an_address_that_is_not_on_the_public_internet_is_told(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.216.34", "172.15.0.1", "172.32.0.1", "168.63.129.17", "2606:4700::1111", "2a00:1450::1"],
)
def test_a_public_address_is_told(address: str) -> None:
    assert is_public(ip_address(address))


def test_an_ipv6_address_that_stands_for_a_public_ipv4_one_is_public() -> None:
    assert is_public(ip_address("::ffff:1.1.1.1"))
    assert is_public(ip_address("64:ff9b::1.1.1.1"))


def test_an_allowed_network_is_let_through_in_either_spelling_and_no_other() -> None:
    allowed = [ip_network("127.0.0.0/8")]
    assert is_public(ip_address("127.0.0.1"), allowed)
    assert is_public(ip_address("::ffff:127.0.0.1"), allowed)
    assert not is_public(ip_address("::1"), allowed)
    assert not is_public(ip_address("10.0.0.1"), allowed)
