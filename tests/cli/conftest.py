from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_fakes import FAKES
from PIL import Image

from caig.cli import main


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def caig(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Run `caig` with arguments in an empty folder that holds photo.png; `fakes` names the options of fake models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parent)
    photo = Image.new("RGB", (80, 100), "white")
    photo.paste((160, 20, 40), (25, 20, 55, 80))
    photo.save(tmp_path / "photo.png")

    def run(*arguments: str, fakes: tuple[str, ...] = ()) -> Outcome:
        models = [part for option in fakes for part in (option, f"python:cli_fakes:{FAKES[option]}")]
        code = main([*arguments, *models])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run
