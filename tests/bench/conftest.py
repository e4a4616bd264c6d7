"""The scripts of bench/ import each other as plain modules."""

import pytest

from tests.project import ROOT


@pytest.fixture(autouse=True)
def beside_the_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "bench")
