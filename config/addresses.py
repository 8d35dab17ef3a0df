"""Addresses of brokers and result stores: which are allowed, and how one is shown without its password.

Pure: connects to nothing (that is `config/urls.py`). Refused addresses raise ValueError whose text says what is allowed.
Limits: `masked` has to work on addresses that are wrong, so it hides too much rather than too little.
"""

import re
from typing import Any
from urllib.parse import SplitResult, urlsplit

REDIS_SCHEMES = ("redis", "rediss", "redis+socket", "sentinel")
AMQP_SCHEMES = ("amqp", "amqps")

# user:password@ up to the last @ of an address, since an unescaped password may hold any character.
_PASSWORD = re.compile(r"^([^@]*?://[^:@]*:).*(@[^@]*)$", re.DOTALL)
# The same where :// was mistyped.
_PASSWORD_ANYWHERE = re.compile(r"^([^:@]*:).*(@[^@]*)$", re.DOTALL)
# A password where the host was forgotten and no port can be meant.
_ENDLESS = re.compile(r"^([^@]*?//[^:@/\[]*:)(?![0-9]{1,5}(?:[/?]|$))[^@]*$", re.DOTALL)
_PARAMETER = re.compile(r"([?&][a-z_]*(?:passw|secret|token)[a-z_]*=)[^&;]*", re.IGNORECASE)
_IN_PROSE = re.compile(r"(\b[a-z][a-z+]*://[^\s:@/]*:)\S+@", re.IGNORECASE)


def parse_broker_url(value: Any) -> str:
    """The address of the broker, or "embedded"."""
    return "embedded" if value == "embedded" else _address(value, REDIS_SCHEMES + AMQP_SCHEMES, '"embedded", ')


def parse_results_url(value: Any) -> str:
    """The address of the Redis with the results, or "" for the broker."""
    return "" if value == "" else _address(value, REDIS_SCHEMES, '"" (the broker, when that is a Redis), ')


def _address(value: Any, schemes: tuple[str, ...], others: str) -> str:
    scheme = value.split("://")[0] if isinstance(value, str) and "://" in value else ""
    if scheme not in schemes:
        raise ValueError(f"{others}or an address that begins with {', '.join(f'{name}://' for name in schemes)}")
    for part in value.split(";") if scheme == "sentinel" else [value]:
        _check_address(part, scheme)
    return str(value)


def _check_address(address: str, scheme: str) -> None:
    words = {
        "redis+socket": "redis+socket:///path/of/the.sock, with three slashes",
        "sentinel": "sentinel://host:26379/0;sentinel://host2:26379/0",
        "amqp": "amqp://user:password@host:5672/virtualhost",
        "amqps": "amqps://user:password@host:5671/virtualhost",
    }.get(scheme, f"{scheme}://:password@host:6379/0, with the number of a database")
    if not _is_whole(address, scheme):
        escapes = "in a user name or password / ? # @ : % are written %2F %3F %23 %40 %3A %25"
        raise ValueError(f"an address like {words}; {escapes}")


def _is_whole(address: str, scheme: str) -> bool:
    if re.search(r"[\s\x00-\x1f\x7f]", address):
        return False
    try:
        parts = urlsplit(address)
        has_port_or_none = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return parts.scheme == scheme and has_port_or_none and _leads_somewhere(parts)


def _leads_somewhere(parts: SplitResult) -> bool:
    if parts.scheme == "redis+socket":
        return not parts.hostname and len(parts.path) > 1
    if parts.scheme in AMQP_SCHEMES:
        return bool(parts.hostname) and not parts.fragment
    return bool(parts.hostname) and not parts.fragment and bool(re.fullmatch(r"/?[0-9]{0,5}", parts.path))


def masked(address: str) -> str:
    """The address with `***` for every password, right or wrong as it may be."""
    return ";".join(_masked_one(part) for part in re.split(r";(?=sentinel:)", address))


def _masked_one(address: str) -> str:
    address = _PARAMETER.sub(r"\1***", address)
    password = _PASSWORD if "://" in address else _PASSWORD_ANYWHERE
    return _ENDLESS.sub(r"\1***", password.sub(r"\1***\2", address))


def without_passwords(text: str) -> str:
    """A text in which every address within shows `***` for its password: what libraries say of their connections."""
    return _IN_PROSE.sub(r"\1***@", text) if "://" in text else text
