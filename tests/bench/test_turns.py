"""Ways that take turns: what is counted, and what a way that does not fit in memory gives."""

from __future__ import annotations

import time
from functools import partial

import pytest
import torch


def sleeper(seconds: float):
    """A way of two units a turn whose first turn is much slower."""

    def run(turn: int) -> int:
        time.sleep(seconds if turn else 0.5)
        return 2

    return run


def too_large():
    raise torch.OutOfMemoryError("not on this device")


def test_ways_take_turns(capsys: pytest.CaptureFixture[str]) -> None:
    """0.1 s and 0.4 s a turn of two units: 20 and 5 units a second, a ratio of 4; the slow first turn is left out."""
    from turns import compare

    ways = {"quick": partial(sleeper, 0.1), "large": too_large, "slow": partial(sleeper, 0.4)}
    found = compare("a model", "units", ways, 2)
    assert [len(found[name].seconds) for name in ways] == [2, 0, 2]
    assert min(found["quick"].seconds) >= 0.05 and min(found["slow"].seconds) >= 0.2
    assert 0.05 < found["quick"].gigabytes < 20
    quick, large, slow = capsys.readouterr().out.splitlines()
    print(quick, slow, sep="\n")
    ratio = float(quick.partition(" x")[2].split()[0])
    assert 3 < ratio < 4.5 and " units/s " in quick
    assert large.split()[-3:] == ["out", "of", "memory"] and "x1.00 [1.00, 1.00]" in slow
