"""Catalogues: every format gives the same products, every fault its reason, nothing disappears in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from caig.data.catalog import Catalog, folder_name, read_catalog
from caig.errors import CatalogError


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with two photos and a mask; a catalogue only checks that they exist."""
    for name in ("wine.png", "images/milk.jpg", "masks/wine.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"a picture")
    return tmp_path


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def reasons(catalog: Catalog) -> dict[int, str]:
    return {row.row: row.reason for row in catalog.rejected}


ROWS = [
    {"id": "w1", "title": "Red wine", "image": "wine.png", "mask": "masks/wine.png", "year": "2019"},
    {"id": "m1", "title": "Milk, 1 litre", "image": "images/milk.jpg", "mask": "", "year": ""},
]


def as_csv(rows: list[dict[str, str]], delimiter: str) -> str:
    lines = [rows[0], *[{key: f'"{value}"' for key, value in row.items()} for row in rows]]
    return "\n".join([delimiter.join(lines[0]), *(delimiter.join(line.values()) for line in lines[1:])])


def write_all(folder: Path, suffix: str) -> Path:
    path = folder / f"products{suffix}"
    if suffix == ".parquet":
        polars = pytest.importorskip("polars")
        polars.DataFrame(ROWS).write_parquet(path)
    elif suffix == ".json":
        path.write_text(json.dumps(ROWS))
    elif suffix == ".jsonl":
        path.write_text("\n\n".join(json.dumps(row) for row in ROWS) + "\n")
    else:
        path.write_text(as_csv(ROWS, "\t" if suffix == ".tsv" else ","))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_every_format_gives_the_same_products(shop: Path, suffix: str) -> None:
    wine, milk = read_catalog(write_all(shop, suffix)).products
    assert (wine.id, wine.title, wine.category) == ("w1", "Red wine", "")
    assert (wine.image, wine.mask) == (shop / "wine.png", shop / "masks/wine.png")
    assert dict(wine.attributes) == {"year": "2019"}
    assert (milk.title, milk.image, milk.mask) == ("Milk, 1 litre", shop / "images/milk.jpg", None)
    assert dict(milk.attributes) == {}


def test_semicolons_and_a_byte_order_mark(shop: Path) -> None:
    path = shop / "p.csv"
    path.write_bytes("\ufeffid;title;image\nw1;Wine, red;wine.png\n".encode())
    assert [product.title for product in read_catalog(path).products] == ["Wine, red"]


def test_google_merchant_columns(shop: Path) -> None:
    path = write(
        shop,
        "feed.tsv",
        "id\ttitle\timage_link\tgoogle_product_category\tproduct_type\tprice\tbrand\tcolor\n"
        "7\tShiraz\twine.png\t421\tDrinks > Wine > Red\t12.90 EUR\tOrchard\tred\n",
    )
    (product,) = read_catalog(path).products
    assert (product.id, product.category) == ("7", "Red")
    assert dict(product.attributes) == {
        "google_product_category": "421",
        "category_path": "Drinks > Wine > Red",
        "price": "12.90 EUR",
        "brand": "Orchard",
        "color": "red",
    }


def test_shopify_columns_and_continuation_rows(shop: Path) -> None:
    path = write(
        shop,
        "shopify.csv",
        "Handle,Title,Image Src,Vendor,Type,Tags,Variant Price\n"
        'shiraz,Shiraz 2019,wine.png,Orchard,Wine,"red, dry",12.90\n'
        "shiraz,,images/milk.jpg,,,,13.90\n"
        "milk,Milk,images/milk.jpg,Dairy,Milk,,1.20\n",
    )
    catalog = read_catalog(path)
    assert [(p.id, p.category, p.image) for p in catalog.products] == [
        ("shiraz", "Wine", shop / "wine.png"),
        ("milk", "Milk", shop / "images/milk.jpg"),
    ]
    assert dict(catalog.products[0].attributes) == {"brand": "Orchard", "tags": "red, dry", "price": "12.90"}
    assert catalog.remarks == ("1 rows continue the product above them (variants, further images) and were left out",)


def test_the_caig_list_has_its_title_in_new_caption(shop: Path) -> None:
    path = write(shop, "caig.json", json.dumps([{"id": 12, "image": "wine.png", "new_caption": "Red\u2028 wine"}]))
    (product,) = read_catalog(path).products
    assert (product.id, product.title) == ("12", "Red wine")


def test_a_mapping_wins_over_the_usual_names(shop: Path) -> None:
    path = write(shop, "p.csv", "id,title,name,image\nw1,code 17,Red wine,wine.png\n")
    (product,) = read_catalog(path, {"title": "name"}).products
    assert (product.title, dict(product.attributes)) == ("Red wine", {"title": "code 17"})


def test_images_may_lie_in_another_folder(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    feeds = tmp_path_factory.mktemp("feeds")
    path = write(feeds, "p.csv", f"id,title,image\na,A,wine.png\nb,B,{shop}/wine.png\n")
    assert [product.image for product in read_catalog(path, root=shop).products] == [shop / "wine.png"] * 2
    outside = (
        f"image: expected a path inside {feeds}, got {shop}/wine.png. Move the file there; caig generate also "
        "takes its folder as --image-root."
    )
    assert reasons(read_catalog(path))[2] == outside


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (",Wine,wine.png", "id: expected a text, got an empty one. Give the product an id."),
        ("x,  ,wine.png", "title: expected a text, got an empty one. Write what the product is."),
        ("x,Wine,", "image: expected a path, got an empty one. Give the path of a photo."),
        ("x,Wine,no.png", "image: expected a file, got no.png, which does not exist. Correct the path."),
        ("x,Wine,images", "image: expected a file, got images, which does not exist. Correct the path."),
        (
            "x,Wine,https://shop.example/wine.png",
            "image: expected the path of a file, got the URL https://shop.example/wine.png. Download it and give its "
            "path.",
        ),
        ("x,Wine", "row: expected 3 cells, got 2. Quote cells that hold the separator."),
        ("x,Wine, red,wine.png", "row: expected 3 cells, got 4. Quote cells that hold the separator."),
        ("W1,Wine,wine.png", "id: expected one that differs in more than capitals, got 'W1', as in row 1. Rename it."),
    ],
)
def test_a_bad_row_is_rejected_alone(shop: Path, line: str, reason: str) -> None:
    catalog = read_catalog(write(shop, "p.csv", f"id,title,image\nw1,Wine,wine.png\n{line}\nz,Z,wine.png\n"))
    assert [product.id for product in catalog.products] == ["w1", "z"]
    assert reasons(catalog) == {2: reason}


def test_a_path_that_climbs_out_is_rejected(shop: Path) -> None:
    (shop / "feed").mkdir()
    path = write(shop / "feed", "p.csv", "id,title,image\nw1,Wine,../wine.png\n")
    assert read_catalog(path).rejected[0].reason == (
        f"image: expected a path inside {shop / 'feed'}, got ../wine.png. Move the file there; caig generate also "
        "takes its folder as --image-root."
    )


def test_values_that_no_file_can_have(shop: Path) -> None:
    rows = [
        {"id": "a\ud800", "title": "Half\ud83d a\nface", "image": "wine.png"},
        {"id": "b", "title": "B", "image": "x" * 5000},
        {"id": "c", "title": "C", "image": "a\0\ud800\nb.png"},
        {"id": "d", "title": "D", "image": 7},
    ]
    catalog = read_catalog(write(shop, "p.json", json.dumps(rows)))
    assert [(product.id, product.title) for product in catalog.products] == [("a?", "Half? a face")]
    assert reasons(catalog)[2].endswith("x, which does not exist. Correct the path.")
    assert reasons(catalog)[3] == "image: expected a file, got a\0? b.png, which does not exist. Correct the path."
    assert reasons(catalog)[4] == "image: expected a path, got int. Give the path of a file."


def test_a_rejected_row_keeps_what_is_known_of_it(shop: Path) -> None:
    (row,) = read_catalog(write(shop, "p.csv", "id,title,image\nw1,,wine.png\n")).rejected
    assert (row.row, row.id, row.title, row.image) == (1, "w1", "", shop / "wine.png")


def test_broken_json_lines_are_rows_not_files(shop: Path) -> None:
    lines = ['{"id": "w1", "title": "Wine", "image": "wine.png"}', '{"id": ', "[1]"]
    catalog = read_catalog(write(shop, "p.jsonl", "\n".join(lines)))
    assert [product.id for product in catalog.products] == ["w1"]
    assert reasons(catalog)[2].startswith("row: expected a JSON object, got broken JSON (Expecting value: line 1")
    assert reasons(catalog)[3] == 'row: expected a JSON object, got list. Write {"id": …}.'


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.xlsx", "", "expected one of .csv, .tsv, .txt, .json, .jsonl, .ndjson, .parquet, got '.xlsx'."),
        ("p.csv", "", "expected at least one row, got none. Add a product."),
        ("p.csv", "id,title,image\n", "expected at least one row, got none. Add a product."),
        (
            "p.csv",
            "id,image\nw1,wine.png\n",
            "expected a column for title: title or new_caption or name or "
            "product_title, got columns id, image. Name it, e.g. --map title=COLUMN.",
        ),
        ("p.csv", "id,title,title\nw1,a,b\n", "expected each column name once, got 'title' more than once."),
        (
            "p.csv",
            "id,title,image\nw1,A,wine.png\nw1,B,wine.png\nx,C,wine.png\n",
            "expected each id once, got 'w1' in rows 1, 2. Give each product an id of its own.",
        ),
        ("p.csv", 'id,title,image\nw1,"A,wine.png\n', "expected a table, got broken quoting (unexpected end of data)."),
        ("p.json", "{", "expected a JSON list, got broken JSON ("),
        ("p.json", "{}", "expected a JSON list of objects, got dict."),
        ("p.json", "[]", "expected at least one row, got none."),
        ("p.parquet", "text", "expected a Parquet file, got one that cannot be read ("),
    ],
)
def test_a_fault_of_the_file_as_a_whole(shop: Path, name: str, text: str, message: str) -> None:
    path = write(shop, name, text)
    with pytest.raises(CatalogError) as caught:
        read_catalog(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_not_utf8(shop: Path) -> None:
    with pytest.raises(CatalogError, match=r"none\.csv: expected a file, got none there\. Check the path\."):
        read_catalog(shop / "none.csv")
    (shop / "latin.csv").write_bytes("id,title,image\nw1,Rosé,wine.png\n".encode("latin-1"))
    with pytest.raises(CatalogError, match=r"expected UTF-8 text, got byte 21 that is not\."):
        read_catalog(shop / "latin.csv")


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"title": "nome"}, "--map: expected a column among id, title, image, got 'nome'. Write --map FIELD=COLUMN"),
        (
            {"titel": "title"},
            "--map: expected a field among id, title, image, mask, category, brand, color, price, "
            "tags, got 'titel'. Write --map FIELD=COLUMN",
        ),
    ],
)
def test_a_mapping_must_name_what_exists(shop: Path, mapping: dict[str, str], message: str) -> None:
    path = write(shop, "p.csv", "id,title,image\nw1,Wine,wine.png\n")
    with pytest.raises(CatalogError) as caught:
        read_catalog(path, mapping)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("product_id", "name"),
    [
        ("SKU-12_a.b", "SKU-12_a.b"),
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%252Fb"),
        ("..", "%2E%2E"),
        (".hidden", "%2Ehidden"),
        ("a b", "a%20b"),
        ("vin-é", "vin-%C3%A9"),
        ("~", "%7E"),
        ("con", "%63on"),
        ("COM1.png", "%43OM1.png"),
        ("index.html", "%69ndex.html"),
        ("manifest.jsonl", "%6Danifest.jsonl"),
        ("dot.", "dot%2E"),
    ],
)
def test_folder_names_are_safe_and_readable(product_id: str, name: str) -> None:
    assert folder_name(product_id) == name


def test_long_ids_stay_different() -> None:
    names = {folder_name("x" * 150 + end) for end in ("", "y", "z")}
    assert len(names) == 3
    assert {len(name) for name in names} == {100}
