import errno
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import imagehash
import pytest
from PIL import Image

from tests.tumorcls.pictures import blob, colour, kaggle_folder, write
from tumorcls import activity
from tumorcls.data import fingerprint as fingerprint_module
from tumorcls.data import image_files
from tumorcls.data import reading as module
from tumorcls.data.fingerprint import Fingerprint, fingerprint
from tumorcls.data.manifest import Manifest, scan
from tumorcls.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return kaggle_folder(tmp_path / "set", 2)


def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []

    def watch(path: Path, known: Fingerprint | None, number: int | None) -> object:
        names.append(path.name)
        return fingerprint(path, known, number)

    monkeypatch.setattr(module, "fingerprint", watch)
    return names


def test_an_entry_says_what_the_file_is(folder: Path, tmp_path: Path) -> None:
    entry = next(e for e in scan([folder], tmp_path / "c").entries if e.name == "Training/pituitary/image (1).png")
    assert entry.path == folder / entry.name
    assert (entry.label, entry.source, entry.official_split, entry.patient) == ("pituitary", "set", "train", None)
    assert (entry.width, entry.height, entry.channels) == (96, 96, 1)
    assert entry.sha256 == hashlib.sha256(entry.path.read_bytes()).hexdigest()


@pytest.mark.parametrize("quality", [20, 60, 95])
@pytest.mark.parametrize("in_colour", [False, True])
def test_the_perceptual_hash_is_imagehash_phash(tmp_path: Path, quality: int, in_colour: bool) -> None:
    for seed in range(10):
        picture = blob(seed, 130)
        path = write(tmp_path / f"{seed}.jpg", colour(picture) if in_colour else picture, quality)
        with Image.open(path) as image:
            assert f"{fingerprint(path).phash:016x}" == str(imagehash.phash(image))


def test_equal_pixels_in_other_files_have_equal_pixel_hashes(tmp_path: Path) -> None:
    grey = blob(1)
    paths = [write(tmp_path / "a.png", grey), write(tmp_path / "b.png", colour(grey)), write(tmp_path / "c.bmp", grey)]
    prints = [fingerprint(path) for path in paths]
    assert len({found.sha256 for found in prints}) == 3
    assert len({found.pixel_sha256 for found in prints}) == 1


def test_a_second_scan_opens_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = scan([folder], tmp_path / "c")
    names = opened(monkeypatch)
    second = scan([folder], tmp_path / "c")
    assert names == []
    assert second == first
    assert second.sha256 == first.sha256
    assert (second.thumbs == first.thumbs).all()


def test_only_what_changed_is_opened_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = scan([folder], tmp_path / "c")
    write(folder / "Training" / "glioma" / "image (0).png", blob(777))
    write(folder / "Training" / "glioma" / "new.png", blob(778))
    (folder / "Testing" / "glioma" / "image (1).png").unlink()
    touched = folder / "Testing" / "notumor" / "image (0).png"
    os.utime(touched, ns=(1, 1))
    names = opened(monkeypatch)
    after = scan([folder], tmp_path / "c")
    assert sorted(names) == ["image (0).png", "image (0).png", "new.png"]
    assert len(after.entries) == len(before.entries)
    assert after.sha256 != before.sha256
    names.clear()
    assert scan([folder], tmp_path / "c") == after
    assert names == []


def test_another_content_of_the_same_size_and_time_is_noticed(folder: Path, tmp_path: Path) -> None:
    before = scan([folder], tmp_path / "c")
    path = folder / "Training" / "glioma" / "image (0).png"
    status, content = path.stat(), path.read_bytes()
    for another in (write(tmp_path / f"{seed}.png", blob(seed)).read_bytes() for seed in range(500)):
        if len(another) <= len(content) and another != content:
            break
    time.sleep(0.02)  # longer than the clock of a file system stands still
    path.write_bytes(another.ljust(len(content), b"\0"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert scan([folder], tmp_path / "c").sha256 != before.sha256


def test_a_file_that_was_only_touched_is_not_decoded(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = scan([folder], tmp_path / "c")
    for path in folder.rglob("*.png"):
        os.utime(path, ns=(1, 1))
    monkeypatch.delattr("tumorcls.data.fingerprint.decode")
    assert scan([folder], tmp_path / "c") == before


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 8]) + content[middle + 1 :]


@pytest.mark.parametrize("harm", [lambda content: b"damaged", lambda content: content[:-9], flipped])
def test_a_damaged_cache_is_made_anew_with_one_line(
    folder: Path, tmp_path: Path, harm: Callable[[bytes], bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    first = scan([folder], tmp_path / "c")
    [file] = (tmp_path / "c").iterdir()
    file.write_bytes(harm(file.read_bytes()))
    assert scan([folder], tmp_path / "c") == first
    told = capfd.readouterr().err
    assert told.startswith(f"{file}: dropped and computed again; ")
    assert told.count("\n") == 1


def test_the_hash_does_not_depend_on_place_or_order(tmp_path: Path) -> None:
    a, b = kaggle_folder(tmp_path / "a", 1), kaggle_folder(tmp_path / "b", 1, sartaj=True, seed=1)
    here = scan([a, b], tmp_path / "c")
    moved = kaggle_folder(tmp_path / "elsewhere" / "a", 1)
    assert scan([b, moved], tmp_path / "d").sha256 == here.sha256


def test_the_hash_is_of_content_not_of_names(tmp_path: Path) -> None:
    a = folder_of_blobs(tmp_path / "hospital", 0)
    b = folder_of_blobs(tmp_path / "clinic", 50)
    here = scan([a, b], tmp_path / "c")
    assert {entry.source for entry in here.entries} == {"hospital", "clinic"}
    for number, path in enumerate(sorted(a.rglob("*.png"))):
        path.rename(path.with_name(f"renamed {99 - number}.png"))
    moved, other = a.rename(tmp_path / "z"), b.rename(tmp_path / "a")
    there = scan([other, moved], tmp_path / "d")
    assert there.sha256 == here.sha256
    assert [entry.sha256 for entry in there.entries] == [entry.sha256 for entry in here.entries]
    next(moved.rglob("*.png")).unlink()
    assert scan([other, moved], tmp_path / "d").sha256 != here.sha256


@pytest.mark.parametrize(
    "changed",
    [
        {"sha256": "0"},
        {"pixel_sha256": "0"},
        {"label": "pituitary"},
        {"kind": "plain"},
        {"patient": "P"},
        {"official_split": None},
        {"volume": "v"},
        {"folder": "/elsewhere"},
        {"source": "another"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_hash_is_of_all_that_an_image_is_and_of_the_set_that_it_is_in(
    folder: Path, tmp_path: Path, changed: dict[str, str | None]
) -> None:
    manifest = scan([folder], tmp_path / "c")
    first, *others = manifest.entries
    assert replace(manifest, entries=(replace(first, **changed), *others)).sha256 != manifest.sha256


def test_what_two_sets_share_has_its_place_by_what_else_they_hold(tmp_path: Path) -> None:
    a, b = folder_of_blobs(tmp_path / "a", 0), folder_of_blobs(tmp_path / "b", 50)
    for root, name in ((a, "x"), (b, "y")):
        for number in range(4):
            write(root / "glioma" / f"{name}{number}.png", blob(100 + number))
    before = scan([a, b], tmp_path / "c").sha256
    for path in sorted(a.rglob("x*.png")):
        path.rename(path.with_name(f"z{path.name}"))
    assert scan([a, b], tmp_path / "c").sha256 == before


def folder_of_blobs(root: Path, seed: int) -> Path:
    for number in range(12):
        write(root / ("glioma", "meningioma", "no_tumor", "pituitary")[number % 4] / f"{number}.png", blob(seed + number))
    return root


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_an_error_that_passes_is_not_remembered(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    whole = scan([folder], tmp_path / "other")
    real = image_files.read_file

    def failing(path: Path) -> bytes:
        if path.name == "image (1).png" and path.parent.name == "glioma":
            raise OSError(number, os.strerror(number))
        return real(path)

    monkeypatch.setattr(fingerprint_module, "read_file", failing)
    for _ in range(2):
        some = scan([folder], tmp_path / "c")
        assert len(some.entries) == 14
        assert [os.strerror(number) in bad.reason for bad in some.unreadable] == [True, True]
        (note,) = some.notes()
        assert "2 of 16 images" in note
    monkeypatch.setattr(fingerprint_module, "read_file", real)
    assert scan([folder], tmp_path / "c") == whole


def test_notes_name_the_first_three_unreadable_files_and_count_what_was_left_out(folder: Path, tmp_path: Path) -> None:
    assert scan([folder], tmp_path / "c").notes() == ()
    for number in range(5):
        (folder / "Training" / "glioma" / f"bad{number}.png").write_bytes(b"x")
        (folder / "Training" / "glioma" / f"{number}.txt").write_bytes(b"x")
    left_out, unreadable = scan([folder], tmp_path / "c").notes()
    assert "5 files (5 .txt in set/Training/glioma)" in left_out
    assert "5 of 21 images" in unreadable
    assert [f"bad{number}.png" in unreadable for number in range(5)] == [True] * 3 + [False] * 2
    assert "and 2 more" in unreadable


def test_names_that_are_no_text_survive_scan_cache_and_tables(folder: Path, tmp_path: Path) -> None:
    names = [b"a\xff.png", b"b\nc.png", b"=d.png", "\u202e\u20ac.png".encode()]
    for number, name in enumerate(names):
        path = Path(os.fsdecode(os.fsencode(folder / "Training" / "glioma") + b"/" + name))
        path.write_bytes(write(tmp_path / "x.png", blob(300 + number)).read_bytes())
    os.mkfifo(folder / "Training" / "glioma" / "pipe.png")
    first = scan([folder], tmp_path / "c")
    assert len(first.entries) == 16 + len(names)
    assert "a pipe" in first.unreadable[0].reason
    assert scan([folder], tmp_path / "c") == first
    first.write(tmp_path / "m.csv")
    assert Manifest.read(tmp_path / "m.csv").entries == first.entries


def test_unreadable_files_are_listed_and_left_out(folder: Path, tmp_path: Path) -> None:
    bad = folder / "Training" / "glioma"
    (bad / "empty.jpg").write_bytes(b"")
    (bad / "text.jpg").write_text("not an image")
    write(bad / "cut.jpg", blob(5))
    (bad / "cut.jpg").write_bytes((bad / "cut.jpg").read_bytes()[:600])
    (bad / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    for _ in range(2):  # the second time from the cache
        manifest = scan([folder], tmp_path / "c")
        assert [item.path.name for item in manifest.unreadable] == ["cut.jpg", "dangling.png", "empty.jpg", "text.jpg"]
        assert all("\n" not in item.reason for item in manifest.unreadable)
        assert len(manifest.entries) == 16


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "set" / "glioma").mkdir(parents=True)
    (tmp_path / "set" / "glioma" / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match="at least one image must be readable"):
        scan([tmp_path / "set"], tmp_path / "c")


def test_a_folder_given_twice_is_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="given once"):
        scan([folder, folder / ".." / folder.name], tmp_path / "c")


def test_the_table_on_disk_reads_back(folder: Path, tmp_path: Path) -> None:
    manifest = scan([folder], tmp_path / "c")
    manifest.write(tmp_path / "out" / "manifest.csv")
    again = Manifest.read(tmp_path / "out" / "manifest.csv")
    assert again.entries == manifest.entries
    assert again.sha256 == manifest.sha256
    heading, *rows = (tmp_path / "out" / "manifest.csv").read_text().splitlines()
    (tmp_path / "out" / "manifest.csv").write_text("\n".join([heading, *rows[::-1]]))
    assert Manifest.read(tmp_path / "out" / "manifest.csv").entries == manifest.entries, "in whatever order its rows are"


@pytest.mark.parametrize("text", ["nothing,of,ours\n1,2,3\n", "source,name\na,b\n"])
def test_another_table_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(DataError, match="must be a manifest table"):
        Manifest.read(tmp_path / "m.csv")
    with pytest.raises(DataError, match="must be readable"):
        Manifest.read(tmp_path / "none.csv")


def test_an_interrupted_scan_keeps_what_it_has_read(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(BaseException):
        pass

    def stop(count: int = 1) -> None:
        raise Stopped

    monkeypatch.setattr(activity, "advance", stop)
    with pytest.raises(Stopped):
        scan([folder], tmp_path / "c")
    monkeypatch.undo()
    names = opened(monkeypatch)
    count = len(scan([folder], tmp_path / "c").entries)
    assert len(names) == count - 1


@pytest.mark.parametrize("here", [".", "./", "../set"])
def test_images_of_the_current_folder_are_found(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: str
) -> None:
    monkeypatch.chdir(folder)
    manifest = scan([here], tmp_path / "c")
    assert all(entry.path.exists() for entry in manifest.entries)
    assert manifest.sha256 == scan([folder], tmp_path / "c").sha256
