"""caig's DPO step and TRL's: both train all pairs of the same texts, and the script tells the rates of both."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

from caig.preference import policy
from tests.project import ROOT

LINE = re.compile(r"^(caig|trl): ([\d.]+) pairs a second of CPU, peak [\d.]+ MB$", re.M)
PRODUCTS, CANDIDATES = 6, 3
PAIRS = PRODUCTS * CANDIDATES * (CANDIDATES - 1) // 2


def test_a_product_has_no_text_twice() -> None:
    """caig trains no pair of equal texts, which the rate would count all the same."""
    import dpo

    *_, texts = dpo.build(64, 8)
    assert [len(set(own)) for own in texts] == [8] * 64


def test_both_train_the_same_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as the rate counts, and every one has the same log-probabilities under the reference."""
    trl = pytest.importorskip("trl", reason="trl is not installed: pip install caig[dev]")
    import dpo

    ours, trainers, plain = [], [], policy.objective

    def noted(pairs: policy.Pairs, **options: Any) -> Any:
        ours.extend(zip(pairs.ref_chosen.tolist(), pairs.ref_rejected.tolist(), strict=True))
        return plain(pairs, **options)

    class Noted(trl.DPOTrainer):
        def train(self, *arguments: Any, **options: Any) -> Any:
            trainers.append(self)
            return super().train(*arguments, **options)

    monkeypatch.setattr(policy, "objective", noted)
    monkeypatch.setattr(trl, "DPOTrainer", Noted)
    assert dpo.ours(PRODUCTS, CANDIDATES) > 0 and dpo.theirs(PRODUCTS, CANDIDATES) > 0
    rows = trainers[0].train_dataset
    theirs = zip(rows["ref_chosen_logps"], rows["ref_rejected_logps"], strict=True)
    gap = max(abs(a - b) for one, two in zip(ours, theirs, strict=True) for a, b in zip(one, two, strict=True))
    print(f"required: {PAIRS} pairs, to 1e-3 nats; measured {len(ours)}, {gap:.1e}")
    assert len(ours) == PAIRS and gap < 1e-3


@pytest.mark.slow
def test_the_script() -> None:
    pytest.importorskip("trl", reason="trl is not installed: pip install caig[dev]")
    sizes = ["--products", "8", "--candidates", "4"]
    done = subprocess.run([sys.executable, "bench/dpo.py", *sizes], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    rates = {name: float(rate) for name, rate in LINE.findall(done.stdout)}
    assert set(rates) == {"caig", "trl"} and rates["caig"] > rates["trl"] > 0
