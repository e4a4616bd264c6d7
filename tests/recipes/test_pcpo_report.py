"""The page of a run of preference optimisation: what it says of guards, and the curves of what rounds were told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from caig.recipes.pcpo_report import write_page
from caig.recipes.pcpo_steps import Watched
from tests.recipes.pcpo_toys import toy

METRICS = {"kl": 1.0, "entropy": 2.0, "distinct_2": 0.5, "utility": 0.0}
CURVE = r"<figcaption>{}: ([^<]*)</figcaption>"


def page(folder: Path, parts: list[float], earlier: list[dict] | None = None, **last: float) -> str:
    """The page of a run of such rounds, the `last` of which measured so; `earlier` lines stand first in its log."""
    lines = [
        {"step": r, "alarm": "", "part": part, "setting_share": 0.5 - r / 10, "misfit_price": r / 100}
        for r, part in enumerate(parts, 1)
    ]
    folder.mkdir(exist_ok=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*(earlier or []), *lines]))
    calm = Watched(products=[], metrics=METRICS)
    end = Watched(products=[], metrics=METRICS | last)
    write_page(toy(folder, folder, max_kl=5.0), calm, [calm] * len(parts) + [end], 0)
    return (folder / "index.html").read_text()


@pytest.mark.parametrize(
    ("parts", "kl", "said"),
    [
        ([1.0, 1.0], 1.0, "No guard objected."),
        ([1.0, 0.25, 1.0, 0.5], 1.0, "Guards objected, so a part was taken: 0.25 of round 2, 0.5 of round 4."),
        ([1.0, 1.0], 6.0, "Stopped by a guard: kl 6 is above 5."),
        ([0.5, 0.25], 6.0, "Guards objected, so a part was taken: 0.5 of round 1, 0.25 of round 2. Stopped by a guard: "
         "kl 6 is above 5."),
    ],
    ids=["calm", "halved", "stopped", "halved and stopped"],
)  # fmt: skip
def test_what_guards_did(parts: list[float], kl: float, said: str, tmp_path: Path) -> None:
    assert f"(0 is the model as it came). {said}</p>" in page(tmp_path, parts, kl=kl)


def test_what_was_set_in_every_round_has_curves(tmp_path: Path) -> None:
    text = page(tmp_path, [1.0, 0.5])
    found = {name: re.findall(CURVE.format(name), text) for name in ("part", "setting_share", "misfit_price")}
    assert found == {"part": ["1 to 0.5"], "setting_share": ["0.4 to 0.3"], "misfit_price": ["0.01 to 0.02"]}


def test_of_a_round_told_twice_the_last_line_counts(tmp_path: Path) -> None:
    """An earlier version's lines have other fields, so a run that goes on tells the round again."""
    once = page(tmp_path / "once", [1.0, 0.5])
    earlier = [{"step": 2, "alarm": "", "part": 0.25}, {"step": 1, "alarm": "kl 6 is above 5"}]
    assert page(tmp_path / "twice", [1.0, 0.5], earlier).replace("twice", "once") == once
