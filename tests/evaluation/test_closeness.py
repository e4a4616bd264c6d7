"""Distances of picture sets, against values worked out by hand and known worlds."""

import numpy as np
import pytest

from caig.evaluation.closeness import density_and_coverage, frechet_distance, kernel_distance


def test_kernel_distance_by_hand() -> None:
    first, second = np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]])
    # k(x, y) = (xy + 1)^3: within first 1, within second 343, across 1, 1, 27, 64
    assert kernel_distance(first, second) == pytest.approx(1 + 343 - 2 * (1 + 1 + 27 + 64) / 4)


def test_frechet_distance_of_normals_by_hand() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 1, (200_000, 2)), rng.normal((3, 0), (2, 1), (200_000, 2))
    assert frechet_distance(first, second) == pytest.approx(9 + (2 - 1) ** 2, abs=0.1)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-6)


def test_halves_of_one_set_are_near_and_other_sets_far() -> None:
    rng = np.random.default_rng(1)
    one, other, far = rng.normal(0, 1, (300, 8)), rng.normal(0, 1, (300, 8)), rng.normal(1, 1, (300, 8))
    assert abs(kernel_distance(one, other)) < 0.05 < kernel_distance(one, far)
    assert frechet_distance(one, other) < 0.5 < frechet_distance(one, far)


def test_density_and_coverage_by_hand() -> None:
    real = np.array([[0.0], [1.0], [2.0], [10.0]])  # nearest other real one at 1, 1, 1 and 8
    made = np.array([[0.5], [0.6]])
    # 0 and 1 hold both made pictures, 2 and 10 none: 4 of (k = 1) * 2; 2 of 4 neighbourhoods
    assert density_and_coverage(real, made, k=1) == (2.0, 0.5)
    same = np.random.default_rng(2).normal(size=(200, 4))
    assert density_and_coverage(same, same)[1] == 1.0
