"""Where answers may be posted to."""

from __future__ import annotations

import pytest

from runtime.security.callback_address import check_allowed, parse, refuse_addresses

PUBLIC = [
    ("https://example.com/a?b=1", ("https", "example.com", 443, "example.com", "/a?b=1")),
    ("http://EXAMPLE.com:8080", ("http", "example.com", 8080, "EXAMPLE.com:8080", "/")),
    ("http://8.8.8.8/", ("http", "8.8.8.8", 80, "8.8.8.8", "/")),
    ("http://[2606:4700::1111]/", ("http", "2606:4700::1111", 80, "[2606:4700::1111]", "/")),
    ("http://[64:ff9b::808:808]/", ("http", "64:ff9b::808:808", 80, "[64:ff9b::808:808]", "/")),
    ("http://example.com/#part", ("http", "example.com", 80, "example.com", "/")),
]
FORBIDDEN = [
    *("127.0.0.1", "127.9.9.9", "localhost", "x.localhost", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]"),
    *("10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "[fd00::1]", "[::ffff:10.0.0.1]", "[64:ff9b::a00:1]"),
    *("169.254.1.1", "[fe80::1]", "[fec0::1]", "0.0.0.0", "[::]", "224.0.0.1", "[ff02::1]", "255.255.255.255"),
    *("169.254.169.254", "[fd00:ec2::254]", "100.100.100.200", "168.63.129.16", "192.0.0.192", "[::ffff:169.254.1.1]"),
    *("240.0.0.1", "[2002:7f00:1::]", "[2001:0:1::1]", "[::127.0.0.1]", "[2001:db8::1]", "[64:ff9b:1::1]"),
]
NONSENSE = [
    ("ftp://example.com/", "http:// or https://"),
    ("//example.com/", "http:// or https://"),
    ("example.com", "http:// or https://"),
    ("http://", "names no host"),
    ("http://example.com:0/", "names no host"),
    ("http://example.com:99999/", "not a URL"),
    ("http://[::1", "not a URL"),
    ("http://user:word@example.com/", "user name"),
    ("http://word@example.com/", "user name"),
    ("http://exam ple.com/", "percent-encoded"),
    ("http://example.com/\r\nHost: other", "percent-encoded"),
    ("http://example.com\\@127.0.0.1/", "percent-encoded"),
    ("http://müsli.de/", "xn--"),
    ("http://127.1/", "names no host"),
    ("http://2130706433/", "names no host"),
    ("http://0x7f.0x1/", "names no host"),
    ("http://-a.com/", "names no host"),
    ("http://example.com/" + "a" * 3000, "characters"),
]


@pytest.mark.parametrize(("url", "parts"), PUBLIC)
def test_public_addresses(url: str, parts: tuple[str, str, int, str, str]) -> None:
    target = parse(url)
    assert (target.scheme, target.host, target.port, target.netloc, target.path) == parts


@pytest.mark.parametrize("host", FORBIDDEN)
def test_addresses_that_are_not_public(host: str) -> None:
    with pytest.raises(ValueError, match=r"callbacks\.allow"):
        parse(f"http://{host}/")


@pytest.mark.parametrize(("url", "word"), NONSENSE)
def test_what_is_no_callback_url(url: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        parse(url)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://127.0.0.1/", "127.0.0.1"),
        ("http://10.1.2.3/", "10.0.0.0/8"),
        ("http://[::ffff:10.1.2.3]/", "10.0.0.0/8"),
        ("http://[fd00::1]/", "fd00::/8"),
        ("http://localhost/", "LOCALHOST"),
        ("http://[::1]/", "::1"),
    ],
)
def test_what_is_allowed_by_name_or_network(url: str, allowed: str) -> None:
    parse(url, check_allowed((allowed,)))
    with pytest.raises(ValueError, match="public addresses only"):
        parse(url, ("192.168.0.0/16", "example.com", "fe80::/10"))


def test_only_the_permitted_addresses_of_a_name_are_left() -> None:
    assert refuse_addresses("a.example", ["10.0.0.1", "8.8.8.8", "::1"], ()) == ["8.8.8.8"]
    assert refuse_addresses("a.example", ["10.0.0.1", "8.8.8.8"], ("a.example",)) == ["10.0.0.1", "8.8.8.8"]
    with pytest.raises(ValueError, match=r"10\.0\.0\.1 \(private\), ::1 \(loopback\)"):
        refuse_addresses("a.example", ["10.0.0.1", "::1"], ("b.example",))


@pytest.mark.parametrize("word", ["10.0.0.1/8", "http://example.com", "*.example.com", "", "a b", "127.1"])
def test_the_list_of_the_file_is_checked(word: str) -> None:
    with pytest.raises(ValueError, match="neither a network"):
        check_allowed((word,))
