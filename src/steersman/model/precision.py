"""Which device and which number format to compute in: "auto" picks what this machine computes natively."""

import platform
from pathlib import Path

import torch

from steersman.errors import InputError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_CPUINFO = Path("/proc/cpuinfo")
# Without one of these an x86 processor emulates bfloat16 and is slower than in float32.
_CPU_FLAGS = ("avx512_bf16", "amx_bf16")


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """The torch dtype that `name` means on `device`.

    Args:
        name: "float32", "bfloat16" or "float16" as such, on any device; or "auto": bfloat16 where the processor
            computes it natively (CUDA from compute capability 8.0, AMD GPUs, x86 with AVX512_BF16 or AMX_BF16),
            else float32, Apple's MPS included.
        device: the device the model will run on.

    Returns:
        The dtype of the weights and the activations.

    Raises:
        InputError: if `name` is none of the four words.
    """
    if name == "auto":
        return torch.bfloat16 if _native_bfloat16(device) else torch.float32
    if name not in _DTYPES:
        raise InputError(f"A precision is one of {', '.join(['auto', *_DTYPES])}, but {name!r} came; use one of those.")
    return _DTYPES[name]


def resolve_device(name: str) -> torch.device:
    """The torch device that `name` means, checked to be there.

    Args:
        name: "auto" (CUDA if there is one, else Apple's MPS, else the CPU), "cpu", "cuda" (the current GPU),
            "cuda:N" (GPU number N, from 0) or "mps".

    Returns:
        The device; a CUDA device always carries its number, as the tensors on it do.

    Raises:
        InputError: if `name` is not of that form or this machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, colon, number = name.partition(":")
    plain = not colon or (kind == "cuda" and number.isascii() and number.isdigit())
    if kind not in ("cpu", "cuda", "mps") or not plain:
        raise InputError(f"A device is auto, cpu, cuda, cuda:N or mps, but {name!r} came; use one of those.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InputError("The device mps was asked for, but torch sees no Apple GPU here; use --device auto or cpu.")
    if kind != "cuda":
        return torch.device(kind)
    if not torch.cuda.is_available():
        raise InputError(f"The device {name} was asked for, but torch sees no CUDA GPU here; use --device auto or cpu.")
    index = int(number) if colon else torch.cuda.current_device()
    count = torch.cuda.device_count()
    if index >= count:
        raise InputError(
            f"The device {name} was asked for, but this machine's {count} CUDA GPU(s) are numbered "
            f"0 to {count - 1}; use one of those."
        )
    return torch.device("cuda", index)


def _native_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        # torch.cuda.is_bf16_supported() answers for the current device only, and counts emulation as support.
        return torch.version.hip is not None or torch.cuda.get_device_capability(device)[0] >= 8
    return device.type == "cpu" and any(flag in _cpu_flags() for flag in _CPU_FLAGS)


def _cpu_flags() -> set[str]:
    """What the processor has, in the words of Linux: asked of torch where it tells (2.11 and later), else of Linux."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is not None:
        return {flag for flag, present in capabilities().items() if present is True}
    if platform.system() != "Linux":
        return set()
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return set(flags.partition(":")[2].split())
