import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.tumorcls.pictures import blob, kaggle_folder, write
from tumorcls.data import fetch as module
from tumorcls.data.fetch import DATASETS, Published, fetch, hash_files
from tumorcls.data.sources import find_source
from tumorcls.errors import DataError


def install(monkeypatch: pytest.MonkeyPatch, download: Callable[[str], str]) -> None:
    fake = ModuleType("kagglehub")
    fake.dataset_download = download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kagglehub", fake)


def offline(_: str) -> str:
    raise ConnectionError("Max retries exceeded:\nname resolution failed")


def publish(monkeypatch: pytest.MonkeyPatch, images: int, digest: str | None = None) -> None:
    labels = ("glioma", "meningioma", "no_tumor", "pituitary")
    counts = {(split, label): images for split in ("train", "test") for label in labels}
    monkeypatch.setattr(module, "DATASETS", {"sartaj": Published("owner/name", "sartaj", counts, digest)})


def test_a_complete_download_has_no_differences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = kaggle_folder(tmp_path / "versions" / "1" / "wrapped", 2, sartaj=True)
    publish(monkeypatch, 2, hash_files(find_source(folder)))
    asked: list[str] = []
    install(monkeypatch, lambda handle: asked.append(handle) or str(tmp_path / "versions" / "1"))
    found = fetch("sartaj")
    assert asked == ["owner/name"]
    assert (found.folder, found.images, found.differences) == (folder, 16, ())


def test_missing_images_and_other_files_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = kaggle_folder(tmp_path, 2, sartaj=True)
    install(monkeypatch, lambda _: str(folder))
    publish(monkeypatch, 2, "0" * 64)
    assert "not those this package was tested with" in fetch("sartaj").differences[0]
    (folder / "Training" / "no_tumor" / "image (0).png").unlink()
    assert fetch("sartaj").differences == ("train no_tumor: 2 images published, 1 here",)


def test_offline_is_one_line_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, offline)
    with pytest.raises(DataError) as caught:
        fetch("nickparvar")
    message = str(caught.value)
    assert "\n" not in message
    assert DATASETS["nickparvar"].page in message
    assert "tumorcls prepare" in message


def test_without_kagglehub_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(DataError, match=r"tumorcls\[kaggle\]"):
        fetch("sartaj")


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(DataError, match="sartaj, nickparvar, brisc, br35h"):
        fetch("imagenet")


@pytest.mark.parametrize("closed", [".", "wrapped", "wrapped/Training", "wrapped/Training/no_tumor"])
def test_a_folder_that_cannot_be_read_is_not_taken_for_another_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    kaggle_folder(tmp_path / "wrapped", 2, sartaj=True)
    install(monkeypatch, lambda _: str(tmp_path))
    real = os.scandir

    def scan(path: str | Path) -> Any:
        if Path(path) == tmp_path / closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path)

    monkeypatch.setattr(os, "scandir", scan)
    with pytest.raises(DataError, match=r"must be readable; got Permission denied\. Check it"):
        fetch("sartaj")


def test_another_layout_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "yes" / "a.png", blob(1))
    write(tmp_path / "no" / "a.png", blob(2))
    install(monkeypatch, lambda _: str(tmp_path))
    with pytest.raises(DataError, match="must hold the sartaj layout"):
        fetch("sartaj")
