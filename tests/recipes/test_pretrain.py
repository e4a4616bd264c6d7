"""The prompt recipe at toy size: what carries loss, that a cut run resumes, and that every setting matters."""

import dataclasses
import io
import json
import tarfile
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from caig.data.captions import setting_of
from caig.data.everyday import categories
from caig.models.prompt_model import PromptModel
from caig.recipes import pretrain_samples as samples
from caig.recipes.pretrain import Config, answer_loss, build, draw_step, run
from caig.recipes.pretrain_report import Case, bootstrap, conditions, entropy, measure
from caig.types import Description, Product

TOY = {"image": 32, "vision_width": 16, "vision_layers": 1, "width": 32, "layers": 1, "vocabulary": 400}


def _webp(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


def _write(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight products (two test, one validation, one kept back, four training) and a kitchen scene of each."""
    folder = tmp_path_factory.mktemp("data")
    rgba = np.zeros((40, 40, 4), np.uint8)
    rgba[5:35, 10:30] = (200, 40, 40, 255)
    products, scenes = {}, {}
    for i in range(8):
        record = {"id": f"p{i:04d}", "category": "mug", "title": f"Fjord coffee mug, no {i}", "brand": "Fjord"}
        record |= {"color": "navy", "tags": ["cozy"], "price": 9.5}
        products |= {f"p{i:04d}.image.webp": _webp(rgba), f"p{i:04d}.json": json.dumps(record).encode()}
        scene = {"id": f"s{i}", "product": record, "setting": "kitchen", "captions": []}
        scene["captions"] = [f"bright kitchen counter, {i}", f"wooden tabletop, {i}, rustic kitchen table"]
        scenes |= {f"s{i}.image.webp": _webp(rgba[..., :3]), f"s{i}.product.webp": _webp(rgba)}
        scenes[f"s{i}.json"] = json.dumps(scene).encode()
    _write(folder / "products.tar", products)
    _write(folder / "scenes-00.tar", scenes)
    return folder


def toy(data: Path, out: Path, **fields) -> Config:
    steps = {"steps": 4, "setting_steps": 2, "checkpoint_every": 2}
    counts = {"batch": 2, "answers": 2, "validation_prompts": 2, "evaluate": 0}
    return Config(data=data, out=out, **{**steps, **counts, **TOY, **fields})


@pytest.fixture(scope="module")
def uncut(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uncut")
    run(toy(data, out))
    return out


def weights(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "checkpoint.pt", weights_only=True)["model"]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def sources(data: Path) -> samples.Sources:
    return samples.Sources(photos=samples.read_photos(data, "train", 32), captions=samples.read_captions(data))


def test_only_answer_tokens_and_their_end_carry_loss(data: Path, tmp_path: Path):
    _, processor = build(toy(data, tmp_path), samples.read_captions(data))
    ids = {text: processor.tokenizer.encode(text) for text in ("bright kitchen counter", "soft")}
    tokens, mask = samples.answer_tokens(processor, list(ids))
    end, pad = processor.tokenizer.eos_token_id, processor.tokenizer.pad_token_id
    long, short = ids["bright kitchen counter"], ids["soft"]
    rest = len(long) - len(short)
    assert rest > 0
    assert tokens.tolist() == [[*long, end], [*short, end, *[pad] * rest]]
    assert mask.tolist() == [[1] * (len(long) + 1), [1] * (len(short) + 1) + [0] * rest]
    assert samples.labels(tokens, mask).tolist() == [[*long, end], [*short, end, *[-100] * rest]]


def test_the_loss_is_the_mean_negative_log_probability_of_the_answers(data: Path, tmp_path: Path):
    """Against plain forward passes, one whole sequence an answer."""
    model, processor = build(toy(data, tmp_path), samples.read_captions(data))
    image = np.full((32, 32, 3), 200, np.uint8)
    texts = ("bright kitchen counter, wooden tabletop", "soft light")
    sample = samples.Sample(instruction="Describe a mug.", image=image, answers=texts, settings=("kitchen",))
    total, count = 0.0, 0
    for text in texts:
        inputs, tokens, _ = samples.collate(processor, [dataclasses.replace(sample, answers=(text,))], "cpu")
        whole = torch.cat([inputs["input_ids"], tokens], 1)
        logits = model(input_ids=whole, pixel_values=inputs["pixel_values"]).logits[0]
        logs = logits.log_softmax(1)[-tokens.shape[1] - 1 : -1]
        total -= logs.gather(1, tokens[0][:, None]).sum().item()
        count += tokens.shape[1]
    assert answer_loss(model, processor, [sample]).item() == pytest.approx(total / count, rel=1e-5)


def test_a_resumed_run_equals_an_uncut_one(data: Path, uncut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls = 0

    def cut_in_step_4(*args):
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return answer_loss(*args)

    monkeypatch.setattr("caig.recipes.pretrain.validation_loss", lambda *args: 0.0)
    monkeypatch.setattr("caig.recipes.pretrain.answer_loss", cut_in_step_4)
    with pytest.raises(KeyboardInterrupt):
        run(toy(data, tmp_path, checkpoint_every=1))
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 3
    monkeypatch.undo()
    run(toy(data, tmp_path))
    assert same(weights(tmp_path), weights(uncut))


def test_finished_run_is_not_trained_again(data: Path, uncut: Path):
    before = weights(uncut)
    run(toy(data, uncut))
    assert same(before, weights(uncut))


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 5}, {"setting_steps": 3}, {"batch": 3}, {"answers": 3}, {"lr": 1e-3}, {"warmup": 5},
        {"weight_decay": 0.5}, {"photo_steps": 0.0}, {"image": 48}, {"vision_width": 24}, {"vision_layers": 2},
        {"width": 24}, {"layers": 2}, {"initializer": 0.1}, {"vocabulary": 350}, {"seed": 1},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_every_setting_changes_the_model(data: Path, uncut: Path, tmp_path: Path, change: dict):
    run(toy(data, tmp_path, **change))
    mine, usual = weights(tmp_path), weights(uncut)
    assert mine.keys() != usual.keys() or not all(
        mine[name].shape == usual[name].shape and torch.equal(mine[name], usual[name]) for name in mine
    )


def test_the_log_holds_a_validation_loss_per_checkpoint(uncut: Path):
    lines = [json.loads(line) for line in (uncut / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "validation_loss" in line][:2] == [2, 4]


def test_the_report_and_the_exported_model(data: Path, tmp_path: Path):
    folder = run(toy(data, tmp_path, evaluate=1, steps=1))
    record = json.loads((folder / "training.json").read_text())
    names = {metric["name"].partition(":")[0] for metric in record["metrics"]}
    assert names == set(conditions(data, 1, seed=0))
    assert record["config"]["steps"] == 1
    model = PromptModel.from_pretrained(str(folder))
    assert len(model.describe(Product(id="a", title="oat milk"), 2, seed=0)) == 2


def test_samples_name_suitable_settings(data: Path):
    rng = Random(0)
    for photos in (True, False):
        for sample in samples.draw_samples(sources(data), 200, 4, photos=photos, rng=rng):
            named = [setting_of(text) for text in sample.answers]
            assert set(named) <= set(sample.settings) and len(set(named)) == 4
            assert (sample.image is not None) == photos


def test_held_out_nouns_are_never_trained_on(data: Path, monkeypatch: pytest.MonkeyPatch):
    nouns: set[str] = set()

    def record_noun(category, noun, rng):
        nouns.add(noun)
        return noun

    monkeypatch.setattr(samples, "write_title", record_noun)
    samples.draw_samples(sources(data), 5000, 1, photos=False, rng=Random(0))
    samples.tokenizer_texts({}, 0)
    rows = categories().values()
    assert nouns == {noun for row in rows for noun in row.training}


def test_some_photos_come_without_words_and_some_are_unrelated(data: Path):
    drawn = samples.draw_samples(sources(data), 300, 1, photos=True, rng=Random(0))
    wordless = sum("the product in the picture" in sample.instruction for sample in drawn) / 300
    white = sum(int(sample.image.min()) == 255 for sample in drawn if sample.image is not None) / 300
    assert 0.19 < wordless < 0.35  # 0.6 · 0.45 = 0.27
    assert 0.02 < white < 0.11  # 0.4 · 0.15 = 0.06


def test_first_steps_answer_with_settings_alone(data: Path, tmp_path: Path):
    config = toy(data, tmp_path, setting_steps=2)
    for step in range(4):
        drawn = draw_step(config, sources(data), step, Random(step))
        assert len(drawn) == config.batch
        phrases = [len(text.split(", ")) for sample in drawn for text in sample.answers]
        assert (max(phrases) == 1) == (step < 2)


def test_captions_are_the_training_scenes_that_open_with_their_setting(data: Path):
    captions = samples.read_captions(data)
    assert captions == {"kitchen": [f"bright kitchen counter, {i}" for i in (2, 3, 4, 5, 6)]}


class Parrot:
    """Names the same four settings for every product."""

    name = "parrot"

    def describe(self, product: Product, n: int, *, seed: int) -> list[Description]:
        texts = ["rustic kitchen table", "bright kitchen counter", "modern office desk", "a blue haze"]
        return [Description(product_id=product.id, text=text, author=self.name, seed=seed) for text in texts]


def test_measures_by_hand():
    cases = [
        Case(product=Product(id="a", title="mug"), settings=("kitchen", "desk")),
        Case(product=Product(id="b", title="tent"), settings=("forest", "desk")),
    ]
    values = {e.name.partition(": ")[2]: e.value for e in measure(Parrot(), "x", cases, seed=0)}  # pyright: ignore
    assert values["valid"] == 0.75
    assert values["match, first ad"] == 0.5
    assert values["match, four ads"] == pytest.approx((3 / 4 + 1 / 4) / 2)
    assert values["four settings differ"] == 0.0
    assert values["setting entropy within a category, bits"] == pytest.approx(1.5)  # 1/2, 1/4, 1/4


def test_entropy_and_bootstrap():
    assert entropy(["a", "a", "b", "b"]) == 1.0
    assert entropy(["a"]) == 0.0
    estimate = bootstrap("x", [0.0, 1.0] * 200)
    assert estimate.value == 0.5 and estimate.n == 400
    assert estimate.low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.01)  # standard error 0.5 / sqrt(400)
    assert estimate.high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.01)


def test_kept_back_products_are_a_tenth_of_the_training_split():
    shares = [samples.share_of(f"p{i:04d}") for i in range(700)]
    assert shares[0::7] == ["test"] * 100 and shares[1::7] == ["validation"] * 100
    assert 30 <= shares.count("kept back") <= 70  # 500 at one in ten: 50, standard deviation 6.7
    assert {i % 14 for i in range(700) if shares[i] == "kept back"} == {2, 3, 4, 5, 6, 9, 10, 11, 12, 13}


def test_photos_of_kept_back_products_are_not_trained_on(data: Path):
    assert [photo.record["id"] for photo in sources(data).photos] == ["p0002", "p0003", "p0005", "p0006"]
    assert [photo.record["id"] for photo in samples.read_photos(data, "kept back", 32)] == ["p0004"]
