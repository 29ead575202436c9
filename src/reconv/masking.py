"""Masking of secrets in URIs, for all text that is printed, logged or recorded."""

import re
from urllib.parse import unquote_plus

MASK = "***"
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:)(//[^\s'\"<>`]+)")
_USER = re.compile(r"//(?P<user>[^/?#\s]*)@")
# A password with an unescaped / ? or #: what follows the colon is no port, and an @ comes later.
_UNESCAPED_USER = re.compile(r"//(?P<user>[^/?#@\s:]*:(?!\d*(?:[/?#]|$))\S*)@")
_SETTING = re.compile(r"(?<=[?&;#])(?P<name>[^=&;#]*)=(?P<value>[^&;#]*)")
# Any other setting of a URI may be a secret: each driver and store has its own names.
_HARMLESS = {
    *("host", "port", "dbname", "database", "driver", "charset", "sslmode", "timeout", "connect_timeout"),
    *("application_name", "region", "region_name", "endpoint_url", "version", "versionid", "dl", "download", "raw"),
    *("format", "mode", "cache"),
}
_FEWEST_CHARACTERS = 4  # shorter ones are in ordinary words


def masked(text: str, uri: str = "") -> str:
    """Return `text` with *** for user, password and settings of all URIs in it, and for those of `uri` anywhere.

    `uri` is for errors that repeat a part of the URI that they are about.
    """
    text = _URI.sub(lambda found: found[1] + _masked_rest(found[2]), text)
    for secret in sorted(_secrets_of(uri), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def _masked_rest(rest: str) -> str:
    rest = _user_pattern(rest).sub(f"//{MASK}@", rest, count=1)
    return _SETTING.sub(lambda one: one[0] if _is_harmless(one["name"]) else f"{one['name']}={MASK}", rest)


def _user_pattern(rest: str) -> re.Pattern[str]:
    return _USER if _USER.match(rest) else _UNESCAPED_USER


def _is_harmless(name: str) -> bool:
    return unquote_plus(name).strip().lower() in _HARMLESS


def _secrets_of(uri: str) -> set[str]:
    """Return the secrets that are long enough to search for, raw and unescaped. A user name is not a secret."""
    found = _URI.match(uri)
    if found is None:
        return set()
    rest = found[2]
    user = _user_pattern(rest).match(rest)
    secrets = [user["user"].partition(":")[2]] if user else []
    secrets += [one["value"] for one in _SETTING.finditer(rest) if not _is_harmless(one["name"])]
    return {one for raw in secrets for one in (raw, unquote_plus(raw)) if len(one) >= _FEWEST_CHARACTERS}
