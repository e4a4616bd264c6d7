import math

import pytest

from caig.evaluation.metrics import calibration_curve, calibration_gaps
from caig.evaluation.ranking import ndcg, risk_coverage


def test_ndcg_by_hand():
    # gains 3, 2, 0 ranked as 2, 3, 0: (2 + 3 / log2 3) / (3 + 2 / log2 3)
    expected = (2 + 3 / math.log2(3)) / (3 + 2 / math.log2(3))
    assert ndcg([0.5, 0.9, 0.1], [3, 2, 0]) == pytest.approx(expected)
    assert ndcg([3, 2, 1], [3, 2, 0]) == 1.0 and ndcg([1.0, 2.0], [0, 0]) == 1.0


def test_risk_coverage_by_hand():
    # surest first: right, wrong, tie, wrong
    risks = risk_coverage([0.1, 0.9, 0.2, 0.3], [1, 0, 0, 0.5], [0.25, 0.5, 0.75, 1.0])
    assert risks.tolist() == [0, 0.5, 0.5, 0.625]
    assert risk_coverage([1, 2], [0, 1], [0.01]).tolist() == [1.0], "one prediction is kept"


def test_calibration_curve_by_hand():
    # confidences 0.95, 0.9 (right, wrong) and 0.55 (seen from the other side, right)
    curve = calibration_curve([0.95, 0.1, 0.45], [1, 1, 0])
    expected = [(0.55, 1.0, 1), (0.925, 0.5, 2)]
    assert [pytest.approx(one, abs=1e-6) for one in expected] == curve


def test_calibration_gaps_by_hand():
    found = calibration_gaps("x", [0.95, 0.1, 0.45], [1, 1, 0], ["a", "b", "b"])
    about = "x: share right less predicted, where {} is predicted"
    assert [(e.name, e.value, e.n) for e in found] == [
        (about.format("0.5 to 0.6"), pytest.approx(1 - 0.55), 1),
        (about.format("0.9 to 1"), pytest.approx(0.5 - 0.925), 2),
    ]
    assert (found[1].low, found[1].high) == pytest.approx((-0.9, 0.05)), "product b alone, product a alone"
