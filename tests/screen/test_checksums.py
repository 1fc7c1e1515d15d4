"""Card numbers and IBANs are told from other digits by their published checks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.screen.checksums import CARD_RANGES, IBAN_CHARACTERS, is_card_number, is_iban, passes_luhn

# The networks' own test numbers, as their documentation prints them.
CARDS = (
    "378282246310005", "371449635398431", "30569309025904", "38520000023237", "36227206271667", "6011111111111117",
    "6011000990139424", "3530111333300000", "5555555555554444", "5105105105105100", "2223003122003222", "4111111111111111",
    "4012888888881881", "4222222222222", "6200000000000005",
)  # fmt: skip
# The examples of the IBAN registry.
IBANS = (
    "GB82WEST12345698765432", "DE89370400440532013000", "FR1420041010050500013M02606", "NL91ABNA0417164300", "NO9386011117947",
    "CH9300762011623852957", "SE4550000000058398257466", "MT84MALT011000012345MTLCAST001S", "SA0380000000608010167519",
    "BR1800360305000010009795493C1", "LC55HEMM000100010012001200023015", "ES9121000418450200051332",
)  # fmt: skip


@pytest.mark.parametrize("digits", CARDS)
def test_a_known_card_number_passes(digits: str) -> None:
    assert passes_luhn(digits)
    assert is_card_number(digits)


@pytest.mark.parametrize("digits", CARDS)
@given(data=st.data())
def test_a_card_number_with_one_digit_changed_does_not_pass(digits: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(digits) - 1))
    other = data.draw(st.sampled_from("0123456789").filter(lambda digit: digit != digits[place]))
    assert not passes_luhn(digits[:place] + other + digits[place + 1 :])


def test_the_example_of_the_standard_has_its_check_digit() -> None:
    """7992739871 is the worked example of Luhn's check; its check digit is 3."""
    assert [digit for digit in "0123456789" if passes_luhn("7992739871" + digit)] == ["3"]


@pytest.mark.parametrize("digits", ["0000000000000000", "1234567812345670", "9999999999999995"])
def test_digits_that_pass_luhn_without_a_networks_prefix_are_no_card(digits: str) -> None:
    assert passes_luhn(digits)
    assert not is_card_number(digits)


def test_a_prefix_range_has_ends_of_one_length() -> None:
    assert [pair for pair in CARD_RANGES if len(pair[0]) != len(pair[1]) or pair[0] > pair[1]] == []


@pytest.mark.parametrize("text", IBANS)
def test_a_known_iban_passes(text: str) -> None:
    assert is_iban(text)


@pytest.mark.parametrize("text", IBANS)
@given(data=st.data())
def test_an_iban_with_one_character_changed_does_not_pass(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(4, len(text) - 1))
    other = data.draw(st.sampled_from("0123456789").filter(lambda digit: digit != text[place]))
    changed = text[:place] + other + text[place + 1 :]
    # 1 modulo 97 misses a change only where a letter's two digits become one.
    assert not is_iban(changed) or text[place].isalpha()


@pytest.mark.parametrize("text", ["", "XX82WEST12345698765432", "GB82WEST1234569876543", "GB82"])
def test_another_length_or_country_is_no_iban(text: str) -> None:
    assert not is_iban(text)


def test_every_country_has_a_length_that_an_iban_may_have() -> None:
    assert len(IBAN_CHARACTERS) >= 80
    assert [
        code for code, length in IBAN_CHARACTERS.items() if not 15 <= length <= 34 or len(code) != 2
    ] == []
