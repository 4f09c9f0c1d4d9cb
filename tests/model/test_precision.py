"""Words to torch devices and dtypes, with every machine played by stand-ins."""

import pytest
import torch

from steersman.errors import InputError
from steersman.model import precision
from steersman.model.precision import resolve_device, resolve_dtype

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda", 0), torch.device("mps")


@pytest.fixture
def gpus(monkeypatch):
    """Play a machine with `count` CUDA GPUs and perhaps an Apple one."""

    def play(count: int, *, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return play


@pytest.mark.parametrize("device", [CPU, CUDA, MPS], ids=str)
@pytest.mark.parametrize(
    ("name", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)]
)
def test_a_named_precision_is_itself_on_any_device(name, dtype, device):
    assert resolve_dtype(name, device) is dtype


@pytest.mark.parametrize("name", ["float64", "fp32", "", "BFLOAT16", "torch.float32"])
def test_another_word_for_a_precision_is_refused(name):
    with pytest.raises(InputError, match=rf"one of auto, float32, bfloat16, float16, but '{name}' came"):
        resolve_dtype(name, CPU)


@pytest.mark.parametrize(
    ("has", "dtype"),
    [
        ({"avx512_f": True, "avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True, "avx512_bf16": False}, torch.bfloat16),
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({"avx2": True, "num_sockets": 1}, torch.float32),
    ],
)
@pytest.mark.parametrize("teller", ["torch", "Linux"])
def test_auto_on_a_processor_is_bfloat16_where_it_is_native(monkeypatch, tmp_path, has, dtype, teller):
    if teller == "torch":
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
    else:  # an older torch, which does not tell
        flags = " ".join(flag for flag, present in has.items() if present is True)
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags} sse\n\nprocessor\t: 1\n")
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
        monkeypatch.setattr(precision.platform, "system", lambda: "Linux")
        monkeypatch.setattr(precision, "_CPUINFO", tmp_path / "cpuinfo")
    assert resolve_dtype("auto", CPU) is dtype


@pytest.mark.parametrize("system", ["Linux", "Darwin"])
def test_auto_on_a_processor_that_nobody_describes_is_float32(monkeypatch, tmp_path, system):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(precision.platform, "system", lambda: system)
    monkeypatch.setattr(precision, "_CPUINFO", tmp_path / "missing")
    assert resolve_dtype("auto", CPU) is torch.float32


@pytest.mark.skipif(not precision._CPUINFO.exists(), reason="compares torch with Linux's /proc/cpuinfo")
def test_torch_and_linux_agree_about_this_processor(monkeypatch):
    here = resolve_dtype("auto", CPU)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert resolve_dtype("auto", CPU) is here


@pytest.mark.parametrize(
    ("capability", "hip", "dtype"),
    [
        ((9, 0), None, torch.bfloat16),
        ((8, 0), None, torch.bfloat16),
        ((7, 5), None, torch.float32),  # torch would emulate it there
        ((7, 5), "6.2", torch.bfloat16),
    ],
)
def test_auto_on_a_gpu_asks_that_very_gpu(monkeypatch, capability, hip, dtype):
    asked = []
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: asked.append(device) or capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert resolve_dtype("auto", torch.device("cuda", 1)) is dtype
    assert asked == ([] if hip else [torch.device("cuda", 1)])


def test_auto_on_an_apple_gpu_is_float32():
    assert resolve_dtype("auto", MPS) is torch.float32


@pytest.mark.parametrize(
    ("count", "mps", "device"), [(0, False, CPU), (0, True, MPS), (2, True, CUDA), (1, False, CUDA)]
)
def test_auto_takes_the_fastest_device_there_is(gpus, count, mps, device):
    gpus(count, mps=mps)
    assert resolve_device("auto") == device


@pytest.mark.parametrize(("name", "device"), [("cpu", CPU), ("cuda", CUDA), ("cuda:0", CUDA), ("mps", MPS)])
def test_a_named_device_is_itself(gpus, name, device):
    gpus(2, mps=True)
    assert resolve_device(name) == device


def test_a_gpu_is_taken_by_its_number(gpus):
    gpus(2)
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(InputError, match=r"cuda:2 was asked for, but this machine's 2 CUDA GPU.s. are numbered 0 to 1"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_gpu_that_is_not_there_is_refused(gpus, name):
    gpus(0)
    with pytest.raises(InputError, match=f"{name} was asked for, but torch sees no CUDA GPU here; use --device auto"):
        resolve_device(name)


def test_an_apple_gpu_that_is_not_there_is_refused(gpus):
    gpus(0)
    with pytest.raises(InputError, match="torch sees no Apple GPU here"):
        resolve_device("mps")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:", "cuda:-1", "cuda:one", "cuda:²", "cpu:0", "mps:1", "tpu", "CUDA"])
def test_another_word_for_a_device_is_refused(gpus, name):
    gpus(2, mps=True)
    with pytest.raises(InputError, match=rf"auto, cpu, cuda, cuda:N or mps, but '{name}' came"):
        resolve_device(name)
