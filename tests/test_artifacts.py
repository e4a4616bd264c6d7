"""Hashes that stay the same on every machine; files and folders that are whole or absent."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from caig.artifacts import (
    content_hash,
    published_folder,
    read_json_lines,
    record_hash,
    to_json,
    write_atomic,
    write_json_lines,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_content_hash_is_sha256_over_bytes_or_dtype_shape_and_values() -> None:
    assert content_hash(b"abc") == hashlib.sha256(b"abc").hexdigest()[:20]
    grid = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert content_hash(grid) == hashlib.sha256(b"|u1(2, 3)" + bytes(range(6))).hexdigest()[:20]
    assert content_hash(grid) == content_hash(np.asfortranarray(grid)) != content_hash(grid.reshape(3, 2))


def test_record_hash_ignores_the_order_of_keys_only() -> None:
    record = {"a": 1, "b": [1, 2]}
    assert record_hash(record) == record_hash({"b": [1, 2], "a": 1}) != record_hash({"a": 1, "b": [2, 1]})
    assert record_hash({"text": "half a face \ud83d"})


def test_to_json_writes_records() -> None:
    @dataclass(frozen=True)
    class Point:
        x: float
        where: Path

    record = {"point": Point(1.5, Path("a/b")), "number": np.float32(0.5), "row": np.array([1, 2]), "text": "é\u2028"}
    assert json.loads(to_json(record)) == {
        "point": {"x": 1.5, "where": "a/b"}, "number": 0.5, "row": [1, 2], "text": "é\u2028"
    }  # fmt: skip
    with pytest.raises(ValueError):
        to_json(float("nan"))


def test_json_lines_survive_odd_line_ends(tmp_path: Path) -> None:
    records = [{"text": "a\u2028b\x85c\nd"}, {"text": ""}]
    write_json_lines(tmp_path / "deep/r.jsonl", records)
    assert read_json_lines(tmp_path / "deep/r.jsonl") == records


def test_write_atomic_replaces_or_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")
    mode = path.stat().st_mode
    (tmp_path / "plain").write_bytes(b"")
    assert mode == (tmp_path / "plain").stat().st_mode

    def full(handle: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and names(tmp_path) == ["file", "plain"]


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    for content in ("first", "second"):
        with published_folder(tmp_path / "target") as folder:
            (folder / content).write_text(content)
            assert content not in names(tmp_path / "target")
    assert names(tmp_path) == ["second", "target"]


def test_a_folder_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    with published_folder(tmp_path / "target") as folder:
        (folder / "old").write_text("old")
    with pytest.raises(KeyboardInterrupt), published_folder(tmp_path / "target") as folder:
        (folder / "new").write_text("new")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["old", "target"]
