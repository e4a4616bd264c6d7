"""The loop's study: lifts and regret by hand, a page of its curves, and a whole tiny run that goes on when cut."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caig.errors import InputError
from caig.online.ledger import Ledger
from caig.online.schema import open_database
from caig.studies import loop
from caig.studies.loop import POLICIES, Config, run
from caig.studies.loop_report import Results, plot
from tests.recipes.learn_toys import write_models
from tests.recipes.pcpo_toys import Painter

SCENES = Path(__file__).parents[1] / "data"


def rows() -> list[dict[str, Any]]:
    """Two cycles, one world, two products: uniform 0.02, thompson 0.02 then 0.03, the loop 0.02 then 0.04 of 100."""
    last = {"uniform": 0.02, "thompson": 0.03, "loop": 0.04}
    return [
        {"world": 1, "policy": policy, "cycle": cycle, "product": product, "shown": 100, "ads": {"a": ctr, "b": 0.05}}
        | {"ctr": ctr}
        for policy in POLICIES
        for cycle, ctr in ((1, 0.02), (2, last[policy]))
        for product in ("p", "q")
    ]


def test_lift_and_regret_by_hand() -> None:
    results = Results.of(rows())
    found = {one.name: one for one in results.estimates()}
    assert found["cycle 2: true CTR, loop"].value == pytest.approx(0.04)
    assert found["last cycle: lift of the loop over thompson"].value == pytest.approx(4 / 3 - 1)
    assert found["last cycle: lift of the loop over uniform"].value == pytest.approx(1.0)
    assert found["all cycles: lift of the loop over uniform"].value == pytest.approx(0.03 / 0.02 - 1)
    assert found["last cycle: best ad of the loop over the best first one"].value == pytest.approx(0)
    # The best ad has 0.05: 3 clicks of 100 are lost at 0.02, 1 at 0.04.
    assert results.regret("loop").tolist() == [[pytest.approx([3, 3])], [pytest.approx([1, 1])]]
    assert found["regret of loop, clicks a product"].value == pytest.approx(4)
    assert found["regret of uniform, clicks a product"].n == 2


def test_a_plot_names_its_lines() -> None:
    figure = plot("CTR <%>", {"uniform": [1.0, 2.0], "loop": [1.0, 3.0]})
    assert figure.count("<polyline") == 2 and "loop 3" in figure and "CTR &lt;%&gt;" in figure
    assert np.char.count(figure, "http") == 0


@pytest.mark.parametrize("name", ["cycles", "worlds", "products", "shoppers", "ads"])
def test_unusable_settings(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"--{name}: expected at least"):
        replace(Config(scenes=SCENES, out=tmp_path), **{name: 0})


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr("caig.models.prompt_model.MAX_TOKENS", 12)
    monkeypatch.setattr("caig.studies.paint.load_painter", lambda name, coarse: Painter())
    monkeypatch.setattr(loop, "WINDOW", 4)
    monkeypatch.setattr("caig.studies.loop_traffic.TOGETHER", 40)  # a busy machine takes no 4 s for these
    models = write_models(tmp_path / "models")
    names = {"prompt_model": str(models / "prompt"), "reward_model": str(models / "reward")}
    small = {"cycles": 2, "worlds": 1, "products": 6, "shoppers": 60, "ads": 2, "candidates": 2, "fresh": 1, "arms": 2}
    return Config(scenes=SCENES, out=tmp_path / "run", side=64, steps=2, rounds=0, **small, **names)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_cut(tiny: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = loop.cycle, []

    async def cut(*arguments: Any) -> Any:
        found = await real(*arguments)
        calls.append(arguments[2:4])
        if calls[-1] == ("thompson", 2):
            raise KeyboardInterrupt  # its shoppers came, and nothing was written of it
        return found

    monkeypatch.setattr(loop, "cycle", cut)
    with pytest.raises(KeyboardInterrupt):
        run(tiny)
    monkeypatch.setattr(loop, "cycle", real)
    estimates = {one.name: one for one in run(tiny)}
    assert calls == [("uniform", 1), ("uniform", 2), ("thompson", 1), ("thompson", 2)]
    assert {f"cycle {k}: true CTR, {policy}" for k in (1, 2) for policy in POLICIES} <= estimates.keys()
    for policy in POLICIES:
        engine = open_database(f"sqlite:///{tiny.out / f'0/{policy}/service/ledger.db'}")
        assert len(Ledger(engine).export()) == 2 * 6 * 60  # the cut cycle's shoppers were not counted twice
    found = json.loads((tiny.out / "results.json").read_text())["rows"]
    more = [set(row["ads"]) for row in found if row["policy"] == "loop"]
    assert any(after - before for before, after in zip(more[:6], more[6:], strict=True))  # fresh ads
    assert all(len(ads) == 3 for ads in more)
    page = (tiny.out / "index.html").read_text()
    assert page.count("<polyline") == 6 and "Regret" in page
    with pytest.raises(InputError, match="shoppers: 60, now 61"):
        run(replace(tiny, shoppers=61))
