import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search.errors import WorkerError
from search.records.attributes import owner_of
from search.workers import devices
from search.workers.devices import beside, check_places, environ_of, environ_of_place, visible_devices

TWO = """\
GPU 0: NVIDIA H200 (UUID: GPU-aaaa-1)
GPU 1: NVIDIA H200 (UUID: GPU-bbbb-2)
"""
MIG = """\
GPU 0: NVIDIA A100 (UUID: GPU-aaaa-1)
  MIG 3g.20gb     Device  0: (UUID: MIG-c1)
  MIG 3g.20gb     Device  1: (UUID: MIG-c2)
GPU 1: NVIDIA A100 (UUID: GPU-bbbb-2)
"""


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    def install(listing, code=0, seconds=0.0):
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir()
        program.write_text(
            f"#!{sys.executable}\nimport time\ntime.sleep({seconds})\nprint({listing!r}, end='')\nraise SystemExit({code})\n"
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(program.parent))

    return install


def test_what_the_user_made_visible_counts(nvidia_smi):
    nvidia_smi(TWO)
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "2, 3"}, pytest.fail) == ("2", "3")
    assert visible_devices({"CUDA_VISIBLE_DEVICES": ""}, pytest.fail) == ()
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "-1"}, pytest.fail) == ()


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        ("NoDevFiles", ()),
        ("void", ()),
        ("none", ()),
        (" ", ()),
        ("0,-1,1", ("0",)),
        ("0,NoDevFiles", ("0",)),
        ("1,1,0", ("1", "0")),
        ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6, 1", ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "1")),
        ("MIG-GPU-8932f937/1/0,MIG-c1", ("MIG-GPU-8932f937/1/0", "MIG-c1")),
        ("0,1,", ("0", "1")),
    ],
)
def test_words_for_no_gpu_and_names_of_gpus(listed, names):
    assert visible_devices({"CUDA_VISIBLE_DEVICES": listed}, pytest.fail) == names


@pytest.mark.parametrize("listed", ["cuda:0", "0;1", "gpu0", "-2", "0,\n1,all", "1e3", "0x1"])
def test_what_can_be_no_gpu_is_one_line(listed):
    with pytest.raises(WorkerError, match=r"^CUDA_VISIBLE_DEVICES: must list numbers or UUIDs of GPUs; got"):
        visible_devices({"CUDA_VISIBLE_DEVICES": listed}, pytest.fail)


def test_else_all_that_nvidia_smi_lists(nvidia_smi):
    nvidia_smi(TWO)
    assert visible_devices({}, pytest.fail) == ("GPU-aaaa-1", "GPU-bbbb-2")


def test_of_a_divided_gpu_the_instances_are_listed(nvidia_smi):
    nvidia_smi(MIG)
    assert visible_devices({}, pytest.fail) == ("MIG-c1", "MIG-c2", "GPU-bbbb-2")


def test_no_gpu_and_no_word_where_nvidia_smi_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_devices({}, pytest.fail) == ()


LOST = "Unable to determine the device handle for GPU0000:CB:00.0: GPU is lost.  Reboot the system to recover this GPU"


@pytest.mark.parametrize(
    ("listing", "listed", "got", "going_on"),
    [
        (f"{TWO}{LOST}\n", ("GPU-aaaa-1", "GPU-bbbb-2"), " ".join(LOST.split()), "with the 2 that it lists"),
        (TWO, ("GPU-aaaa-1", "GPU-bbbb-2"), None, "with the 2 that it lists"),
        ("NVIDIA-SMI has failed.\n", (), "NVIDIA-SMI has failed", "as without GPUs: workers are given none of their own"),
    ],
)
def test_where_nvidia_smi_fails_what_it_lists_counts_and_a_line_says_so(nvidia_smi, listing, listed, got, going_on):
    warned: list[str] = []
    nvidia_smi(listing, code=15)
    assert visible_devices({}, warned.append) == listed
    got = f"exit code 15: {got}" if got else "exit code 15"
    remedy = "Set CUDA_VISIBLE_DEVICES to choose them yourself."
    assert warned == [f"nvidia-smi -L: must list all GPUs; got {got}. Going on {going_on}. {remedy}"]
    warned.clear()
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "3"}, warned.append) == ("3",)
    assert warned == []


@pytest.mark.parametrize("dies", [True, False])
def test_nobody_waits_for_an_nvidia_smi_that_does_not_answer(nvidia_smi, monkeypatch, dies):
    """Nor for one that waits in the kernel for a lost GPU, which no signal ends."""
    nvidia_smi(TWO, seconds=3.0)
    monkeypatch.setattr(devices, "_SECONDS_TO_LIST", 0.2)
    monkeypatch.setattr(devices, "_SECONDS_TO_LEAVE", 0.2)
    programs = []
    if not dies:
        monkeypatch.setattr(subprocess.Popen, "kill", lambda program: programs.append(program))
    warned: list[str] = []
    began = time.monotonic()
    assert visible_devices({}, warned.append) == ()
    assert time.monotonic() - began < 2.5
    assert "got no answer for 0.2 s. Going on as without GPUs" in warned[0]
    for program in programs:
        os.kill(program.pid, signal.SIGKILL)
        program.wait()
        program.stdout.close()


def test_devices_are_dealt_out_in_turn():
    seen = [environ_of(worker, 4, ("a", "b"), 2, {})["CUDA_VISIBLE_DEVICES"] for worker in range(4)]
    assert seen == ["a", "b", "a", "b"]


def test_who_shares_a_device_shares_its_memory():
    shared = environ_of(0, 4, ("a", "b"), 2, {})
    assert (shared["XLA_PYTHON_CLIENT_MEM_FRACTION"], shared["TF_FORCE_GPU_ALLOW_GROWTH"]) == ("0.45", "true")
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" not in environ_of(0, 2, ("a", "b"), 1, {})


def test_what_an_engine_deals_out():
    whole = environ_of_place(4.0, 1.0)
    assert (whole["OMP_NUM_THREADS"], "CUDA_VISIBLE_DEVICES" in whole) == ("4", False), "the engine names the GPU"
    assert environ_of_place(0.5, 0.25)["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.23"
    assert environ_of_place(0.5, 0.0)["CUDA_VISIBLE_DEVICES"] == "", "a trial that asked for none takes none"


def test_what_the_user_set_stays():
    environ = {"TF_CPP_MIN_LOG_LEVEL": "0", "OMP_NUM_THREADS": "3", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.2"}
    assert not environ.keys() & environ_of(0, 2, ("a",), 2, environ).keys()


def test_jax_is_not_told_in_two_ways_how_much_memory_it_may_take():
    """It would not start."""
    environ = {"XLA_CLIENT_MEM_FRACTION": "0.2"}
    names = {"XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_CLIENT_MEM_FRACTION"}
    assert not names & environ_of(0, 2, ("a",), 2, environ).keys()
    assert not names & beside(environ, environ_of_place(1.0, 0.5)).keys(), "nor on a node of a cluster"


def test_what_an_engine_chose_is_beside_what_the_node_has_but_for_the_device():
    assert beside({"CUDA_VISIBLE_DEVICES": "0", "A": "1"}, {"CUDA_VISIBLE_DEVICES": "", "A": "2", "B": "3"}) == {
        "CUDA_VISIBLE_DEVICES": "",
        "B": "3",
    }


def test_threads_are_divided_among_workers(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert environ_of(0, 3, (), 1, {})["OMP_NUM_THREADS"] == "2"
    assert environ_of(0, 16, (), 1, {})["OMP_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in environ_of(0, 1, (), 1, {})


def test_more_workers_than_places():
    check_places(4, ("a", "b"), 2)
    check_places(4, (), 1)
    with pytest.raises(WorkerError, match=r"must be at most 2, 2 GPUs with study\.workers_per_device = 1; got 4\. Raise"):
        check_places(4, ("a", "b"), 1)


def test_a_launch_deals_out_devices(write, search, read_study, nvidia_smi, monkeypatch):
    nvidia_smi(TWO)
    Path("sees.py").write_text(
        "import os, time\nDEVICE = os.environ['CUDA_VISIBLE_DEVICES']\n"
        "def f(trial):\n    trial.set_user_attr('device', DEVICE)\n    time.sleep(0.05)\n    return 1.0\n"
    )
    write(study={"objective": '"sees:f"', "trials": "12"})
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "must be at most 2" in search("launch", "demo.toml", "--workers", 3, code=1, PATH=os.environ["PATH"]).stderr
    search("launch", "demo.toml", "--workers", 2, PATH=os.environ["PATH"])
    pairs = {(owner_of(trial)["worker"], trial.user_attrs["device"]) for trial in read_study().trials}
    assert pairs == {(0, "GPU-aaaa-1"), (1, "GPU-bbbb-2")}
