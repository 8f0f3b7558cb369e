"""The embedded data: what is drawn, and that the real readers read it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from gaze_da.config import Network, Reading
from gaze_da.data.gazefollow import depth_name
from gaze_da.data.items import GazeDataset
from gaze_da.data.samples import read_annotations
from gaze_da.synthetic import HEIGHT, WIDTH, Person, Scene, Thing, compose, render, write_domain
from gaze_da.synthetic.layout import ANNOTATORS, SCATTER
from gaze_da.synthetic.scenes import ASPECT, FARTHEST, OUTSIDE_SHARE, position
from shared_core.data.loader import ItemKey

STYLES = ("flat", "grainy")


def drawn(scene, style, seed=0):
    return render(scene, style, np.random.default_rng(seed))


def scenes(count, seed=0, **options):
    return [compose(np.random.default_rng((seed, n)), **options) for n in range(count)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    write_domain(folder, "grainy", {"train": 12, "test": 6}, seed=3)
    return folder


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_a_picture_depends_on_seed_style_split_and_number_alone(root, tmp_path):
    write_domain(tmp_path / "again", "grainy", {"train": 12, "test": 6}, seed=3)
    assert contents(tmp_path / "again") == contents(root)
    write_domain(tmp_path / "more", "grainy", {"test": 8}, seed=3)
    more = contents(tmp_path / "more")
    for path, data in contents(root).items():
        if path.parts[0] in ("test2", "depth2"):
            assert more[path] == data
    first = "train/00000000/00000000.jpg"
    for change in ({"seed": 4, "style": "grainy"}, {"seed": 3, "style": "flat"}):
        write_domain(tmp_path / "other", pictures={"train": 1}, **change)
        assert (tmp_path / "other" / first).read_bytes() != (root / first).read_bytes()


def test_both_styles_show_the_same_scene_at_the_same_depth():
    for scene in scenes(5):
        (flat, depth), (grainy, same) = (drawn(scene, style) for style in STYLES)
        assert flat.shape == grainy.shape == (HEIGHT, WIDTH, 3)
        np.testing.assert_array_equal(depth, same)
        assert abs(flat.astype(int) - grainy).mean() > 20
        # The domain gap that the demo is about: darker, and noisy where nothing is.
        assert grainy.mean() < 0.8 * flat.mean()
        assert grainy[:8, :8].std(axis=(0, 1)).min() > 3 * flat[:8, :8].std(axis=(0, 1)).max() / 2


def test_depth_is_greater_for_what_is_nearer():
    scene = Scene(
        (Person(0.3, 0.4, 0.7),),
        (Thing(0.8, 0.2, 0.55, "disc"), Thing(1.1, 0.2, 0.95, "square")),
    )
    _, depth = drawn(scene, "flat")

    def at(item):
        return depth[round(item.y * HEIGHT), round(item.x * HEIGHT)]

    far, near = scene.things
    assert at(near) > at(scene.people[0]) > at(far) > depth[2, 2] == 0
    floor = depth[90:, -3].astype(int)
    assert (np.diff(floor) >= 0).all()
    assert floor[-1] > floor[0]


def test_what_is_nearer_hides_what_is_behind_it():
    near, far = Thing(0.6, 0.3, 0.9, "square"), Thing(0.6, 0.3, 0.6, "square")
    for things in ((near, far), (far, near)):
        _, depth = drawn(Scene((), things), "flat")
        _, alone = drawn(Scene((), (near,)), "flat")
        np.testing.assert_array_equal(depth, alone)


def test_faces_are_turned_to_their_targets():
    """The direction is that of the straight line in space from the head to the thing looked at."""
    looked = 0
    for scene in scenes(60):
        for person in scene.people:
            assert math.isclose(math.hypot(*person.direction), 1, abs_tol=1e-9)
            if person.target is None:
                continue
            thing = next(t for t in scene.things if t.middle == person.target)
            line = position(thing.x, thing.y, thing.scale)
            line -= position(person.x, person.y, person.scale)
            np.testing.assert_allclose(person.direction, line / np.linalg.norm(line), atol=1e-12)
            looked += 1
    assert looked > 50


def test_a_head_shows_its_direction():
    """Skin is where the face points, hair where it does not; from behind there is hair alone."""

    def brightness(direction):
        picture, _ = drawn(Scene((Person(0.6, 0.4, 1.0, direction),), ()), "flat")
        head = picture[36:61, 60:85].astype(float).mean(axis=2)  # within the ball
        return head[:, :8].mean(), head[:, -8:].mean(), head.mean()

    left, right, _ = brightness((1.0, 0.0, 0.0))
    assert right > left + 60
    left, right, _ = brightness((-1.0, 0.0, 0.0))
    assert left > right + 60
    assert brightness((0.0, 0.0, -1.0))[2] > brightness((0.0, 0.0, 1.0))[2] + 60


def test_nothing_touches_anything_and_all_is_in_the_picture():
    for scene in scenes(60):
        boxes = [item.box for item in (*scene.people, *scene.things)]
        for number, (a0, b0, a1, b1) in enumerate(boxes):
            for x0, y0, x1, y1 in boxes[:number]:
                assert a1 < x0 or a0 > x1 or b1 < y0 or b0 > y1
        assert scene.things
        for item in (*scene.people, *scene.things):
            assert item.radius <= item.x <= ASPECT - item.radius
            assert FARTHEST <= item.scale <= 1


def test_one_in_five_looks_out_of_the_picture_past_all_things():
    people = [(person, scene) for scene in scenes(300) for person in scene.people]
    outside = [(person, scene) for person, scene in people if person.target is None]
    # Four standard deviations of a share of that many people.
    reach = 4 * math.sqrt(OUTSIDE_SHARE * (1 - OUTSIDE_SHARE) / len(people))
    assert abs(len(outside) / len(people) - OUTSIDE_SHARE) < reach
    assert all(p.target for scene in scenes(50, outside=0.0) for p in scene.people)

    def angle(person, thing):
        line = position(thing.x, thing.y, thing.scale)
        line -= position(person.x, person.y, person.scale)
        return math.degrees(math.acos(line @ person.direction / np.linalg.norm(line)))

    gaps = [min(angle(person, thing) for thing in scene.things) for person, scene in outside]
    assert np.quantile(gaps, 0.1) > 20


def test_targets_lie_everywhere_and_not_in_the_middle():
    """No centre prior explains them: a point drawn at random from the picture is about as near to it."""
    found = np.array([p.target for s in scenes(300) for p in s.people if p.target is not None])
    to_centre = np.hypot(*(found - 0.5).T).mean()
    uniform = np.random.default_rng(0).random((4000, 2))
    assert to_centre > 0.9 * np.hypot(*(uniform - 0.5).T).mean()
    assert found.min() < 0.15
    assert found.max() > 0.85


def test_rows_have_the_published_columns(root):
    for split, fields in (("train", 17), ("test", 16)):
        text = (root / f"{split}_annotations_release.txt").read_text(encoding="utf-8")
        lines = text.splitlines()
        assert {len(line.split(",")) for line in lines} == {fields}
        folder = {"train": "train", "test": "test2"}[split]
        for name in {line.split(",")[0] for line in lines}:
            first, number, file = name.split("/")
            assert (first, number, len(file)) == (folder, "00000000", len("00000000.jpg"))
            for place in (name, depth_name(name)):
                with Image.open(root / place) as picture:
                    assert (picture.format, picture.size) == ("JPEG", (WIDTH, HEIGHT))


def test_the_real_readers_read_every_person(root):
    for split in ("train", "test"):
        samples = read_annotations("gazefollow", root, split).samples
        dataset = GazeDataset(samples, Network(input_size=64, output_size=24), Reading())
        for number, sample in enumerate(samples):
            item = dataset[ItemKey(0, 0, number)]
            assert bool(item.inside) == sample.inside
            assert int(item.mask.sum()) > 50  # a head is no speck
            assert item.depth.max() > 100
        assert {sample.inside for sample in samples} == (
            {True, False} if split == "train" else {True}
        )


def test_annotators_scatter_around_the_target(root):
    samples = read_annotations("gazefollow", root, "test").samples
    spread = []
    for sample in samples:
        assert ANNOTATORS[0] <= len(sample.gazes) <= ANNOTATORS[1]
        assert len(set(sample.gazes)) == len(sample.gazes)
        spread.append(np.std(sample.gazes, axis=0, ddof=1))
    assert 0.5 * SCATTER < np.mean(spread) < 1.5 * SCATTER
