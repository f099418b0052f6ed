"""Files that a person asked for: whole or not there, and what is no regular file stays what it is."""

import errno
import os
import shlex
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import tumorcls.files
from search import files
from search.errors import StorageError
from search.files import write


def test_a_link_stays_a_link_and_a_mode_stays(folder):
    target = folder / "elsewhere" / "target.toml"
    target.parent.mkdir()
    target.write_text("old")
    target.chmod(0o640)
    Path("link.toml").symlink_to(target)
    write("new", Path("link.toml"))
    assert Path("link.toml").is_symlink()
    assert (target.read_text(), stat.S_IMODE(target.stat().st_mode)) == ("new", 0o640)
    Path("dangling").symlink_to("elsewhere/new.toml")
    write("new", Path("dangling"))
    assert (folder / "elsewhere" / "new.toml").read_text() == "new"


@pytest.mark.parametrize("module", [files, tumorcls.files])
def test_a_drive_that_has_one_mode_for_all_files_is_not_asked_for_another(folder, monkeypatch, module):
    """A Windows drive in WSL and an exFAT stick, mounted for everybody: only their owner may ask."""
    refused = PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    for name in ("chmod", "chown"):
        monkeypatch.setattr(os, name, lambda *_: (_ for _ in ()).throw(refused))
    for text in (b"old", b"new"):
        with module.replacing(Path("out")) as file:
            file.write(text)
        assert Path("out").read_bytes() == text


def test_a_device_is_written_into(folder):
    write("x", Path("/dev/null"))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(StorageError, match=r"/dev/full: must be writable; got: No space left on device\. Choose another place"):
        write("x", Path("/dev/full"))


def test_a_pipe_gets_it_all(folder):
    os.mkfifo("pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append(Path("pipe").read_text()))
    reader.start()
    write("x" * 1_000_000, Path("pipe"))
    reader.join()
    assert read == ["x" * 1_000_000]
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)


def test_a_pipe_that_nobody_reads_is_one_line(folder, monkeypatch):
    monkeypatch.setattr(files, "_READER_S", 0.1)
    os.mkfifo("pipe")
    with pytest.raises(StorageError, match="got: a pipe that nobody reads"):
        write("x", Path("pipe"))


@pytest.mark.parametrize("name", ["folder", "none/file", "a" * 256, "loop", ""])
def test_what_cannot_be_written_is_one_line_and_leaves_nothing(folder, name):
    Path("folder").mkdir()
    Path("loop").symlink_to("loop")
    before = sorted(os.listdir())
    with pytest.raises(StorageError, match=r"must be writable; got: .*\. Choose another place\.$"):
        write("x", Path(name))
    assert sorted(os.listdir()) == before


def test_long_names_and_names_that_are_not_utf8(folder):
    for name in ("a" * 255, os.fsdecode(b"\xff.toml")):
        write("a \udcff b", Path(name))
        assert Path(name).read_text() == "a \\udcff b"


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "-", "link"])
def test_names_of_stdout_are_stdout(folder, name):
    """A redirected stdout is a regular file: replacing it would lose what is written to it before and after."""
    Path("link").symlink_to("/dev/stdout")
    Path("log").write_text("before\n")
    code = f"from pathlib import Path; from search.files import write; print(1); write('2\\n', Path({name!r})); print(3)"
    with Path("log").open("a") as log:
        subprocess.run([sys.executable, "-c", code], stdout=log, check=True)
    assert Path("log").read_text() == "before\n1\n2\n3\n"


@pytest.mark.parametrize("package", ["search", "tumorcls"])
@pytest.mark.parametrize("name", ["-", "pipe"])
def test_a_reader_that_has_read_enough_is_no_fault(folder, environment, package, name):
    """As `head` is one; what is printed is let go of there too."""
    os.mkfifo("pipe")
    call = {"search": "write(text, place)", "tumorcls": "write_whole(place, text)"}[package]
    code = f"from pathlib import Path; from {package}.files import *; place, text = Path({name!r}), 'x' * 2**20; {call}"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}"
    shell = f"{command} | head -c 5" if name == "-" else f"{command} & head -c 5 pipe; wait $!"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", shell], capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"xxxxx", b"")


def test_a_full_disk_leaves_what_was_there(folder, monkeypatch):
    Path("out.toml").write_text("old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        write("new", Path("out.toml"))
    assert Path("out.toml").read_text() == "old"
    assert not list(Path().glob(".search-*"))


def test_a_file_that_cannot_be_replaced_is_written_over(folder, monkeypatch):
    """As one that is mounted into a container, or lies in a folder of somebody else's."""
    Path("out.toml").write_text("a longer old text")

    def busy(*_):
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(os, "replace", busy)
    write("new", Path("out.toml"))
    assert Path("out.toml").read_text() == "new"


HOLD = """
import sys, time
from pathlib import Path
from {module} import {call}
with {call}(Path("{place}")) as it:
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize(
    ("module", "call", "place"),
    [
        ("search.files", "replacing", "out"),
        ("tumorcls.files", "replacing", "out"),
        ("tumorcls.files", "temporary_folder", "."),
    ],
)
def test_what_a_kill_left_is_swept_and_what_is_being_written_is_not(folder, environment, module, call, place):
    code = HOLD.format(module=module, call=call, place=place)
    owners = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) for _ in range(2)]
    try:
        for owner in owners:
            assert owner.stdout.readline() == b"held\n"
        pattern = ".search-*.tmp" if module.startswith("search") else ".tumorcls-*.tmp"
        assert len(list(Path().glob(pattern))) == 2
        owners[0].kill()
        owners[0].wait()
        write_out = f"from pathlib import Path; import {module} as m; m._sweep('{folder}')"
        subprocess.run([sys.executable, "-c", write_out], check=True, env=environment)
        assert len(list(Path().glob(pattern))) == 1
    finally:
        for owner in owners:
            owner.kill()
            owner.wait()
            owner.stdout.close()


@pytest.mark.parametrize("module", [files, tumorcls.files])
@pytest.mark.parametrize("call", ["mkdir", "open"])
def test_a_sweep_at_any_moment_takes_nothing_from_who_is_about_to_hold_it(folder, monkeypatch, module, call):
    """Two processes that write to one folder: the second looks for what was left between two calls of the first."""
    plain, swept = getattr(os, call), []

    def then_sweep(name, *arguments, **options):
        made = plain(name, *arguments, **options)
        if not swept:
            swept.append(name)
            module._sweep.__wrapped__(str(folder))
        return made

    for make in (module.temporary_folder, module.replacing):
        swept.clear()
        with monkeypatch.context() as patch:
            patch.setattr(os, call, then_sweep)
            with make(folder / "out" if make is module.replacing else folder) as made:
                if make is module.temporary_folder:
                    (made / "kept").write_text("kept")
    assert (folder / "out").is_file()
