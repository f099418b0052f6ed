from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from search.storage.mounts import network_file_system


@pytest.fixture
def mounts(monkeypatch):
    def mount(*table):
        found = [SimpleNamespace(mountpoint=point, fstype=kind) for point, kind in table]
        monkeypatch.setattr(psutil, "disk_partitions", lambda all: found)

    return mount


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home/me/demo.db", None),
        ("/data/demo.db", "nfs4"),
        ("/data/scratch/demo.db", None),
        ("/database/demo.db", None),
        ("/auto/demo.db", "cifs"),
        ("/drive/a/b/demo.db", "fuse.sshfs"),
        ("/pictures/demo.db", None),
        ("/windows/demo.db", "9p"),
    ],
)
def test_the_longest_mount_point_counts(mounts, path, expected):
    mounts(
        ("/", "ext4"),
        ("/data", "nfs4"),
        ("/data/scratch", "xfs"),
        ("/auto", "autofs"),
        ("/auto", "cifs"),
        ("/drive", "fuse.sshfs"),
        ("/pictures", "fuse.ntfs-3g"),
        ("/windows", "9p"),
    )
    assert network_file_system(Path(path)) == expected


def test_a_relative_path_and_a_link_lead_to_where_they_point(mounts, folder, monkeypatch):
    (folder / "away").mkdir()
    mounts(("/", "ext4"), (str(folder / "away"), "nfs"))
    Path("demo.db").symlink_to(folder / "away" / "demo.db")
    assert network_file_system(Path("demo.db")) == "nfs"
    assert network_file_system(Path("other.db")) is None
    monkeypatch.chdir("away")
    assert network_file_system(Path("demo.db")) == "nfs"


def test_a_sandbox_whose_root_is_9p_is_local(mounts):
    mounts(("/", "9p"))
    assert network_file_system(Path("/demo.db")) is None


def test_a_machine_without_a_mount_table(mounts):
    mounts()
    assert network_file_system(Path("/demo.db")) is None
