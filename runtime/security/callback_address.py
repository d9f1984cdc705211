"""Where an answer may be posted to: never to this machine, its networks or a cloud's metadata, unless allowed. Pure.

A URL is checked twice: as it is written, when a call is submitted, and the addresses of its name, when it is sent.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LONGEST_URL = 2048
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_PORTS = {"http": 80, "https": 443}
# What Python's own tables take for public in one version or another: platform addresses of clouds, relays, tunnels.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(text)
    for text in ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "2001::/32", "2002::/16")
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Target:
    """A callback URL in its parts. `netloc` is what the Host header says, `path` begins with a slash."""

    scheme: str
    host: str
    port: int
    netloc: str
    path: str


def check_allowed(words: tuple[str, ...]) -> tuple[str, ...]:
    """`callbacks.allow` of functions.yaml: networks, addresses and host names. Raises ValueError."""
    for word in words:
        if _network(word) is None and not _is_name(word):
            raise ValueError(f"{word!r} is neither a network like 10.0.0.0/8, nor an address, nor a host name")
    return words


def parse(url: str, allowed: Sequence[str] = ()) -> Target:
    """A URL that answers may be posted to, as far as it shows what it is. Raises ValueError with what is wrong."""
    if len(url) > LONGEST_URL:
        raise ValueError(f"has {len(url)} characters; {LONGEST_URL} are taken")
    if not url.isascii() or not url.isprintable() or any(sign in url for sign in ' "<>\\^`{|}'):
        raise ValueError("holds characters that a URL has percent-encoded (a host in other letters is written xn--…)")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"is not a URL ({error})") from error
    if parts.scheme not in _PORTS:
        raise ValueError("must begin with http:// or https://")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or password")
    host = (parts.hostname or "").rstrip(".")
    if port == 0 or not (_literal(host) or _is_name(host)):
        raise ValueError(f"names no host that can be called: {parts.netloc!r}")
    if host == "localhost" or host.endswith(".localhost"):
        refuse_addresses(host, ["127.0.0.1"], allowed)
    elif _literal(host):
        refuse_addresses(host, [host], allowed)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or _PORTS[parts.scheme], parts.netloc, path)


def refuse_addresses(host: str, found: Iterable[str], allowed: Sequence[str]) -> list[str]:
    """Those of a host's addresses that may be connected to. Raises ValueError where there is none."""
    judged = {text: _meant(ipaddress.ip_address(text.partition("%")[0])) for text in found}
    good = [text for text, address in judged.items() if _may(host, address, allowed)]
    if not good:
        named = ", ".join(sorted(f"{text} ({_kind(address)})" for text, address in judged.items())) or "no address"
        raise ValueError(
            f"leads to {named}, and answers are posted to public addresses only; "
            "callbacks.allow in functions.yaml names the others"
        )
    return good


def _may(host: str, address: Address, allowed: Sequence[str]) -> bool:
    if _kind(address) == "public" or host.lower() in {word.lower().rstrip(".") for word in allowed}:
        return True
    networks = [network for word in allowed if (network := _network(word)) is not None]
    return any(address in network for network in networks if network.version == address.version)


def _meant(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, where it is mapped or goes through a translator (NAT64)."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address


def _kind(address: Address) -> str:
    """`public`, or why it is not."""
    if address.is_loopback:
        return "loopback"
    if address.is_unspecified:
        return "unspecified"
    if address.is_link_local or getattr(address, "is_site_local", False):
        return "link-local"
    if address.is_multicast:
        return "multicast"
    if any(address in network for network in _NOT_PUBLIC if network.version == address.version):
        return "special"
    if address.is_reserved:
        return "special"
    return "public" if address.is_global else "private"


def _literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_name(word: str) -> bool:
    labels = word.rstrip(".").split(".")
    # `127.1`, `0x7f000001` and `2130706433` are addresses to a resolver, and names to nobody.
    number = re.fullmatch(r"\d+|0[xX][0-9A-Fa-f]*", labels[-1])
    return len(word) <= 253 and not number and all(_LABEL.fullmatch(label) for label in labels)


def _network(word: str) -> Network | None:
    try:
        return ipaddress.ip_network(word)
    except ValueError:
        return None
