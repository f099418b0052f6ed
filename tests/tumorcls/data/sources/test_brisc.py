from pathlib import Path

import pytest

from tests.tumorcls.pictures import blob, write
from tumorcls.data.audit import audit
from tumorcls.data.manifest import Manifest
from tumorcls.data.prepare import prepare, write_split_files
from tumorcls.data.sources import find_source
from tumorcls.data.split import SplitSettings
from tumorcls.errors import DataError

CODES = {"glioma": "gl", "meningioma": "me", "no_tumor": "nt", "pituitary": "pi"}
PLANES = {"ax": "axial", "co": "coronal", "sa": "sagittal"}


@pytest.fixture
def brisc(tmp_path: Path) -> Path:
    """A download with two images of each split, class and plane."""
    root, number = tmp_path / "brisc2025", 0
    for split in ("train", "test"):
        for label, code in CODES.items():
            for plane in sorted(PLANES) * 2:
                number += 1
                name = f"brisc2025_{split}_{number:05}_{code}_{plane}_t1.jpg"
                write(root / "classification_task" / split / label / name, blob(number, 48))
    write(root / "segmentation_task" / "train" / "images" / "brisc2025_train_00001_gl_ax_t1.jpg", blob(1, 48))
    write(root / "segmentation_task" / "train" / "masks" / "brisc2025_train_00001_gl_ax_t1.png", blob(900, 48))
    (root / "manifest.csv").write_text("id\n1\n")
    return root


@pytest.mark.parametrize("inside", [".", "classification_task"])
def test_the_download_is_known_by_its_layout(brisc: Path, inside: str) -> None:
    source = find_source(brisc / inside)
    assert source.name == "brisc"
    rows, left_out = source.listing()
    assert len(rows) == 48
    for row in rows:
        *_, code, plane, _ = row.path.stem.split("_")
        assert (row.plane, row.official_split, row.label) == (PLANES[plane], row.path.parts[-3], row.path.parts[-2])
        assert CODES[row.label or ""] == code
    counts = {(one.folder, one.suffix): one.count for one in left_out}
    repeated = {("segmentation_task/train/images", ".jpg"): 1, ("segmentation_task/train/masks", ".png"): 1, (".", ".csv"): 1}
    assert counts == (repeated if inside == "." else {})


def test_a_name_that_says_another_class_than_its_folder_is_refused(brisc: Path) -> None:
    file = next((brisc / "classification_task" / "train" / "glioma").iterdir())
    file.rename(file.parent.with_name("pituitary") / file.name)
    with pytest.raises(
        DataError, match="must lie in the folder of the class that its name says; got glioma in the folder of pitu"
    ):
        find_source(brisc).rows()


def test_other_names_have_no_plane(brisc: Path) -> None:
    write(brisc / "classification_task" / "train" / "glioma" / "mine.png", blob(700, 48))
    assert {row.path.name: row.plane for row in find_source(brisc).rows()}["mine.png"] is None


def test_planes_are_kept_and_counted(brisc: Path, tmp_path: Path) -> None:
    split = SplitSettings(validation=0.2, test=0.2)
    data = prepare([brisc], split, tmp_path / "cache")
    write_split_files(data, split, tmp_path / "out")
    again = prepare([tmp_path / "out" / "images.csv"], split, tmp_path / "cache")
    for entries in (Manifest.read(tmp_path / "out" / "manifest.csv").entries, data.manifest.entries, again.manifest.entries):
        assert {(entry.path.name, entry.plane) for entry in entries} == {
            (path.name, PLANES[path.stem.split("_")[4]]) for path in brisc.glob("classification_task/*/*/*.jpg")
        }
    report = audit(data, split)
    assert report.planes == {(label, plane): 4 for label in CODES for plane in PLANES.values()}
    (table,) = (table for table in report.tables() if table.id == "planes")
    assert table.rows[0] == ("glioma", "4", "4", "4", "12")
