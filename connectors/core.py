"""What every connector needs to turn what a source says into events: pseudonyms, exact money, dead letters, texts.

Pure: must not know where input comes from nor where events go.
"""

import hmac
import re
from collections.abc import Collection, Mapping
from decimal import Decimal
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from typing import NamedTuple

from streams.delivery.dead_letters import DETAIL_CHARACTERS, RAW_BYTES
from streams.domain import events
from streams.domain.ids import event_id, uuid5
from streams.errors import BadInput

PSEUDONYM_DIGITS = 32
"""Hexadecimal digits kept of an HMAC: 128 bits, so that two of a billion customers never share a pseudonym."""
CACHED_PSEUDONYMS = 1 << 15
LISTED = 20
"""Names of a list that a message shows."""
LONG = 1 << 63
"""Integers of records are at least -LONG and less than LONG."""
PRECISION, SCALE = 24, 6
"""Digits of a decimal in a record, and how many of them stand behind the point."""

_CODES = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE
        CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG
        HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK
        MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE
        SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW
        ZWG""",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
CURRENCY_DECIMALS: Mapping[str, int] = {code: decimals for decimals, codes in _CODES.items() for code in codes.split()}
"""Decimals of each currency (ISO 4217, list one)."""

_NUMBER = re.compile(r"([+-]?)([0-9]+)(?:\.([0-9]+))?")


class Raw(NamedTuple):
    """Input as it was, as far as a dead letter tells of it."""

    head: bytes
    """The first `RAW_BYTES`."""
    size: int
    """Bytes of the whole."""
    sha256: str
    """Of the whole, hexadecimal."""


def raw_of(whole: bytes) -> Raw:
    """The description of input that is at hand as a whole."""
    return Raw(whole[:RAW_BYTES], len(whole), sha256(whole).hexdigest())


@lru_cache(CACHED_PSEUDONYMS)
def pseudonym(secret: bytes, account: str, value: str) -> str:
    """Pseudonym of what identifies a person at an account: HMAC-SHA256 under the installation's key, shortened.

    The same person has another pseudonym at another account: nothing links the two but an event that says so.
    """
    return hmac.digest(secret, f"{account}\x1f{value}".encode(), "sha256").hex()[:PSEUDONYM_DIGITS]


def customer_id(secret: bytes, account: str, value: str) -> str:
    """Id of a customer: `customer:<account>:<pseudonym>`."""
    return f"customer:{account}:{pseudonym(secret, account, value)}"


def parse_integer(text: str) -> int:
    """The whole number that `text` writes, such as `-12`. Raises BadInput `wrong_number`."""
    found = _NUMBER.fullmatch(text)
    if found is None or found[3] is not None:
        raise BadInput("wrong_number", f"{shown(text)} is no whole number")
    value = int(text) if len(text) < PRECISION else LONG
    if not -LONG <= value < LONG:
        raise BadInput("wrong_number", f"{shown(text)} does not fit in 64 bits")
    return value


def parse_decimal(text: str) -> Decimal:
    """The number that `text` writes, such as `-12.50`, exactly. Raises BadInput `wrong_number`."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise BadInput("wrong_number", f"{shown(text)} is no number of the form 1234.56")
    whole, fraction = found[2].lstrip("0"), (found[3] or "").rstrip("0")
    if len(whole) > PRECISION - SCALE or len(fraction) > SCALE:
        raise BadInput(
            "wrong_number", f"{shown(text)} has more than {PRECISION - SCALE} digits before or {SCALE} behind the point"
        )
    return Decimal(f"{found[1]}{whole or '0'}.{fraction}" if fraction else f"{found[1]}{whole or '0'}")


def parse_minor(text: str, currency: str) -> int:
    """The amount that `text` writes in whole minor units of a currency: `1.50` of EUR is 150. Never rounds.

    Raises BadInput: `unknown_currency`, `wrong_number` (also for more decimals than the currency has).
    """
    decimals = CURRENCY_DECIMALS.get(currency)
    if decimals is None:
        raise BadInput("unknown_currency", f"{shown(currency)} is no currency code of ISO 4217")
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise BadInput("wrong_number", f"{shown(text)} is no amount of the form 1234.56")
    fraction = (found[3] or "").rstrip("0")
    if len(fraction) > decimals:
        raise BadInput("wrong_number", f"{shown(text)} has more than the {decimals} decimals of {currency}")
    return parse_integer(f"{found[1]}{found[2]}{fraction.ljust(decimals, '0')}")


def shown(value: str, limit: int = 80) -> str:
    """A value as a message shows it: quoted and short."""
    return repr(cut(value, limit))


def cut(text: str, limit: int = 80) -> str:
    """The beginning of a text that may be long."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def listed(names: Collection[str]) -> str:
    """Names as a message shows them: the first `LISTED`, and how many more there are."""
    some = ", ".join(cut(name, 40) for name in islice(names, LISTED))
    return some if len(names) <= LISTED else f"{some} and {len(names) - LISTED:,} more"


def text_event(event: events.Event, text: str, subject: str | None) -> events.MessageText:
    """The text of a message or review, to be published beside it: it is kept for a shorter time."""
    return events.MessageText(
        event_id=event_id(event.account, "message_text", event.event_id),
        event_at=event.event_at,
        ingested_at=event.ingested_at,
        account=event.account,
        marketplace=event.marketplace,
        sequence=event.sequence,
        about=event.about,
        customer=event.customer,
        leader=event.leader,
        text_of=event.event_id,
        subject=subject,
        text=text,
    )


def dead_row(account: str, file: str, line: int, raw: Raw, error: BadInput) -> events.DeadLetter:
    """The dead letter of a row of a file (name without folders). Read again, it is the same dead letter."""
    return events.DeadLetter(
        dead_letter_id=str(uuid5("\x1f".join(("dead_letter", account, file, str(line), raw.sha256)))),
        reason=error.code,
        detail=error.detail[:DETAIL_CHARACTERS],
        agent="import",
        account=account,
        origin_file=file,
        origin_line=line,
        raw_size=raw.size,
        raw_sha256=raw.sha256,
        raw=raw.head,
    )
