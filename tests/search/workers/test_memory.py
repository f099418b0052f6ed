import numpy as np
import pytest

from search.workers import memory
from search.workers.memory import OomKills, is_device_failure, is_out_of_memory, memory_in_use


class ResourceExhaustedError(Exception):
    """Named like TensorFlow's."""


class OutOfMemoryError(RuntimeError):
    """Named like torch's."""


class XlaRuntimeError(RuntimeError):
    """Named like JAX's, which is raised for other errors too."""


def raised_from(cause):
    try:
        try:
            raise cause
        except Exception as error:
            raise ValueError("training failed") from error
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        np._core._exceptions._ArrayMemoryError((1, 2), np.dtype("f8")),  # type: ignore[attr-defined]
        ResourceExhaustedError("OOM when allocating tensor with shape[64,224,224,3]"),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        XlaRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1073741824 bytes."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call"),
        XlaRuntimeError("INTERNAL: CUDNN_STATUS_ALLOC_FAILED in external/xla/cuda_dnn.cc"),
        raised_from(MemoryError()),
    ],
    ids=lambda error: type(error).__name__,
)
def test_memory_ran_out(error):
    assert (is_out_of_memory(error), is_device_failure(error)) == (True, False)


@pytest.mark.parametrize(
    "error",
    [
        XlaRuntimeError("INTERNAL: cuDNN launch failure"),
        XlaRuntimeError("INTERNAL: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered"),
        XlaRuntimeError("FAILED_PRECONDITION: DNN library initialization failed. Look at the errors above for more details."),
        RuntimeError("Unable to initialize backend 'cuda': INTERNAL: no supported devices found for platform CUDA"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("CUDA error: uncorrectable ECC error encountered"),
        raised_from(RuntimeError("CUDA error: unspecified launch failure")),
    ],
    ids=str,
)
def test_a_device_failed(error):
    assert (is_out_of_memory(error), is_device_failure(error)) == (False, True)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        XlaRuntimeError("INVALID_ARGUMENT: shapes must be equal"),
        ResourceExhaustedError("model.keras; No space left on device"),
        RuntimeError("zoom factor must be positive"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_something_else_went_wrong(error):
    assert not is_out_of_memory(error)
    assert not is_device_failure(error)


def test_each_kill_is_accounted_for_once(tmp_path, monkeypatch):
    counter = tmp_path / "vmstat"
    monkeypatch.setattr(memory, "_VMSTAT", counter)
    assert not OomKills().account(), "a kernel without the counter knows nothing"
    counter.write_text("nr_free_pages 1\noom_kill 7\n")
    kills = OomKills()
    assert not kills.account(), "what came before does not count"
    counter.write_text("nr_free_pages 1\noom_kill 9\n")
    assert [kills.account() for _ in range(3)] == [True, True, False]


def test_memory_in_use_is_that_of_this_process():
    before = memory_in_use()
    block = np.ones(64 << 20, np.uint8)
    assert memory_in_use() - before > block.nbytes * 0.9
