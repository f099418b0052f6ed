from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.tumorcls.pictures import blob, colour, write
from tumorcls.data.dedup import groups as dedup
from tumorcls.data.dedup import hamming
from tumorcls.data.dedup.groups import Groups, connect, find_groups, first_of_equal, join_near
from tumorcls.data.fingerprint import perceptual_hash, thumbnail
from tumorcls.data.manifest import Manifest, scan

Grey = npt.NDArray[np.uint8]


def group_of(manifest: Manifest, groups: Groups, kind: str) -> dict[str, int]:
    return {e.name.split("/")[1].split(".")[0]: int(g) for e, g in zip(manifest.entries, getattr(groups, kind), strict=True)}


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    folder = tmp_path / "mine" / "glioma"
    picture = blob(1, 200)
    write(folder / "a.png", picture)
    (folder / "a_bytes.png").write_bytes((folder / "a.png").read_bytes())
    write(folder / "a_pixels.png", colour(picture))
    write(folder / "a_near.jpg", picture, 40)
    write(folder / "a_mirrored.jpg", picture[:, ::-1], 60)
    write(folder / "a_turned.jpg", np.rot90(picture), 60)
    write(folder / "b.png", blob(2, 200))
    write(folder / "black1.png", np.zeros((50, 50), np.uint8))
    write(folder / "black2.png", np.zeros((60, 60), np.uint8))
    return scan([tmp_path / "mine"], tmp_path / "cache")


def test_each_kind_of_copy_joins_more(manifest: Manifest) -> None:
    groups = find_groups(manifest, quarter_turns=True)
    files, pixels, images = (group_of(manifest, groups, kind) for kind in ("files", "pixels", "images"))
    assert files["a"] == files["a_bytes"] != files["a_pixels"]
    assert pixels["a"] == pixels["a_bytes"] == pixels["a_pixels"] != pixels["a_near"]
    assert len({images[name] for name in images if name.startswith("a")}) == 1
    assert len({images["a"], images["b"], images["black1"], images["black2"]}) == 4
    assert np.array_equal(groups.images, groups.split)


def test_mirror_images_and_quarter_turns_are_a_choice(manifest: Manifest) -> None:
    upright = group_of(manifest, find_groups(manifest, flips=False), "images")
    mirrored = group_of(manifest, find_groups(manifest), "images")
    assert upright["a"] == upright["a_near"]
    assert len({upright["a"], upright["a_mirrored"], upright["a_turned"]}) == 3
    assert mirrored["a"] == mirrored["a_mirrored"] != mirrored["a_turned"]


def test_a_group_is_numbered_by_its_first_member(manifest: Manifest) -> None:
    for groups in vars(find_groups(manifest)).values():
        assert np.array_equal(groups[groups], groups)
        assert np.all(groups <= np.arange(len(groups)))


def test_the_result_is_kept(manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = find_groups(manifest, tmp_path)
    monkeypatch.setattr(dedup, "_group", None)
    second = find_groups(manifest, tmp_path)
    assert all(np.array_equal(a, b) for a, b in zip(vars(first).values(), vars(second).values(), strict=True))


def test_what_is_kept_is_not_taken_for_what_other_images_or_turns_give(manifest: Manifest, tmp_path: Path) -> None:
    some = Manifest(manifest.entries[:5], thumbs=manifest.thumbs[:5])
    for images in (manifest, some):
        for turns in ({}, {"flips": False}, {"quarter_turns": True}):
            kept, fresh = find_groups(images, tmp_path, **turns), find_groups(images, **turns)
            assert np.array_equal(kept.images, fresh.images)


@pytest.mark.parametrize("turn", [lambda picture: picture, np.fliplr, np.flipud, np.rot90])
def test_slices_of_one_volume_are_no_copies_however_they_are_turned(turn: Callable[[Grey], Grey]) -> None:
    thumbs = np.stack([thumbnail(picture) for picture in (blob(1), turn(blob(1)))])
    hashes = np.array([perceptual_hash(Image.fromarray(thumb)) for thumb in thumbs], np.uint64)
    for volumes, groups in ((None, [0, 0]), (np.array([0, 0]), [0, 1]), (np.array([0, 1]), [0, 0])):
        found = join_near(hashes, thumbs, np.arange(2), volumes, quarter_turns=True)
        assert found.tolist() == groups


def test_groups_are_the_same_however_few_candidates_are_compared_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of a few pictures, mirrored and not, in two volumes, and some that have their hash and show something else."""
    rng = np.random.default_rng(0)
    pictures = [blob(seed) for seed in rng.integers(0, 6, 60)]
    turned = [picture[:, ::-1] if mirror else picture for picture, mirror in zip(pictures, rng.random(60) < 0.3, strict=True)]
    noisy = [np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8) for picture in turned]
    thumbs = np.stack([thumbnail(picture) for picture in noisy])
    hashes = np.array([perceptual_hash(Image.fromarray(thumb)) for thumb in thumbs], np.uint64)
    hashes[::7] = hashes[0]
    volumes = np.where(rng.random(60) < 0.2, rng.integers(0, 2, 60), np.arange(60))

    def found() -> list[int]:
        return [int(group) for group in join_near(hashes, thumbs, np.arange(60), volumes, quarter_turns=True)]

    expected = found()
    monkeypatch.setattr(hamming, "_PAIRS", 5)
    monkeypatch.setattr(dedup, "_ROUND", 3)
    assert found() == expected
    assert len(set(expected)) == 6


def test_a_damaged_result_is_made_anew(manifest: Manifest, tmp_path: Path) -> None:
    first = find_groups(manifest, tmp_path)
    for store in tmp_path.glob("groups-*"):
        store.write_bytes(b"damaged")
    assert np.array_equal(find_groups(manifest, tmp_path).images, first.images)


def test_connect_numbers_components() -> None:
    pairs = np.array([[4, 2], [2, 5], [1, 3]])
    assert connect(pairs, 6).tolist() == [0, 1, 2, 1, 2, 2]
    assert connect(np.zeros((0, 2), np.int64), 3).tolist() == [0, 1, 2]
    assert first_of_equal(["b", "a", "b"]).tolist() == [0, 1, 0]
