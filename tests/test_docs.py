"""README and its neighbours: commands parse, Python compiles, files exist, numbers say where they come from."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from caig.cli import app, main
from tests.project import ROOT, name_of

README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
RECORDS = [ROOT / "docs/reproduce.md", *sorted((ROOT / "docs/model-cards").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELLS, SECTION = {"bash", "console", "sh"}, re.compile(r"^## ", re.MULTILINE)
MEASURED = re.compile(r"\b\d+(?:\.\d+)?\s?(?:s|ms|seconds|minutes|GB|MB|dB|%)(?=[\s.,;:)|]|$)", re.MULTILINE)
COMMAND = re.compile(r"(?:^|`|\$ )(?:caig|make|python|pip) ", re.MULTILINE)
FAKES = {
    "generate": {"prompt": "Prompts", "background": "Backgrounds", "reward": "Rewards"},
    "describe": {"prompt": "Prompts"},
    "paint": {"background": "Backgrounds"},
    "score": {"reward": "Rewards"},
}
NEED_DATA = {"train", "evaluate", "comparisons", "shop", "import", "serve", "keys", "export", "learn"}  # or never end
INLINE = re.compile(r"`caig\s([^`]*\s--[^`]*)`")  # with an option; a command's bare name is a mention
LINK = re.compile(r"\]\(([^)#:]+)\)")


def blocks(page: Path, languages: set[str]) -> Iterator[str]:
    yield from (body for language, body in FENCE.findall(page.read_text(encoding="utf-8")) if language in languages)


def shell_lines(page: Path) -> list[str]:
    """Commands of the page's shell blocks: lines after `$ ` where a block has prompts, else every line."""
    lines = []
    for block in blocks(page, SHELLS):
        joined = block.replace("\\\n", " ").splitlines()
        prompted = [line[2:] for line in joined if line.startswith("$ ")]
        lines += prompted or [line for line in joined if line.strip() and not line.startswith("#")]
    return lines


def words(program: str) -> list[tuple[str, list[str]]]:
    """(page, arguments) of every call of `program` in the documents."""
    lines = [(name_of(page), shlex.split(line, comments=True)) for page in PAGES for line in shell_lines(page)]
    return [(page, line[1:]) for page, line in lines if line and line[0] == program]


def inline_words() -> list[tuple[str, list[str]]]:
    """(page, arguments) of every call of caig with options within the text of what says how to make things again."""
    texts = {name_of(page): FENCE.sub("", page.read_text(encoding="utf-8")) for page in RECORDS}
    return [(page, shlex.split(line)) for page, text in texts.items() for line in INLINE.findall(text)]


@pytest.mark.parametrize(
    ("page", "arguments"), [*words("caig"), *inline_words()], ids=lambda value: " ".join(value)[:60]
)
def test_commands_parse(page: str, arguments: list[str]) -> None:
    command, _, ignored = app.parse_args(arguments, exit_on_error=False, print_error=False)
    assert callable(command) and not ignored
    missing = [word for word in arguments if word.startswith(("examples/", "src/")) and not (ROOT / word).exists()]
    assert missing == [], page


def test_every_record_has_commands_in_its_text() -> None:
    assert {page for page, _ in inline_words()} == {name_of(page) for page in RECORDS}


def test_the_readme_shows_every_command() -> None:
    shown = {arguments[0] for page, arguments in words("caig") if page == "README.md"}
    assert shown >= {name for name in app if not name.startswith("-")}


@pytest.mark.parametrize("embedded", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["fake", "embedded"])
def test_the_readme_runs(embedded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command in the order of the page, but those that need data; with fakes neither demo nor the catalogue."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "tests/cli")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    session = [arguments for page, arguments in words("caig") if page == "README.md" and arguments[0] not in NEED_DATA]
    short = [arguments for arguments in session if arguments[0] in FAKES and "--catalog" not in arguments]
    absent = ("--preset", "runs/x/best", "runs/own/model")  # full-size models, on a GPU; what trainings have left
    session = [arguments for arguments in session if not set(absent) & set(arguments)]
    for arguments in session if embedded else short:
        fakes = {} if embedded else FAKES[arguments[0]]
        models = [word for role, name in fakes.items() for word in (f"--{role}-model", f"python:cli_fakes:{name}")]
        assert main([*arguments, *models]) == 0, arguments


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for _, arguments in words("make") for target in arguments if "=" not in target}
    named |= {name for page in PAGES for name in re.findall(r"`make ([\w-]+)`", page.read_text(encoding="utf-8"))}
    assert {"demo", "test"} <= named <= targets


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_compiles(page: Path) -> None:
    for number, block in enumerate(blocks(page, {"python"}), 1):
        assert compile(block, f"{name_of(page)} block {number}", "exec")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    links = LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_numbers_in_the_readme_stand_beside_the_command_that_gives_them() -> None:
    sections = SECTION.split(README.read_text(encoding="utf-8"))
    bare = [
        (section.splitlines()[0], MEASURED.findall(section))
        for section in sections
        if MEASURED.search(section) and not COMMAND.search(section)
    ]
    assert bare == []


@pytest.mark.parametrize(("text", "found"), [("takes 26 s on", True), ("3.1 GB", True), ("0.9 of 18 settings", False)])
def test_a_measured_number_is_found(text: str, found: bool) -> None:
    assert bool(MEASURED.search(text)) == found
