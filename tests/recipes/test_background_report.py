"""The classifier learns what is in renders, resumes exactly, and the report tells a painter that obeys from one that
does not."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from caig.data.scenes import SceneRecord, read_scenes
from caig.recipes.background import report
from caig.recipes.background.classifier import SceneClassifier, ground_of, train_classifier
from caig.types import Canvas, Description, Estimate, Pixels
from tests.recipes.cutting import cut_at

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def scenes() -> list[SceneRecord]:
    return read_scenes(DATA)


@pytest.fixture(scope="module")
def classifier(scenes: list[SceneRecord], tmp_path_factory: pytest.TempPathFactory) -> SceneClassifier:
    return train_classifier(scenes, tmp_path_factory.mktemp("classifier") / "classifier.pt", steps=60, seed=0)


def test_it_learns_the_renders_that_it_is_shown(scenes: list[SceneRecord], classifier: SceneClassifier) -> None:
    settings, lights, features = classifier.look([ground_of(scene, scene.image()) for scene in scenes])
    asked = np.array([scene.record["setting"] for scene in scenes])
    right = float(np.mean(np.array(settings) == asked))
    print(f"required 0.6, measured {right:.2f} of {len(scenes)} renders seen in training")
    assert right >= 0.6
    assert set(lights) <= {scene.record["lighting"] for scene in scenes}
    assert features.shape == (len(scenes), 256)


def test_a_product_says_nothing(scenes: list[SceneRecord]) -> None:
    for scene in scenes[:6]:
        picture, inside = scene.image(), scene.cutout()[..., 3:] > 0
        other = np.where(inside, 255 - picture, picture)
        assert np.array_equal(ground_of(scene, picture), ground_of(scene, other))
        assert np.array_equal(ground_of(scene, picture)[:4], picture[:4]) or inside[:5].any()


def test_a_cut_training_equals_an_uncut_one(scenes: list[SceneRecord], tmp_path: Path) -> None:
    few = scenes[:8]
    uncut = train_classifier(few, tmp_path / "uncut.pt", steps=4, seed=1)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("caig.recipes.background.classifier.EVERY", 1)
        patch.setattr("caig.recipes.background.classifier.cosine_with_warmup", cut_at(2))
        train_classifier(few, tmp_path / "cut.pt", steps=4, seed=1)
    resumed = train_classifier(few, tmp_path / "cut.pt", steps=4, seed=1)
    for name, value in uncut.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


class Copyist:
    """A painter that knows every scene by its caption, or paints them all grey."""

    name = "copyist"

    def __init__(self, scenes: Sequence[SceneRecord], obeys: bool) -> None:
        self.pictures = {scene.record["captions"][0]: scene.image() for scene in scenes}
        self.obeys = obeys

    def paint(self, canvas: Canvas, descriptions: Sequence[Description], *, seeds: Sequence[int]) -> list[Pixels]:
        wanted = [self.pictures[description.text] for description in descriptions]
        return wanted if self.obeys else [np.full_like(picture, 128) for picture in wanted]


@pytest.mark.parametrize("obeys", [True, False])
def test_obedience_and_closeness_tell_a_copyist_from_a_grey_wall(
    scenes: list[SceneRecord], classifier: SceneClassifier, obeys: bool
) -> None:
    model = Copyist(scenes, obeys)
    renders = [ground_of(scene, scene.image()) for scene in scenes]
    paintings = [ground_of(scene, report.paint(model, scene, 0)) for scene in scenes]
    found = {e.name: e for e in report.obedience(classifier, scenes, renders, [paintings, paintings])}
    found |= {e.name: e for e in report.closeness(classifier, scenes, renders, paintings, 0)}
    ratio = found["setting: paintings over renders"]
    assert ratio.low <= ratio.value <= ratio.high and ratio.n == len(scenes)
    assert found["KID, paintings to renders"].low <= found["KID, paintings to renders"].high
    if obeys:
        assert ratio.value > 0.7
    else:
        assert ratio.value < 0.5


class Reader:
    """Sees in each picture what its first pixel says."""

    def look(self, pictures: Sequence[Pixels]) -> tuple[list[str], list[str], None]:
        told = [divmod(int(picture[0, 0, 0]), 10) for picture in pictures]
        return [f"setting {k}" for k, _ in told], [f"light {k}" for _, k in told], None


@dataclass
class Told:
    """A scene of one colour."""

    setting: int
    light: int

    @property
    def record(self) -> dict[str, str]:
        return {"setting": f"setting {self.setting}", "lighting": f"light {self.light}"}

    @property
    def product(self) -> dict[str, str]:
        return {"id": f"{self.setting} {self.light}"}

    def image(self) -> Pixels:
        return np.full((2, 2, 3), 10 * self.setting + self.light, np.uint8)


def test_obedience_by_hand() -> None:
    scenes = [Told(0, 0), Told(0, 1), Told(1, 0), Told(1, 0)]
    right = [scene.image() for scene in scenes]
    swapped = [right[k] for k in (2, 3, 0, 1)]  # every setting wrong, half of the lights
    found = {e.name: e.value for e in report.obedience(Reader(), scenes, right, [right, swapped])}  # type: ignore[arg-type]
    assert found["setting recognised in renders"] == 1
    assert found["setting recognised in paintings"] == 0.5
    assert found["setting recognised in renders, descriptions shuffled"] == 0.5
    assert found["light recognised in paintings"] == 0.75
    assert found["light recognised in renders, descriptions shuffled"] == 0.75  # 1/2, 1/2, 1, 1 within their settings
    assert found["light recognised in paintings, descriptions shuffled"] == 0.625  # half of it 1/2, 1/2, 1, 0
    assert found["light: paintings over renders, above chance"] == pytest.approx((0.75 - 0.625) / (1 - 0.75))


def test_one_picture_for_everything_is_no_diversity(
    scenes: list[SceneRecord], classifier: SceneClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    alike = scenes[:6]
    for number, scene in enumerate(alike):
        monkeypatch.setitem(scene.record, "setting", "kitchen" if number % 2 else "beach")  # type: ignore[arg-type]
    grey = [np.full((64, 64, 3), 128, np.uint8)] * len(alike)
    found: dict[str, Estimate] = {
        e.name: e for e in report.diversity(classifier, alike, [scene.image() for scene in alike], grey, grey)
    }
    assert found["levels between two seeds"].value == 0
    assert found["spread of a setting's paintings over its renders'"].value == pytest.approx(0, abs=1e-6)


def test_the_nearest_render_of_a_render_is_itself(
    scenes: list[SceneRecord], classifier: SceneClassifier, tmp_path: Path
) -> None:
    report.write_nearest(classifier, scenes, scenes[3:4], [scenes[3].image()], tmp_path / "nearest.png", side=32)
    from PIL import Image

    pair = np.asarray(Image.open(tmp_path / "nearest.png"))[:32, :64]
    assert np.array_equal(pair[:, :32], pair[:, 32:])
