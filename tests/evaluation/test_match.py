"""Match rate, entropy and distinct-2 on descriptions counted by hand."""

import pytest

from caig.evaluation.match import Described, bigrams_of, describe_all, distinct_2, entropy


def row(number: int, settings, matches, texts=("a b", "c d"), category="mug") -> Described:
    return Described(
        product_id=f"p{number}", category=category, texts=texts, settings=tuple(settings), matches=tuple(matches)
    )


ROWS = [
    row(0, ["kitchen", "desk"], [1.0, 1.0]),
    row(1, ["kitchen", "kitchen"], [1.0, 0.0]),
    row(2, [None, "beach"], [0.0, 0.0], category="lamp"),
]


def test_every_metric_by_hand():
    found = {e.name.partition(": ")[2]: e for e in describe_all("x", ROWS)}
    assert found["valid"].value == pytest.approx((1 + 1 + 0.5) / 3)
    assert found["match, first ad"].value == pytest.approx(2 / 3)
    assert found["match, all ads"].value == pytest.approx((1 + 0.5 + 0) / 3)
    assert found["settings all differ"].value == pytest.approx(2 / 3)
    # mug: kitchen 3, desk 1 -> 0.8113 bits; lamp: one each -> 1 bit
    assert found["setting entropy within a category, bits"].value == pytest.approx((0.8112781 + 1) / 2)
    assert found["setting entropy within a category, bits"].n == 2
    assert found["valid"].n == found["match, all ads"].n == 3
    assert all(e.low <= e.value + 1e-9 <= e.high + 2e-9 for e in found.values())


def test_entropy():
    assert entropy(["kitchen"] * 4) == 0
    assert entropy(["kitchen", "desk", "beach", None]) == 2


def test_bigrams_ignore_case_and_commas():
    assert bigrams_of("Soft light, wooden table") == [("soft", "light"), ("light", "wooden"), ("wooden", "table")]
    assert bigrams_of("soft") == []


def test_distinct_2_counts_equally_many_pairs():
    twice = [row(0, [None], [0.0], texts=("a b a b",)), row(1, [None], [0.0], texts=("c d e f",))]
    # 6 pairs, 5 different
    assert distinct_2("x", twice).value == pytest.approx(5 / 6)
    # the first 3 pairs of either product: ab ba ab -> 2/3, or cd de ef -> 1
    short = distinct_2("x", twice, bigrams=3)
    assert short.name == "x: distinct-2 of 3"
    assert (short.low, short.high) == (pytest.approx(2 / 3), 1)
    assert 2 / 3 < short.value < 1


def test_longer_texts_do_not_look_less_varied():
    """Twice as many texts of the same kind: plain distinct-2 would fall, the matched one stays."""
    texts = [row(n, [None], [0.0], texts=(f"a{n % 40} b c{n % 40} d",)) for n in range(80)]
    few, many = distinct_2("x", texts[:40], bigrams=60).value, distinct_2("x", texts, bigrams=60).value
    assert many == pytest.approx(few, abs=0.15)


def test_no_text_long_enough():
    assert distinct_2("x", [row(0, [None], [0.0], texts=("one",))]).value == 0
