"""Counterfactual edits: a judge that looks at one quality alone is explained by that quality."""

import cv2
import numpy as np
import pytest

from caig.evaluation.qualities import QUALITIES, Reason, explain


def pictures() -> list[np.ndarray]:
    """A scene, brighter, greyer, warmer and blurred."""
    rng = np.random.default_rng(0)
    scene = cv2.GaussianBlur(rng.uniform(0, 255, (48, 48, 3)).astype(np.float32), (0, 0), 2)
    scene = (scene - scene.mean()) * 2 + 110
    grey = scene.mean(2, keepdims=True)
    changed = [
        scene,
        scene + 40,
        grey + 0.3 * (scene - grey),
        scene * [1.2, 1, 0.7],
        cv2.GaussianBlur(scene, (0, 0), 3),
    ]
    return [np.clip(picture, 0, 255).astype(np.uint8) for picture in changed]


def lab(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


@pytest.mark.parametrize(("number", "picture"), [(0, 1), (2, 2), (3, 3), (4, 4)])
def test_a_judge_of_one_quality_is_explained_by_it(number: int, picture: int):
    quality = QUALITIES[number]
    own = pictures()
    reasons = explain(own, lambda shown: [quality.measure(lab(one)) for one in shown])[picture]
    value = quality.measure(lab(own[picture]))
    others = np.mean([quality.measure(lab(one)) for one in own if one is not own[picture]])
    named = next(reason for reason in reasons if reason.words in (quality.more, quality.less))
    assert named.words == (quality.more if value > others else quality.less)
    assert (named.value, named.others) == (pytest.approx(value), pytest.approx(others))
    print(f"required {value - others:.3f}, measured {named.effect:.3f}")
    assert named.effect == pytest.approx(value - others, rel=0.15), "the quality became the others' mean"


def test_a_judge_that_likes_all_alike_has_no_reasons():
    assert explain(pictures(), lambda shown: [1.0] * len(shown)) == [[], [], [], [], []]


def test_one_picture_has_nothing_to_be_compared_with():
    assert explain(pictures()[:1], lambda shown: 1 / 0) == [[]]


def test_words():
    reason = Reason(words="darker than the others", value=31.2, others=58.0, unit="L*", effect=-0.234)
    assert str(reason) == "darker than the others (31 against 58 L*) lowers it by 0.23"


def test_only_the_first_are_explained() -> None:
    shown = pictures()[:3]
    asked: list[int] = []

    def judge(pictures):  # type: ignore[no-untyped-def]
        asked.append(len(pictures))
        return [float(one.mean()) for one in pictures]

    assert explain(shown, judge, first=1) == explain(shown, judge)[:1]
    assert asked == [1 + len(QUALITIES)] * (1 + 3), (
        "each picture beside its own edits: a judge of pairs compares no others"
    )
