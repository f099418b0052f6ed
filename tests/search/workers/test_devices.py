import os
import stat
import sys
from pathlib import Path

import pytest

from search.errors import WorkerError
from search.records.attributes import owner_of
from search.workers.devices import check_places, environ_of, environ_of_place, visible_devices

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
    def install(listing, code=0):
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir()
        program.write_text(f"#!{sys.executable}\nprint({listing!r}, end='')\nraise SystemExit({code})\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(program.parent))

    return install


def test_what_the_user_made_visible_counts(nvidia_smi):
    nvidia_smi(TWO)
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "2, 3"}) == ("2", "3")
    assert visible_devices({"CUDA_VISIBLE_DEVICES": ""}) == ()
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "-1"}) == ()


@pytest.mark.parametrize(
    ("listed", "devices"),
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
def test_words_for_no_gpu_and_names_of_gpus(listed, devices):
    assert visible_devices({"CUDA_VISIBLE_DEVICES": listed}) == devices


@pytest.mark.parametrize("listed", ["cuda:0", "0;1", "gpu0", "-2", "0,\n1,all", "1e3", "0x1"])
def test_what_can_be_no_gpu_is_one_line(listed):
    with pytest.raises(WorkerError, match=r"^CUDA_VISIBLE_DEVICES: must list numbers or UUIDs of GPUs; got"):
        visible_devices({"CUDA_VISIBLE_DEVICES": listed})


def test_else_all_that_nvidia_smi_lists(nvidia_smi):
    nvidia_smi(TWO)
    assert visible_devices({}) == ("GPU-aaaa-1", "GPU-bbbb-2")


def test_of_a_divided_gpu_the_instances_are_listed(nvidia_smi):
    nvidia_smi(MIG)
    assert visible_devices({}) == ("MIG-c1", "MIG-c2", "GPU-bbbb-2")


def test_no_gpu_where_nvidia_smi_is_not_there_or_fails(nvidia_smi, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_devices({}) == ()
    nvidia_smi("NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.\n", code=9)
    assert visible_devices({}) == ()


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
