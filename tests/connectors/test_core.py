"""Amounts are exact and pseudonyms tell nothing."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.core import (
    CURRENCY_DECIMALS,
    LONG,
    customer_id,
    parse_decimal,
    parse_integer,
    parse_minor,
    pseudonym,
)
from streams.errors import BadInput

CURRENCIES = st.sampled_from(sorted(CURRENCY_DECIMALS))
LONGS = st.integers(-LONG, LONG - 1)


@given(LONGS, CURRENCIES)
def test_every_amount_is_read_back_to_the_last_minor_unit(minor: int, currency: str) -> None:
    written = format(Decimal(minor).scaleb(-CURRENCY_DECIMALS[currency]), "f")
    assert parse_minor(written, currency) == minor


@given(LONGS, CURRENCIES, st.integers(1, 9))
def test_an_amount_with_a_fraction_of_a_minor_unit_is_refused_not_rounded(minor: int, currency: str, rest: int) -> None:
    whole = format(Decimal(minor).scaleb(-CURRENCY_DECIMALS[currency]), "f")
    with pytest.raises(BadInput, match="wrong_number"):
        parse_minor(f"{whole}{'' if '.' in whole else '.'}{rest}", currency)


@given(CURRENCIES, st.integers(0, 999_999), st.integers(0, 5))
def test_zeros_behind_an_amount_change_nothing(currency: str, whole: int, zeros: int) -> None:
    written = f"{whole}.{'0' * zeros}" if zeros else str(whole)
    assert parse_minor(written, currency) == whole * 10 ** CURRENCY_DECIMALS[currency]


@given(st.decimals(min_value=-(10**17), max_value=10**17, places=6))
def test_a_decimal_is_read_back_exactly(value: Decimal) -> None:
    assert parse_decimal(format(value, "f")) == value


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "1,5", "1e3", "0x1", "1_000", "½", "٣", "--1", "1.", ".5", "nan", "inf", "+"]
)
def test_what_is_no_plain_number_is_refused(text: str) -> None:
    for parse in (parse_integer, parse_decimal, lambda value: parse_minor(value, "EUR")):
        with pytest.raises(BadInput, match="wrong_number"):
            parse(text)


@pytest.mark.parametrize("text", [str(LONG), str(-LONG - 1), "9" * 5000])
def test_a_number_beyond_64_bits_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="does not fit in 64 bits"):
        parse_integer(text)


@pytest.mark.parametrize("text", ["1" + "0" * 18, "0.1234567"])
def test_a_decimal_with_more_digits_than_a_record_holds_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="more than 18 digits before or 6 behind the point"):
        parse_decimal(text)


@pytest.mark.parametrize("currency", ["", "eur", "XXX1", "DM"])
def test_an_unknown_currency_is_refused(currency: str) -> None:
    with pytest.raises(BadInput, match="unknown_currency"):
        parse_minor("1", currency)


def test_a_pseudonym_is_the_same_for_the_same_person_and_account_only() -> None:
    one = pseudonym(b"key", "shop", "ann@example.com")
    assert one == pseudonym(b"key", "shop", "ann@example.com")
    others = {
        pseudonym(b"key", "shop", "bob@example.com"),
        pseudonym(b"key", "desk", "ann@example.com"),
        pseudonym(b"other", "shop", "ann@example.com"),
    }
    assert len(others | {one}) == 4


def test_a_customer_id_holds_no_word_of_the_person() -> None:
    assert customer_id(b"key", "shop", "ann@example.com").startswith("customer:shop:")
    assert "ann" not in customer_id(b"key", "shop", "ann@example.com")
