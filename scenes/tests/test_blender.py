"""With Blender: every name has its builder, and the pictures are the same bytes on every run."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from caig_scenes.render import Run, render
from caig_scenes.vocabulary import vocabulary

RUN = Run(products=2, scenes=2, seed=5)


def test_every_name_of_the_vocabulary_has_its_builder() -> None:
    from caig_scenes.backdrops import BACKDROPS
    from caig_scenes.floors import FLOORS
    from caig_scenes.lights import LIGHTS
    from caig_scenes.products import SHAPES
    from caig_scenes.props import PROPS

    words = vocabulary()
    for name, table in (("floors", FLOORS), ("backdrops", BACKDROPS), ("props", PROPS), ("lights", LIGHTS)):
        assert set(words[name]) == set(table), name
    assert {shape for row in words["categories"].values() for shape in row["shapes"]} == set(SHAPES)


@pytest.mark.slow
def test_same_bytes_on_every_run_and_after_a_kill(tmp_path: Path) -> None:
    first, cut = tmp_path / "first", tmp_path / "cut"
    render(RUN, first, 1)
    process = multiprocessing.get_context("spawn").Process(target=render, args=(RUN, cut, 1))
    process.start()
    while not (list(cut.glob("parts/products-0000.tar")) or (cut / "products.tar").exists()):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    render(RUN, cut, 2)
    for path in sorted(first.glob("*.tar")):
        assert (cut / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_product_is_as_high_as_asked_and_stays_in_the_picture() -> None:
    from caig_scenes.camera import Shot, _inside, corners, place_camera
    from caig_scenes.materials import matte
    from caig_scenes.shapes import box
    from caig_scenes.stage import empty_stage

    assert _inside(0.4, 0.2, 0.5) == pytest.approx(0.26) and _inside(0.1, 0.2, 0.5) == 0.1
    scene = empty_stage(384, 192)
    product = [box((1, 1, 2), matte((0.5, 0.5, 0.5)))]
    place_camera(scene, product, Shot(lens=70, pitch=0.1, yaw=0.2, height=0.6, across=5.0, up=0.0))
    from bpy_extras.object_utils import world_to_camera_view
    from mathutils import Vector

    seen = [world_to_camera_view(scene, scene.camera, Vector(point)) for point in corners(product)]
    tall = max(point.y for point in seen) - min(point.y for point in seen)
    right = max(point.x for point in seen)
    assert tall == pytest.approx(0.6, abs=0.01)
    assert right == pytest.approx(1 - 0.04 / 2, abs=0.01)


@pytest.mark.slow
def test_every_builder_builds_something() -> None:
    import bpy
    from caig_scenes.backdrops import BACKDROPS
    from caig_scenes.floors import FLOORS, lay_floor
    from caig_scenes.lights import LIGHTS, set_light
    from caig_scenes.mood import Mood
    from caig_scenes.plan import chance
    from caig_scenes.products import SHAPES, build
    from caig_scenes.props import PROPS
    from caig_scenes.stage import empty_stage

    def built(name: str, builder: Callable[[Mood], object]) -> int:
        empty_stage(64, 64)
        builder(Mood(chance(0, name), (0.5, 0.2, 0.1), 0.6))
        return len(bpy.data.objects)

    record = {"id": "p0000", "seed": 0, "brand": "Fjord", "noun": "sea salt", "color": "teal", "category": "milk"}
    builders = {
        **{f"shape {name}": lambda _, name=name: build({**record, "shape": name}) for name in SHAPES},
        **{f"backdrop {name}": backdrop.build for name, backdrop in BACKDROPS.items()},
        **{f"prop {name}": prop for name, prop in PROPS.items() if name not in ("", "podium")},
        **{f"floor {name}": lambda mood, name=name: lay_floor(name, mood, table=False, sweep=False) for name in FLOORS},
        **{f"light {name}": lambda mood, name=name: set_light(name, "forest", 1.0, mood.rng) for name in LIGHTS},
    }
    assert [name for name, builder in builders.items() if not built(name, builder)] == []
