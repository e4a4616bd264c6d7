"""Bad input: one line, the right exit code, no traceback, nothing half-written."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_fakes import FAKES
from PIL import Image

ALL = tuple(FAKES)
ONE = ("generate", "--image", "photo.png", "--title", "Box")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("generate",),
            "generate: expected --image and --title, or --catalog, got no --image and --title. "
            "Name a photo and its title, or a catalogue.",
        ),
        (
            ("generate", "--image", "photo.png"),
            "generate: expected --image and --title, or --catalog, got no --title. "
            "Name a photo and its title, or a catalogue.",
        ),
        (
            ("generate", "--image", "photo.png", "--title", " "),
            "title of product 'photo': expected some words, got none. Say what the product is.",
        ),
        ((*ONE, "-n", "0"), "n: expected at least 1 ad per product, got 0. Ask for 1 or more."),
        ((*ONE, "-n", "-3"), "n: expected at least 1 ad per product, got -3. Ask for 1 or more."),
        ((*ONE, "-n", "two"), 'Invalid value for -n: unable to convert "two" into int. See: caig --help'),
        (
            (*ONE, "--size", "big"),
            "size: expected WIDTHxHEIGHT such as 1024x1024, or one of 1:1, 4:5, 9:16, 16:9, 1.91:1, "
            "medium-rectangle, leaderboard, skyscraper, billboard, got 'big'. "
            "Write both sides in pixels.",
        ),
        (
            (*ONE, "--size", "63x64"),
            "size: expected sides of 64 to 2048 pixels, got 63x64. Choose a size in this range.",
        ),
        (
            (*ONE, "--size", "64x2049"),
            "size: expected sides of 64 to 2048 pixels, got 64x2049. Choose a size in this range.",
        ),
        (
            (*ONE, "--position", "0.5"),
            "position: expected X,Y with both from 0 to 1, such as 0.5,0.8, got '0.5'. X is "
            "the product's centre over the width, Y its base over the height.",
        ),
        (
            (*ONE, "--scale", "1.2"),
            "scale: expected 0.00781 to 1 on this canvas, got 1.2. It is the product's longer side",
        ),
        ((*ONE, "--ray", "local"), "--ray: expected no such option without --catalog, got 'local'. Leave it out."),
        ((*ONE, "--workers", "2"), "--workers: expected no such option without --ray, got '2'. Leave it out."),
        ((*ONE, "--rolls", "0"), "rolls: expected 1 to 20, got 0. 1 paints every ad just once."),
        ((*ONE, "--theme", "disco"), "theme: expected one of studio pastel, studio dark, luxury marble, "),
        (
            (*ONE, "--keep-clear", "middle"),
            "keep-clear: expected top, bottom, left, right, or X,Y,W,H within 0 to 1, such as 0,0,1,0.3, got 'middle'. "
            "X,Y is the top left corner, W,H the size, over the canvas's width and height.",
        ),
        (
            (*ONE, "--keep-clear", "0,0,1,0.9"),
            "keep-clear: expected room for the product beside it, got none at scale 0.5. "
            "Keep less clear or lower the scale.",
        ),
        (
            (*ONE, "--like", "nothing"),
            "like: expected an ad's picture beside its manifest, or the id of a creative in --out, got 'nothing'. "
            "Ids stand as creative_id in manifest.jsonl.",
        ),
        ((*ONE, "--reference", "none.png"), "none.png: expected an image file, got no such file. "),
        ((*ONE, "--reference", "text.png"), "text.png: expected a PNG, JPEG, WebP, TIFF, BMP, GIF or AVIF image, "),
        (
            ("paint", "--image", "photo.png", "--description", "x", "--out", "a.png", "--keep-clear", "1,1,1,1"),
            "keep-clear: expected top, bottom, left, right, or X,Y,W,H",
        ),
        (
            ("paint", "--image", "photo.png", "--description", "x", "--out", "a.png", "--rolls", "99"),
            "rolls: expected 1 to 20, got 99.",
        ),
        (
            (*ONE, "--format", "bmp"),
            'Invalid value "bmp" for --format. Choose from: "png", "webp", "jpeg". See: caig --help',
        ),
        ((*ONE, "--colour", "red"), "Unknown option: --colour. "),
        (
            (*ONE, "--preset", "best"),
            "--preset: expected one of embedded, caig-published, sdxl-qwen3vl-4b, got 'best'. See `caig models`.",
        ),
        (
            (*ONE, "--device", "tpu9"),
            "--device: expected cpu, or a device that torch finds on this machine, got 'tpu9'. ",
        ),
        (
            (*ONE, "--dtype", "int4"),
            'Invalid value "int4" for --dtype. Choose from: "float32", "bfloat16", "float16". See: caig --help',
        ),
        (
            ("import", "weights", "nowhere", "--out", "x"),
            "nowhere: expected a folder with weight files, got none. Check the path.",
        ),
        (
            ("import", "caig-prompt-model", "nowhere", "--out", "x"),
            "nowhere/config.json: expected an original LLaVA config, got [Errno 2] No such file",
        ),
        (
            (*ONE, "--catalog", "p.csv"),
            "--image: expected no such option with --catalog, got 'photo.png'. Leave it out.",
        ),
        (
            (*ONE, "--map", "title=name"),
            "--map: expected no such option without --catalog, got '('title=name',)'. Leave it out.",
        ),
        (
            ("generate", "--catalog", "p.csv", "--map", "title"),
            "--map: expected FIELD=COLUMN, got 'title'. Write --map FIELD=COLUMN, e.g. --map title=name.",
        ),
        (("generate", "--catalog", "p.csv"), "p.csv: expected a file, got none there. Check the path."),
        (
            ("generate", "--image", "none.png", "--title", "Box"),
            "none.png: expected an image file, got no such file. "
            "Check the path; in a catalogue it is relative to the file.",
        ),
        (
            ("generate", "--image", "text.png", "--title", "Box"),
            "text.png: expected a PNG, JPEG, WebP, TIFF, BMP, GIF "
            "or AVIF image, got a file that is none of these. Save the photo as PNG or JPEG.",
        ),
        (
            (*ONE, "--mask", "none.png"),
            "none.png: expected an image file, got no such file. Check the path; in a "
            "catalogue it is relative to the file.",
        ),
        (
            ("describe", "--image", "photo.png", "--title", ""),
            "title of product 'photo': expected some words, got none. Say what the product is.",
        ),
        (
            ("describe", "--image", "photo.png", "--title", "Box", "-n", "0"),
            "n: expected at least 1 ad per product, got 0. Ask for 1 or more.",
        ),
        (
            ("paint", "--image", "photo.png", "--description", " ", "--out", "a.png"),
            "--description: expected a text, got an empty one. Say what the background shows.",
        ),
        (
            ("paint", "--image", "photo.png", "--description", "x", "--out", "a.bmp"),
            "format: expected one of png, webp, jpeg, got 'bmp'. Choose one of these.",
        ),
        (
            ("score", "--title", "", "photo.png"),
            "--title: expected a text, got an empty one. Say what the product is, as its shop does.",
        ),
        (("rescore", "nowhere"), "nowhere: expected a run with ads, got none. Name the --out of a caig generate."),
        (
            ("rescore", "nowhere", "--workers", "2"),
            "--workers: expected no such option without --ray, got 2. Leave it out.",
        ),
        (("score", "--title", "Box"), "score: expected one picture or more, got none. Name the ads to score."),
        (("score", "photo.png"), 'Command "score" parameter --title requires an argument. See: caig --help'),
        (
            ("fly",),
            'Unknown command "fly". Available commands: generate, describe, paint, score, rescore, demo, comparisons, '
            "train, ... See: caig --help",
        ),
        (("train", "background", "--data", "x", "--out", "y", "--stepps", "3"), "Unknown option: --stepps. "),
    ],
)
def test_bad_input(caig, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    before = sorted(tmp_path.rglob("*"))
    needed = ALL if {"--scale", "0,0,1,0.9"} & set(arguments) else ()  # found when the product is laid out
    done = caig(*arguments, fakes=needed)
    assert done.err.splitlines()[-1].startswith(f"error: {message}") and done.err.count("\n") == 1 + bool(needed)
    assert (done.code, done.out) == (2, "")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nowhere",
            "prompt model: expected embedded, a folder, owner/name on the hub, or python:module:factory, got "
            "'nowhere'. Check the name or the path.",
        ),
        (
            "owner/unknown",
            "prompt model 'owner/unknown': expected a local folder, or a checkpoint in the hub cache, "
            "got neither, and the hub can't be reached. On a machine with network run: hf download owner/unknown",
        ),
        (
            "python:nowhere:factory",
            "python:nowhere:factory: expected python:module:factory, got No module named "
            "'nowhere'. Check the import path.",
        ),
        ("python:cli_fakes:no_model", "python:cli_fakes:no_model: expected a factory of a prompt model "),
        (
            "Qwen/Qwen2.5-VL-3B-Instruct",
            "Qwen/Qwen2.5-VL-3B-Instruct: expected consent to its licence qwen-research, which allows no commercial "
            "use, got none. Read https://huggingface.co/Qwen/Qwen2.5-VL-3B-Instruct, then add --accept-licence "
            "qwen-research",
        ),
        (".", "prompt model '.': expected a folder with safetensors weights, got none in .. Train one with"),
    ],
)
def test_unknown_checkpoints(caig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    before = sorted(tmp_path.rglob("*"))
    done = caig(*ONE, "--prompt-model", name, fakes=ALL[1:])
    assert done.err.startswith(f"error: {message}") and done.err.count("\n") == 1
    assert (done.code, done.out) == (2, "")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_photo_that_cannot_be_cut_out(caig, tmp_path: Path) -> None:
    Image.effect_noise((80, 80), 90).convert("RGB").save(tmp_path / "busy.png")
    done = caig("generate", "--image", "busy.png", "--title", "Box", fakes=ALL)
    assert done.code == 2
    last = done.err.splitlines()[-1]
    assert last.startswith("error: busy.png: expected a product on a plain ground, got a border of which ")
    assert last.endswith("Give a mask with --mask FILE (white on the product) or a PNG with a transparent ground.")
    assert not (tmp_path / "out").exists()


def test_repeated_ids_are_a_fault_of_the_file(caig, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("id,title,image\na,A,photo.png\na,B,photo.png\n")
    done = caig("generate", "--catalog", "p.csv", fakes=ALL)
    assert done.code == 2
    assert done.err == (
        "error: p.csv: expected each id once, got 'a' in rows 1, 2. Give each product an id of its own.\n"
    )
    assert not (tmp_path / "out").exists()


def test_rembg_says_how_to_install_it(caig) -> None:
    done = caig(*ONE, "--cutout", "rembg", fakes=ALL)
    assert done.code == 2
    assert done.err.splitlines()[-1] == (
        "error: rembg: expected the optional dependency 'rembg', got none installed. Run: pip install \"caig[rembg]\""
    )


def test_an_output_folder_that_is_a_file(caig, tmp_path: Path) -> None:
    done = caig(*ONE, "--out", "photo.png", fakes=ALL)
    assert done.code == 2
    assert done.err == "error: out photo.png: expected a folder, got the file photo.png. Choose another --out.\n"


def test_ctrl_c_ends_quietly(caig, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("caig.pipeline.AdPipeline.generate", interrupt)
    done = caig(*ONE, fakes=ALL)
    assert done.code == 130
    assert done.err.splitlines()[-1] == ("interrupted; what is finished is kept: run the same command again to go on")
