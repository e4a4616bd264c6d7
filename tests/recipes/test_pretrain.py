"""The prompt recipe at toy size: what carries loss, that a cut run resumes, and that every setting matters."""

import dataclasses
import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from caig.data.captions import setting_of
from caig.data.comparisons import split
from caig.data.everyday import categories
from caig.errors import InputError
from caig.models.mllm import IGNORED
from caig.models.prompt_model import PromptModel
from caig.recipes import pretrain_report as report
from caig.recipes import pretrain_samples as samples
from caig.recipes.pretrain import VALIDATED, Config, answer_loss, build, draw_step, run
from caig.recipes.pretrain_pictures import names_of, picture_loss
from caig.recipes.pretrain_report import Case, Rewriter, conditions, measure, task_losses
from caig.types import Description, Product
from tests.archives import webp, write_tar

TOY = {"image": 32, "vision_width": 16, "vision_layers": 1, "width": 32, "layers": 1, "vocabulary": 400}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen products and a kitchen scene of each; by the hash of their ids some are of each split."""
    folder = tmp_path_factory.mktemp("data")
    rgba = np.zeros((40, 40, 4), np.uint8)
    rgba[5:35, 10:30] = (200, 40, 40, 255)
    products, scenes = {}, {}
    for i in range(16):
        record = {"id": f"p{i:04d}", "category": ("mug", "milk")[i % 2], "title": f"Fjord coffee mug, no {i}"}
        record |= {"brand": "Fjord", "color": ("navy", "red")[i % 2], "tags": ["cozy"], "price": 9.5}
        products |= {f"p{i:04d}.image.webp": webp(rgba), f"p{i:04d}.json": json.dumps(record).encode()}
        scene = {"id": f"s{i}", "product": record, "setting": "kitchen", "captions": []}
        scene["captions"] = [f"bright kitchen counter, {i}", f"wooden tabletop, {i}, rustic kitchen table"]
        scenes |= {f"s{i}.image.webp": webp(rgba[..., :3]), f"s{i}.product.webp": webp(rgba)}
        scenes[f"s{i}.json"] = json.dumps(scene).encode()
    write_tar(folder / "products.tar", products)
    write_tar(folder / "scenes-00.tar", scenes)
    return folder


def toy(data: Path | None, out: Path, **fields) -> Config:
    steps = {"steps": 5, "picture_steps": 1, "setting_steps": 2, "checkpoint_every": 2}
    counts = {"batch": 2, "answers": 2, "validation_prompts": 2, "evaluate": 0, "seed": 5}  # draws every kind of step
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
    return samples.read_sources(data, "train", 32)


def test_only_answer_tokens_and_their_end_carry_loss(data: Path, tmp_path: Path):
    _, processor = build(toy(data, tmp_path), samples.read_captions(data))
    sample = samples.Sample(instruction="Describe a mug.", image=None, answers=("bright kitchen counter", "soft"))
    batch = samples.collate(processor, [sample], "cpu")
    long, short = (processor.tokenizer.encode(text) for text in sample.answers)
    end, rest = processor.tokenizer.eos_token_id, len(long) - len(short)
    assert rest > 0
    assert batch.labels.tolist() == [[*long, end], [*short, end, *[IGNORED] * rest]]
    assert batch.mask.tolist() == [[1] * (len(long) + 1), [1] * (len(short) + 1) + [0] * rest]


def test_the_loss_is_the_mean_negative_log_probability_of_the_answers(data: Path, tmp_path: Path):
    """Against plain forward passes, one whole sequence an answer."""
    model, processor = build(toy(data, tmp_path), samples.read_captions(data))
    image = np.full((32, 32, 3), 200, np.uint8)
    texts = ("bright kitchen counter, wooden tabletop", "soft light")
    sample = samples.Sample(instruction="Describe a mug.", image=image, answers=texts)
    total, count = 0.0, 0
    for text in texts:
        batch = samples.collate(processor, [dataclasses.replace(sample, answers=(text,))], "cpu")
        whole = torch.cat([batch.inputs["input_ids"], batch.answers], 1)
        logits = model(input_ids=whole, pixel_values=batch.inputs["pixel_values"]).logits[0]
        logs = logits.log_softmax(1)[-batch.answers.shape[1] - 1 : -1]
        total -= logs.gather(1, batch.answers[0][:, None]).sum().item()
        count += batch.answers.shape[1]
    assert answer_loss(model, processor, [sample]).item() == pytest.approx(total / count, rel=1e-5)


def test_picture_loss_is_log_of_the_number_of_names_when_nothing_tells_them_apart(data: Path, tmp_path: Path):
    model, processor = build(toy(data, tmp_path), samples.read_captions(data))
    found = sources(data)
    assert names_of(found) == {"category": ["milk", "mug"], "color": ["navy", "red"]}
    with torch.no_grad():
        model.get_input_embeddings().weight[:] = 1.0
    loss = picture_loss(model, processor, found.photos[:4], names_of(found))
    assert loss.item() == pytest.approx(np.log(2), rel=1e-5)
    unknown = [dataclasses.replace(photo, record={"category": ""}) for photo in found.photos[:4]]
    nothing = picture_loss(model.train(), processor, unknown, names_of(found))
    nothing.backward()
    assert nothing.item() == 0


def test_a_resumed_run_equals_an_uncut_one(data: Path, uncut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls = 0

    def cut_in_step_4(*args):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return answer_loss(*args)

    monkeypatch.setattr("caig.recipes.pretrain.validation_losses", lambda *args: {})
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
        {"steps": 6}, {"picture_steps": 2}, {"setting_steps": 3}, {"batch": 3}, {"answers": 3}, {"lr": 1e-3},
        {"warmup": 5}, {"weight_decay": 0.5}, {"photo_steps": 0.0}, {"understanding": 9.0}, {"comprehension": 9.0},
        {"generation": 0.0}, {"lora_rank": 2, "start_from": "embedded-pretrained", "picture_steps": 0}, {"image": 48},
        {"vision_width": 24},
        {"vision_layers": 2}, {"width": 24}, {"layers": 2}, {"initializer": 0.1}, {"vocabulary": 350}, {"seed": 1},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_every_setting_changes_the_model(data: Path, uncut: Path, tmp_path: Path, change: dict):
    run(toy(data, tmp_path, **change))
    mine, usual = weights(tmp_path), weights(uncut)
    assert mine.keys() != usual.keys() or not all(
        mine[name].shape == usual[name].shape and torch.equal(mine[name], usual[name]) for name in mine
    )


def test_the_log_holds_a_validation_loss_per_task_and_checkpoint(uncut: Path):
    lines = [json.loads(line) for line in (uncut / "log.jsonl").read_text().splitlines()]
    validated = [line for line in lines if "title" in line]
    assert [line["step"] for line in validated][:2] == [2, 4]
    assert {"product", "background", "rewrite", "prompt generation"} <= set(validated[0])


def test_the_report_and_the_exported_model(data: Path, tmp_path: Path):
    folder = run(toy(data, tmp_path, evaluate=1, steps=1))
    record = json.loads((folder / "training.json").read_text())
    names = {metric["name"].partition(":")[0] for metric in record["metrics"]}
    assert names == {*conditions(data, 1, seed=0), "test products, poor descriptions rewritten", *VALIDATED}
    assert record["config"]["steps"] == 1
    model = PromptModel.from_pretrained(str(folder))
    assert len(model.describe(Product(id="a", title="oat milk"), 2, seed=0)) == 2


def draw(data: Path, count: int, answers: int = 1, *, task: str = "prompt generation", photos: bool = True, **more):
    drawn = {"family": "generation", "count": count, "answers": answers, "photos": photos, **more}
    return samples.draw_samples(sources(data), task, rng=Random(0), **drawn)


def test_samples_name_suitable_settings(data: Path, monkeypatch: pytest.MonkeyPatch):
    shown: list[tuple[str, ...]] = []
    plain = samples._sample
    monkeypatch.setattr(samples, "_sample", lambda *args: shown.append(tuple(args[4])) or plain(*args))
    for task in ("prompt generation", "rewrite"):
        for photos in (True, False):
            shown.clear()
            for sample, settings in zip(draw(data, 100, 4, task=task, photos=photos), shown, strict=True):
                named = [setting_of(text) for text in sample.answers]
                assert set(named) <= set(settings) and len(set(named)) == 4
                assert (sample.image is not None) == photos


def test_what_each_task_asks_and_answers(data: Path):
    [title] = draw(data, 1, task="title", family="comprehension")
    assert title.answers[0].startswith("Fjord coffee mug, no ") and "Fjord coffee" not in title.instruction
    [product] = draw(data, 1, 2, task="product", family="understanding")
    assert len(product.answers) == 2 and all(a.split(",")[0].split()[-1] in ("mug", "milk") for a in product.answers)
    seen, told = (draw(data, 20, 2, task="background", family=f) for f in ("understanding", "comprehension"))
    assert all("kitchen" in text for sample in seen + told for text in sample.answers)
    assert not any("Fjord" in sample.instruction for sample in seen) and all("Fjord" in s.instruction for s in told)
    assert all(sample.image is not None for sample in (title, product, *seen, *told))


def test_families_are_drawn_by_weight_and_backgrounds_only_from_scenes():
    rng = Random(0)
    weights = {"understanding": 1.0, "comprehension": 0.0, "generation": 3.0}
    drawn = [samples.draw_task(weights, rng) for _ in range(2000)]
    shares = {family: sum(one[0] == family for one in drawn) / 2000 for family in weights}
    assert shares["comprehension"] == 0 and abs(shares["generation"] - 0.75) < 0.04  # 4 standard errors
    rewrites = sum(task == "rewrite" for _, task in drawn) / 2000
    assert abs(rewrites - 0.75 / 4) < 0.035
    assert all(samples.draw_task(weights, rng, scenes=False)[1] != "background" for _ in range(200))


def test_held_out_nouns_and_categories_are_never_trained_on(data: Path, monkeypatch: pytest.MonkeyPatch):
    nouns: set[str] = set()

    def record_noun(category, noun, rng):
        assert not category.kept_back
        nouns.add(noun)
        return noun

    monkeypatch.setattr(samples, "write_title", record_noun)
    monkeypatch.setattr(samples, "made_up_noun", lambda rng: "made up")
    draw(data, 5000, photos=False)
    samples.tokenizer_texts({}, 0)
    rows = categories().values()
    assert nouns - {"made up"} == {noun for row in rows for noun in row.training}
    assert "made up" in nouns


def test_a_made_up_noun_comes_with_its_category(data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(samples, "made_up_noun", lambda rng: "velmora")
    made_up = [s.instruction for s in draw(data, 300, photos=False) if "velmora" in s.instruction.lower()]
    assert 40 < len(made_up) < 90  # 0.85 · 0.23 = 0.2
    assert all("category: " in text for text in made_up)


def test_some_photos_come_without_words_and_some_are_unrelated(data: Path):
    drawn = draw(data, 300)
    wordless = sum("the product in the picture" in s.instruction and "category" not in s.instruction for s in drawn)
    white = sum(int(sample.image.min()) == 255 for sample in drawn if sample.image is not None)
    assert 0.19 < wordless / 300 < 0.35  # 0.6 · 0.45 = 0.27
    assert 0.02 < white / 300 < 0.11  # 0.4 · 0.15 = 0.06


def test_a_poor_description_is_taken_apart(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(samples, "sample_description", lambda setting, rng: "a, b, c")
    drafts = {samples.poor_description(Random(seed)) for seed in range(200)}
    assert {"a", "b, a", "a, a"} & drafts and all(set(draft.split(", ")) <= {"a", "b", "c"} for draft in drafts)
    assert any(len(draft.split(", ")) > len(set(draft.split(", "))) for draft in drafts)


def test_first_steps_answer_with_settings_alone(data: Path, tmp_path: Path):
    config = toy(data, tmp_path, picture_steps=1, setting_steps=2, understanding=0.0, comprehension=0.0)
    for step in range(1, 5):
        drawn = draw_step(config, sources(data), step, Random(step))
        assert len(drawn) == config.batch
        phrases = [len(text.split(", ")) for sample in drawn for text in sample.answers]
        assert (max(phrases) == 1) == (step < 3)


def test_captions_are_the_training_scenes_that_open_with_their_setting(data: Path):
    captions = samples.read_captions(data)
    train = [i for i in range(16) if split(f"p{i:04d}") == "train"]
    assert captions == {"kitchen": [f"bright kitchen counter, {i}" for i in sorted(train, key=lambda i: f"s{i}")]}


def test_splits_share_no_product(data: Path):
    ids = [{p.record["id"] for p in samples.read_photos(data, share, 32)} for share in ("train", "validation", "test")]
    assert all(ids) and len(set.union(*ids)) == sum(map(len, ids)) == 16
    assert {p.record["id"] for p in sources(data).photos} == {p.record["id"] for p in sources(data).scenes} == ids[0]


def test_a_catalogue_alone_is_enough(tmp_path: Path):
    Image.fromarray(np.full((40, 40, 3), 255, np.uint8)).save(tmp_path / "scene.png")
    photo = np.full((60, 60, 3), 255, np.uint8)
    photo[15:50, 20:40] = (20, 60, 160)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    rows = [
        f"a{i},Fjord mug {i},mug,{'photo' if i % 4 else 'scene'}.png,{'' if i % 4 else 'a desk'}" for i in range(40)
    ]
    (tmp_path / "shop.csv").write_text("\n".join(["id,title,category,image,caption", *rows]))
    config = toy(None, tmp_path / "out", catalog=tmp_path / "shop.csv", steps=4)
    with pytest.raises(InputError, match="picture_steps: expected pictures to tell apart, got all alike"):
        run(config)
    config = dataclasses.replace(config, picture_steps=0)
    assert (run(config) / "model.safetensors").is_file()
    found = samples.read_sources(None, "train", 32, tmp_path / "shop.csv")
    assert {scene.captions for scene in found.scenes} == {("a desk",)}
    assert {photo.record["title"] for photo in found.photos} <= {f"Fjord mug {i}" for i in range(40)}
    with pytest.raises(InputError, match="data: expected rendered scenes or a catalogue, got neither"):
        samples.read_sources(None, "train", 32)


def test_an_adapter_alone_is_trained_and_exported(data: Path, tmp_path: Path):
    folder = run(toy(data, tmp_path, start_from="embedded-pretrained", lora_rank=2, picture_steps=0, steps=2))
    assert sorted(path.name for path in folder.iterdir() if "adapter" in path.name) == [
        "adapter_config.json", "adapter_model.safetensors"
    ]  # fmt: skip
    assert len(PromptModel.from_pretrained(str(folder)).describe(Product(id="a", title="oat milk"), 1, seed=0)) == 1


def test_an_adapter_is_no_start(data: Path, tmp_path: Path):
    start = run(toy(data, tmp_path / "first", start_from="embedded-pretrained", lora_rank=2, picture_steps=0, steps=1))
    with pytest.raises(InputError, match="start_from: expected a whole checkpoint, got an adapter"):
        run(toy(data, tmp_path / "second", start_from=str(start), picture_steps=0, steps=1))


class Parrot:
    """Names the same four settings for every product."""

    name = "parrot"

    def describe(self, product: Product, n: int, *, seed: int) -> list[Description]:
        texts = ["rustic kitchen table", "bright kitchen counter", "modern office desk", "a blue haze"]
        return [Description(product_id=product.id, text=text, author=self.name, seed=seed) for text in texts]


def test_measures_by_hand():
    products = [Product(id="a", title="espresso", category="coffee"), Product(id="b", title="tent", category="outdoor")]
    cases = [Case(shown=product, truth=product) for product in products]
    values = {e.name.partition(": ")[2]: e.value for e in measure(Parrot(), "x", cases, seed=0)}  # pyright: ignore
    assert values["valid"] == 0.75
    assert values["match, first ad"] == 0.5  # a kitchen suits coffee
    assert values["match, all ads"] == pytest.approx((3 / 4 + 0) / 2)
    assert values["settings all differ"] == 0.0
    assert values["setting entropy within a category, bits"] == pytest.approx(1.5)  # 1/2, 1/4, 1/4
    judged = measure(Parrot(), "x", cases, 0, lambda product, texts: [0.25] * len(texts))  # pyright: ignore
    assert {e.value for e in judged if "match" in e.name} == {0.25}


def test_blanked_products_are_judged_by_what_they_are(data: Path):
    for name, cases in conditions(data, 2, seed=0).items():
        for case in cases:
            assert case.truth.title and case.truth.category
            assert bool(case.shown.title) != name.endswith("photo only")
            if name.startswith("test products"):
                assert (case.shown.image is None) == name.endswith("words only")
    assert {case.truth.category for case in conditions(data, 90, seed=0)["kept-back categories"]} == {
        row.name for row in categories().values() if row.kept_back
    }


def test_rewriting_asks_to_mend_what_does_not_suit(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    read = PromptModel._read
    monkeypatch.setattr(
        PromptModel, "_read", lambda self, products, texts: asked.extend(texts) or read(self, products, texts)
    )
    drafts = iter(["rustic kitchen table", "a blue haze", "never drawn"])
    monkeypatch.setattr(report, "poor_description", lambda rng: next(drafts))
    rewriter = Rewriter(*build(toy(data, tmp_path), {}), name="toy")
    assert len(rewriter.describe(Product(id="a", title="Fjord espresso", category="coffee"), 2, seed=0)) == 2
    [request] = asked
    assert "Fjord espresso (category: coffee)" in request and "a blue haze" in request and "kitchen" not in request


def test_losses_are_told_of_the_tasks_that_a_share_has(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = PromptModel(*build(toy(data, tmp_path), samples.read_captions(data)), name="toy")

    def told(**fields) -> set[str]:
        found = dataclasses.replace(samples.read_sources(data, "test", 32), **fields)
        monkeypatch.setattr(report, "read_sources", lambda *args: found)
        return {estimate.name.partition(":")[0] for estimate in task_losses(model, data, 1, seed=0)}

    assert told() == set(VALIDATED)
    assert told(scenes=[]) == {name for name in VALIDATED if not name.startswith("background")}
    assert told(scenes=[], photos=[]) == set()
