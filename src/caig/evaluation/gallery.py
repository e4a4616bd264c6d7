"""The pictures of a run on one page: self-contained HTML without a script, and a ranked strip as a picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from string import Template
from urllib.parse import quote

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from caig.types import Pixels

GENERATOR = '<meta name="generator" content="caig">'
CLICK_LOG = "click log"


@dataclass(frozen=True, kw_only=True)
class AdCard:
    """One ad: `file` is its path relative to the page, `thumbnail` a data URI, CTRs lie in 0 to 1, `note` says which
    promises about the picture took more than one painting or are broken."""

    rank: int
    file: str
    thumbnail: str
    description: str
    ctr: float
    low: float
    high: float
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class ProductCard:
    """One product with its ads, best first; `photo` is a data URI or empty."""

    id: str
    title: str
    category: str
    photo: str
    ads: tuple[AdCard, ...]


@dataclass(frozen=True, kw_only=True)
class FailureCard:
    """One product without ads and why; `photo` is a data URI or empty."""

    id: str
    title: str
    reason: str
    photo: str


def ctr_name(basis: str) -> str:
    """Return "CTR" when it was calibrated on a real click log, else "simulated CTR"."""
    return "CTR" if basis == CLICK_LOG else "simulated CTR"


def percent(rate: float) -> str:
    """Write a rate in 0 to 1 as a percentage with two figures, e.g. "31 %", "4.0 %" or "0.42 %"."""
    value = 100 * rate
    return f"{value:.0f} %" if value >= 9.95 else f"{value:#.2g} %"


def percent_range(low: float, high: float) -> str:
    """Write the interval `low`..`high` of a rate in 0 to 1, e.g. "2.1 to 4.4 %"."""
    return f"{percent(low).removesuffix(' %')} to {percent(high)}"


def data_uri(image: Pixels, side: int) -> str:
    """Return u8[H, W, 3] as a WebP data URI whose longer side is at most `side` pixels."""
    picture = Image.fromarray(image)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=78)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def thumbnail_side(ads: int) -> int:
    """Return the longer side of thumbnails in pixels: smaller on pages with many ads, so that they stay usable."""
    return 480 if ads <= 100 else 256 if ads <= 1000 else 160


def render(
    products: Sequence[ProductCard], failures: Sequence[FailureCard], *, basis: str, facts: Sequence[tuple[str, str]]
) -> str:
    """Return the page; `facts` are (name, value) pairs about the run. Every text is escaped, no file is needed."""
    highest = max((ad.high for product in products for ad in product.ads), default=1.0)
    ads = sum(len(product.ads) for product in products)
    name = ctr_name(basis)
    page = Template(resources.files("caig.evaluation").joinpath("gallery.html").read_text(encoding="utf-8"))
    return page.substitute(
        generator=GENERATOR,
        summary=_summary(len(products), ads, len(failures), name),
        note="" if basis == CLICK_LOG else _SIMULATED,
        facts="".join(f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>" for key, value in facts),
        failures=_failures(failures),
        products="".join(_product(product, name, highest) for product in products),
    )


def ranked_strip(images: Sequence[Pixels], captions: Sequence[str], height: int = 360) -> Pixels:
    """Return the pictures side by side, `height` pixels high, each above its caption (lines parted by a newline)."""
    pictures = [_scaled_to(height, Image.fromarray(image)) for image in images]
    gap, footer = height // 30, height // 6
    font = ImageFont.load_default(height / 21)
    width = sum(picture.width + gap for picture in pictures) + gap
    strip = Image.new("RGB", (width, height + 2 * gap + footer), "white")
    draw, left = ImageDraw.Draw(strip), gap
    for picture, caption in zip(pictures, captions, strict=True):
        strip.paste(picture, (left, gap))
        draw.multiline_text((left + 2, height + 2 * gap), caption, fill="#1f2328", font=font, spacing=6)
        left += picture.width + gap
    return np.asarray(strip)


def _scaled_to(height: int, picture: Image.Image) -> Image.Image:
    width = max(1, round(picture.width * height / picture.height))
    return picture.resize((width, height), Image.Resampling.LANCZOS)


_SIMULATED = (
    '<p class="note"><strong>Simulated CTR.</strong> The reward model was calibrated on a simulated click log, '
    "not on real clicks: use it to compare pictures of one product, not to forecast traffic.</p>"
)


def _summary(products: int, ads: int, failures: int, name: str) -> str:
    text = f"{count(ads, 'ad')} of {count(products, 'product')}, best predicted {name} first"
    return f'{text}. <a href="#failures">{count(failures, "product")} failed</a>.' if failures else f"{text}."


def count(n: int, noun: str) -> str:
    """Write a number of things, e.g. "1 ad" or "1,200 products"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _photo(uri: str, alt: str) -> str:
    if not uri:
        return '<div class="photo none">no picture</div>'
    return f'<img class="photo" src="{escape(uri)}" alt="{escape(alt)}">'


def _product(product: ProductCard, name: str, highest: float) -> str:
    category = f'<span class="chip">{escape(product.category)}</span>' if product.category else ""
    return (
        f'<section class="product"><header>{_photo(product.photo, f"Product photo: {product.title}")}'
        f"<div><h2>{escape(product.title)}</h2><p>{category}<code>{escape(product.id)}</code></p></div></header>"
        f'<ol class="ads">{"".join(_ad(ad, product.title, name, highest) for ad in product.ads)}</ol></section>'
    )


def _ad(ad: AdCard, title: str, name: str, highest: float) -> str:
    left, width, mark = (100 * part / highest for part in (ad.low, ad.high - ad.low, ad.ctr))
    alt = escape(f"Ad {ad.rank} of {title}: {ad.description}")
    note = f'<p class="range">{escape(ad.note)}</p>' if ad.note else ""
    return (
        f'<li><figure><a href="{escape(quote(ad.file))}"><img src="{escape(ad.thumbnail)}" alt="{alt}"></a>'
        f'<figcaption><p class="ctr"><span class="rank">{ad.rank}</span><strong>{percent(ad.ctr)}</strong> '
        f'<span class="name">{name}</span></p><div class="bar" aria-hidden="true">'
        f'<i style="left:{left:.1f}%;width:{width:.1f}%"></i><b style="left:{mark:.1f}%"></b></div>'
        f'<p class="range">95 % interval {percent_range(ad.low, ad.high)}</p>'
        f"<p>{escape(ad.description)}</p>{note}</figcaption></figure></li>"
    )


def _failures(failures: Sequence[FailureCard]) -> str:
    if not failures:
        return ""
    cards = "".join(
        f"<li>{_photo(card.photo, f'Product photo: {card.title}')}<div><h3>{escape(card.title or card.id)}</h3>"
        f"<p><code>{escape(card.id)}</code></p><p>{escape(card.reason)}</p></div></li>"
        for card in failures
    )
    heading = f"{count(len(failures), 'product')} failed"
    return f'<section id="failures" aria-labelledby="failed"><h2 id="failed">{heading}</h2><ul>{cards}</ul></section>'
