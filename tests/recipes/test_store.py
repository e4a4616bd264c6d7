"""Steps of a run: made once, read afterwards, never mixed with those of other settings."""

from pathlib import Path

import pytest
from accelerate import Accelerator

from caig.errors import InputError
from caig.recipes.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, {"beta": 0.1}, Accelerator(cpu=True))


def test_a_step_is_made_once_and_reads_as_json(store: Store):
    assert store.once("a/b", lambda x: (x, 2), 1) == [1, 2]
    assert store.once("a/b", lambda: 1 / 0) == [1, 2]
    assert store.by_one("a/b", lambda: 1 / 0) == [1, 2]


def test_a_step_of_all_is_made_once(store: Store):
    assert [store.by_all("e", make, 4) for make in (lambda x: x + 1, lambda x: 1 / 0)] == [5, 5]


def test_a_step_that_fails_leaves_nothing(store: Store, tmp_path: Path):
    with pytest.raises(ZeroDivisionError):
        store.once("c", lambda: 1 / 0)
    assert not (tmp_path / "c.json").exists()
    assert store.once("c", lambda: 3) == 3


def test_shared_items_come_back_together(store: Store):
    assert store.shared("d", lambda items, more: {i: i + more for i in items}, ["a", "b"], "!") == {
        "a": "a!",
        "b": "b!",
    }


def test_other_settings_are_refused(store: Store, tmp_path: Path):
    Store(tmp_path, {"beta": 0.1}, store.accelerator)
    with pytest.raises(InputError, match="a run with other settings .beta: 0.1, now 0.2"):
        Store(tmp_path, {"beta": 0.2}, store.accelerator)
