"""A run of preference optimisation on one self-contained page: curves, the same products' ads round by round, and
what was accepted and rejected."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from PIL import Image

from caig.artifacts import read_json_lines, write_atomic
from caig.recipes.pcpo import Config
from caig.recipes.pcpo_steps import Watched

WIDTH, HEIGHT, SIDE = 300, 110, 128  # pixels: of a curve, and of a picture
SET = ("part", "setting_share", "misfit_price")  # of the log's lines of rounds
SHOWN = 8  # products with their ads, and products with what was accepted and rejected, per round
STYLE = (
    "body{font:14px/1.4 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#222}"
    "td,th{vertical-align:top;text-align:left;padding:.3rem .6rem;border-top:1px solid #ddd}"
    "img{display:block;width:128px;height:128px}.text{width:128px;font-size:11px}"
    "table{border-collapse:collapse}figure{display:inline-block;margin:.5rem}"
    ".bad{color:#a00}svg{background:#f6f6f6}polyline{fill:none;stroke:#246;stroke-width:2}"
)


def write_page(config: Config, base: Watched, watched: Sequence[Watched], best: int) -> None:
    """Write `out/index.html` of the rounds that were run, whose guards count from `base`; `best` is the round whose
    adapter is in `out/best`."""
    from caig.recipes.pcpo_steps import alarms

    lines = read_json_lines(config.out / "log.jsonl")
    rounds = _rounds(lines)
    verdict = _verdict(rounds, alarms(config, base.metrics, watched[-1].metrics))
    parts = [
        f"<p>Best round: {best} of {len(watched) - 1} (0 is the model as it came). {escape(verdict)}</p>",
        "<h2>Measured on products that never train, round by round</h2>",
        *_curves({name: [one.metrics.get(name, 0.0) for one in watched] for name in watched[0].metrics}),
        "<h2>Set anew in every round, and the part of its step that guards let it take</h2>",
        *_curves({name: [line[name] for line in rounds] for name in SET}),
        "<h2>Training, step by step</h2>",
        *_curves({name: [line[name] for line in lines if name in line] for name in _told(lines)}),
        "<h2>The same products, round by round</h2>",
        _ads(config, watched),
        "<h2>Accepted and rejected descriptions</h2>",
        _verdicts(config, len(watched) - 1),
    ]
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>caig train pcpo</title><style>{STYLE}</style>"
    page = f"{head}<h1>Preference optimisation: {escape(config.out.name)}</h1>{''.join(parts)}</html>"
    write_atomic(config.out / "index.html", page.encode())


def _rounds(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What was told of each round, in order; the last word where an earlier version told fewer fields before."""
    last = {line["step"]: line for line in lines if "alarm" in line}
    return [last[r] for r in sorted(last)]


def _verdict(rounds: Sequence[Mapping[str, Any]], stopped: Sequence[str]) -> str:
    """Of which rounds guards had a part taken, and what they object to in the last, where that `stopped` the run."""
    parts = ", ".join(f"{line['part']:g} of round {line['step']}" for line in rounds if line["part"] < 1)
    said = [f"Guards objected, so a part was taken: {parts}."] if parts else []
    said += [f"Stopped by a guard: {'; '.join(stopped)}."] if stopped else []
    return " ".join(said) or "No guard objected."


def _told(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    names = ("loss", "margin", "product_margin", "stranger_margin", "ordered")
    return [name for name in names if any(name in line for line in lines)]


def _curves(series: Mapping[str, Sequence[float]]) -> list[str]:
    return [
        f"<figure><figcaption>{escape(name)}: {_span(row)}</figcaption>{_curve(row)}</figure>"
        for name, row in series.items()
    ]


def _span(row: Sequence[float]) -> str:
    return f"{row[0]:.3g} to {row[-1]:.3g}" if row else "nothing"


def _curve(row: Sequence[float]) -> str:
    low, high = min(row, default=0.0), max(row, default=1.0)
    scale = (HEIGHT - 10) / (high - low or 1.0)
    step = WIDTH / max(1, len(row) - 1)
    points = " ".join(f"{i * step:.1f},{HEIGHT - 5 - (value - low) * scale:.1f}" for i, value in enumerate(row))
    return f'<svg width="{WIDTH}" height="{HEIGHT}"><polyline points="{points}"/></svg>'


def _ads(config: Config, watched: Sequence[Watched]) -> str:
    head = "".join(f"<th>round {r}</th>" for r in range(len(watched)))
    rows = []
    for k, product in enumerate(watched[0].products[:SHOWN]):
        cells = "".join(f"<td>{_ad(config, one.products[k])}</td>" for one in watched)
        rows.append(f"<tr><th>{escape(product['title'])}</th>{cells}</tr>")
    return f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>"


def _ad(config: Config, row: Mapping[str, Any]) -> str:
    with Image.open(config.out / "pictures" / f"{row['pictures'][0]}.webp") as picture:
        buffer = io.BytesIO()
        picture.convert("RGB").resize((SIDE, SIDE)).save(buffer, "JPEG", quality=82)
    source = base64.b64encode(buffer.getvalue()).decode()
    text = escape(row["texts"][0])
    return f'<img src="data:image/jpeg;base64,{source}" alt="{text}"><div class=text>{text}</div>'


def _verdicts(config: Config, rounds: int) -> str:
    rows = []
    for r in range(rounds):
        drafts, aims = (_read(config, r, name) for name in ("drafts", "aims"))
        for id, texts in list(drafts.items())[:SHOWN]:
            ranked = sorted(zip(aims["utilities"][id], texts, strict=True), reverse=True)
            (high, best), (low, worst) = ranked[0], ranked[-1]
            rows.append(
                f"<tr><td>{r}</td><td>{escape(id)}</td><td>{escape(best)} ({high:.2f})</td>"
                f"<td class=bad>{escape(worst)} ({low:.2f})</td></tr>"
            )
    return f"<table><tr><th>round</th><th>product</th><th>accepted</th><th>rejected</th></tr>{''.join(rows)}</table>"


def _read(config: Config, r: int, name: str) -> dict[str, Any]:
    """A stored step of a round, its parts together."""
    found: dict[str, Any] = {}
    for path in sorted((config.out / f"rounds/{r}").glob(f"{name}*.json")):
        found |= json.loads(path.read_text(encoding="utf-8"))
    return found
