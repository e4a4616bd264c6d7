"""What SECURITY.md promises, held to the sources."""

from __future__ import annotations

import ast
import re
import socket
from pathlib import Path

import pytest

from tests.conftest import NetworkDenied
from tests.project import ROOT, imported, name_of, parse, python_files

FETCHERS = {"aiohttp", "ftplib", "http.client", "httpx", "requests", "socket", "urllib.request", "urllib3"}
CODE_FORMATS = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
SOURCES = python_files("src")
TEXTS = [
    path
    for folder in ("src", "scripts", "docs", "examples")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".cfg", ".css", ".csv", ".html", ".js", ".json", ".md", ".py", ".toml", ".yaml"}
]
MENTIONS = re.compile(r""""?trust_remote_code"?[:=] ?\w+""")
MACHINE_PATH = re.compile(r"(?<![\w.:/<>~-])/(?:home|media|mnt|opt|root|scratch|srv|Users|work)/\w")


def calls(path: Path, name: str) -> list[ast.Call]:
    """Calls of `name` or `anything.name` in `path`."""
    found = [node for node in ast.walk(parse(path)) if isinstance(node, ast.Call)]
    return [node for node in found if ast.unparse(node.func).rpartition(".")[2] == name]


POSTS = {("src/caig/models/openai_model.py", name) for name in ("http.client", "urllib.request")}


@pytest.mark.parametrize(
    ("forbidden", "known"), [(FETCHERS, POSTS), (CODE_FORMATS, set())], ids=["fetches a URL", "runs code from a file"]
)
def test_sources_never_import_what(forbidden: set[str], known: set[tuple[str, str]]) -> None:
    found = {(name_of(path), name) for path in SOURCES for name in imported(path) if name in forbidden}
    assert found == known


def test_torch_loads_tensors_only() -> None:
    loads = [
        (name_of(path), call)
        for path in SOURCES
        for call in calls(path, "load")
        if ast.unparse(call.func) == "torch.load"
    ]
    unsafe = [file for file, call in loads if "weights_only=True" not in ast.unparse(call)]
    assert loads and unsafe == []


def test_remote_code_is_never_trusted() -> None:
    """Named only to be refused: left open, transformers asks on the terminal."""
    named = {(name_of(path), text) for path in SOURCES for text in MENTIONS.findall(path.read_text())}
    assert named == {("src/caig/models/mllm/loading.py", '"trust_remote_code": False')}


def test_nothing_evaluates_text() -> None:
    found = {
        (name_of(path), name)
        for path in SOURCES
        for name in ("eval", "exec")
        for call in calls(path, name)
        if isinstance(call.func, ast.Name)
    }
    assert found == set()


PAGE = sorted((ROOT / "src/caig/service/page").iterdir())
ELSEWHERE = re.compile(r"https?://(?!www\.w3\.org/2000/svg)|@import|\bimport\(|url\(")
MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|<script>|\son\w+=|\sstyle="
)


@pytest.mark.parametrize("path", PAGE, ids=name_of)
def test_the_page_loads_nothing_from_elsewhere_and_makes_no_markup(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ELSEWHERE.findall(text) == [] and MARKUP.findall(text) == []


def test_no_file_names_a_machine() -> None:
    found = [
        f"{name_of(path)}: {match.group()}"
        for path in TEXTS
        if "weights" not in path.parts
        for match in MACHINE_PATH.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize("text", ["open('/home/someone/data')", "see /root/x", '"/work/y"'])
def test_a_machine_path_is_found(text: str) -> None:
    assert MACHINE_PATH.search(text)


def test_the_network_is_out_of_reach() -> None:
    with pytest.raises(NetworkDenied, match="example.invalid"):
        socket.create_connection(("example.invalid", 80), timeout=1)
    with pytest.raises(NetworkDenied, match="192.0.2.1"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
