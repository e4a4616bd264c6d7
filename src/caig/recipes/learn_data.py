"""Where `caig learn` takes clicks from, each row exactly once: a service's ledger, or a folder of dated partitions.

What a cycle takes is copied to `out/clicks/<cycle>/<first day of the window>/` before anything learns from it, so that
a cycle that was cut goes on with the very same rows, and anyone can look at what a model learned from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from caig.artifacts import content_hash, published_folder, read_json_lines, record_hash, to_json, write_atomic
from caig.data.catalog import folder_name, read_catalog
from caig.data.clicks import CreativeClicks, read_clicks
from caig.data.scanning import day_of, table_files
from caig.errors import CaigError, CatalogError, InputError
from caig.types import Estimate, Product

if TYPE_CHECKING:
    from caig.recipes.learn import Config
    from caig.recipes.learn_steps import Studio, Turn
    from caig.recipes.store import Store

MANIFEST = "manifest.json"
EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Cycle:
    """One turn of the loop: `number` from 1, in the run folder `out`."""

    out: Path
    number: int

    @classmethod
    def current(cls, out: Path) -> Cycle:
        """The first cycle without a manifest: the one that was cut, or a new one."""
        return cls(out=out, number=len(list((out / "cycles").glob(f"*/{MANIFEST}"))) + 1)

    @property
    def name(self) -> str:
        return f"{self.number:04d}"

    @property
    def folder(self) -> Path:
        return self.out / "cycles" / self.name

    @property
    def products(self) -> Path:
        """A ledger's products as the cycle knows them, beside copies of their photos."""
        return self.out / f"products-{self.name}.jsonl"

    @property
    def rejected(self) -> Path:
        """What of the clicks so far training had to leave out, a line for each reason."""
        return self.folder / "reward" / "rejected.jsonl"

    @property
    def clicks(self) -> Path:
        """Its own rows; those of all cycles so far are in the folder above."""
        return self.out / "clicks" / self.name

    def earlier(self) -> list[dict[str, Any]]:
        """The manifests of the cycles before."""
        folders = sorted((self.out / "cycles").glob(f"*/{MANIFEST}"))
        return [json.loads(path.read_text(encoding="utf-8")) for path in folders]

    def windows(self, count: int) -> list[Path]:
        """The time windows of the newest `count` cycles, in order of time."""
        newest = sorted(path for path in self.clicks.parent.iterdir() if path.name <= self.name and path.name.isdigit())
        return [window for cycle in newest[-count:] for window in windows(cycle)]

    def left_out(self) -> list[dict[str, Any]]:
        """Why, of what, and how many of the clicks so far training had to leave out."""
        return [{name: one[name] for name in ("reason", "what", "count")} for one in read_json_lines(self.rejected)]

    def discard(self) -> None:
        """Forget what was taken: the next run takes it anew. The list of what was left out stays: errors name it."""
        told = self.rejected.read_bytes() if self.rejected.is_file() else None
        shutil.rmtree(self.clicks, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.products.unlink(missing_ok=True)
        if told is not None:
            write_atomic(self.rejected, told)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a cycle learns from: files by name with their content's hash, and how much of it is how old.

    `until` is the moment (ms) before which everything was taken; of a folder, the day after the last one.
    """

    files: Mapping[str, str]
    hash: str
    impressions: int
    clicks: int
    first: str
    until: int


class Source(Protocol):
    """Where clicks come from, and where fresh ads go."""

    config: Config
    pictures: Path
    """Folder of the ads' pictures."""

    def take(self, cycle: Cycle) -> Taken | None:
        """Copy into `cycle.clicks`, by window, what no cycle took; None when there is nothing."""

    def products(self, cycle: Cycle) -> Path:
        """A catalogue of the products, with photos."""

    def adopt(self, turn: Turn, role: str, model: Mapping[str, Any], passed: bool) -> None:
        """Hear of a model that the cycle made, and whether it is in use from now on."""

    def withdraw(self, turn: Turn, name: str) -> None:
        """Hear that the reward model in use harmed, and that `name` judges in its place."""

    def guards(self, turn: Turn, chosen: Mapping[str, set[str]], error: float) -> list[Estimate]:
        """What the ads that a model chose (campaign -> creatives) do to conversions and their value, where that is
        known: their lead over those they joined."""

    def launch(self, studio: Studio, store: Store) -> list[dict[str, Any]]:
        """Have fresh ads made and show them."""


class FolderSource:
    """Dated partitions below `--log`: files or folders with a day in their names. Days that are over are taken."""

    def __init__(self, config: Config) -> None:
        self.config = config
        if config.catalog is None:
            hint = "Name the products' catalogue."
            raise InputError("--catalog", expected="titles and photos beside --log", got="none", next_step=hint)
        assert config.log is not None
        self.log, self.catalog = config.log, config.catalog
        self.pictures = config.images or config.log

    def take(self, cycle: Cycle) -> Taken | None:
        """Copy the partitions that no cycle took; None when there are none.

        Raises:
            InputError: a file has no day in its name, or the files of a day that was taken have changed.
        """
        known = {name: mark for manifest in cycle.earlier() for name, mark in manifest["log"]["files"].items()}
        files = self._over()
        marks = {str(file.relative_to(self.log)): content_hash(file.read_bytes()) for file in files}
        days = {name: day for name, day in zip(marks, files.values(), strict=True)}
        _check_unchanged(known, marks, days)
        fresh = {name: mark for name, mark in marks.items() if name not in known}
        if not fresh:
            return None
        with published_folder(cycle.clicks) as work:
            for name in fresh:
                window = work / str(window_start(days[name], self.config.window))
                window.mkdir(exist_ok=True)
                shutil.copyfile(self.log / name, window / name.replace("/", "--"))
        new = [days[name] for name in fresh]
        return counted(cycle, fresh, first=min(new), until=_moment(max(new) + timedelta(days=1)))

    def _over(self) -> dict[Path, date]:
        """Files of days before today (UTC), by name."""
        today, found = datetime.now(UTC).date(), {}
        for file in table_files(self.log):
            day = day_of(str(file.relative_to(self.log)))
            if day is None:
                hint = "Name partitions by day, such as 2026-01-31.csv or day=2026-01-31/part-0.csv."
                raise InputError(str(file), expected="a day in the name", got="none", next_step=hint)
            if day < today:
                found[file] = day
        return found

    def products(self, cycle: Cycle) -> Path:
        """The catalogue."""
        return self.catalog

    def adopt(self, turn: Turn, role: str, model: Mapping[str, Any], passed: bool) -> None:
        """The manifest is all there is to tell."""

    def withdraw(self, turn: Turn, name: str) -> None:
        """Nothing was told, so nothing is taken back."""

    def guards(self, turn: Turn, chosen: Mapping[str, set[str]], error: float) -> list[Estimate]:
        """None: a log does not say which shares its ads had beside each other."""
        return []

    def launch(self, studio: Studio, store: Store) -> list[dict[str, Any]]:
        """Write fresh ads of every product that the cycle's rows show, for an ad server of one's own."""
        logs = [read_clicks(window, images=[self.pictures]) for window in windows(studio.turn.cycle.clicks)]
        shown: dict[str, list[CreativeClicks]] = {}
        for creative in (creative for log in logs for creative in log.creatives):
            shown.setdefault(creative.product_id, []).append(creative)
        found = [product for product in read_catalog(self.catalog).products if product.id in shown]
        return [store.once(f"fresh/{folder_name(p.id)}", self._launch, studio, p, shown[p.id]) for p in found]

    def _launch(self, studio: Studio, product: Product, shown: Sequence[CreativeClicks]) -> dict[str, Any]:
        """Fresh ads of one product; where it can't have any, `failed` says why, and the others have theirs."""
        try:
            return studio.write(product, (self.config.side, self.config.side), shown)
        except CaigError as error:
            return {"campaign": None, "creatives": [], "retired": [], "failed": f"product '{product.id}': {error}"}


def open_source(config: Config) -> Source:
    """The source that the settings name. InputError unless it is one of the two, and usable."""
    if bool(config.database) == bool(config.log):
        got, hint = "both" if config.log else "neither", "Name a service's ledger or a folder of logs."
        raise InputError("learn", expected="--database or --log", got=got, next_step=hint)
    if config.log:
        return FolderSource(config)
    from caig.service.serve import check_extra

    check_extra()
    from caig.recipes.learn_ledger import LedgerSource

    return LedgerSource(config)


def take_once(source: Source, cycle: Cycle) -> Taken | None:
    """What the cycle took, if it was begun before; else what is new, taken now."""
    path = cycle.folder / "taken.json"
    if path.is_file():
        return Taken(**json.loads(path.read_text(encoding="utf-8")))
    try:
        taken = source.take(cycle)
    except CatalogError:  # rows that nothing can be learned from yet may become some with those that follow
        cycle.discard()
        raise
    if taken is not None and taken.clicks < source.config.least_clicks:
        cycle.discard()
    elif taken is not None:
        write_atomic(path, to_json(asdict(taken)).encode())
    return taken


def counted(cycle: Cycle, files: Mapping[str, str], *, first: date, until: int) -> Taken:
    """What lies in the cycle's folder, counted as training reads it."""
    creatives = [c for window in windows(cycle.clicks) for c in read_clicks(window).creatives]
    shown, clicked = (int(sum(getattr(c.counts, name) for c in creatives)) for name in ("impressions", "clicks"))
    mark = record_hash(dict(files))
    return Taken(files=files, hash=mark, impressions=shown, clicks=clicked, first=str(first), until=until)


def windows(folder: Path) -> Sequence[Path]:
    """A cycle's windows, in order of time."""
    return sorted(path for path in folder.iterdir() if path.is_dir())


def window_start(day: date, length: int) -> date:
    """First day of the window of `length` days that `day` lies in; windows are counted from 1970 on."""
    return day - timedelta(days=(day - EPOCH).days % length)


def _check_unchanged(known: Mapping[str, str], marks: Mapping[str, str], days: Mapping[str, date]) -> None:
    """InputError when a partition that was taken holds other files now, or others than then."""
    taken = {day_of(name) for name in known}
    for name, mark in marks.items():
        if known.get(name, mark) != mark or (name not in known and days[name] in taken):
            got = "a new file of that day" if name not in known else "other content"
            hint = "Each day is taken once: put late rows into a later day."
            raise InputError(name, expected="partitions as they were when they were taken", got=got, next_step=hint)


def _moment(day: date) -> int:
    """Milliseconds since 1970 at the day's start in UTC."""
    return (day - EPOCH).days * 86_400_000
