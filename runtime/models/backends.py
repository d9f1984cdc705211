"""The back ends that can run a model, and which of them this machine has."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

NAMES = ("torch-fp32", "torch-bf16", "openvino", "openvino-int8", "onnx", "cuda")
"""What `backend:` of functions.yaml may say. The first is everywhere, and what the others are measured against."""

EXACT = NAMES[0]

FORKING = frozenset({"torch-fp32", "torch-bf16"})
"""Loaded before a fork they are shared by the children; the others have threads or a device, which a fork breaks."""

_LIBRARIES = ("torch", "sentence-transformers", "transformers", "openvino", "onnxruntime")
_INT8 = frozenset({"amx_int8", "avx512_vnni", "avx_vnni"})
_BF16 = frozenset({"amx_bf16", "avx512_bf16", "bf16"})


def trouble(backend: str) -> str:
    """Why this machine has no such back end, as a sentence; empty where it has."""
    if backend not in NAMES:
        return f"There is no back end {backend}; there is {', '.join(NAMES)}."
    if backend == "torch-bf16" and not has_bf16():
        return "This CPU has no instructions for bf16 (amx_bf16, avx512_bf16)."
    if backend == "openvino-int8" and not _INT8 & flags():
        return "This CPU has no instructions for whole numbers of eight bits (amx_int8, avx512_vnni, avx_vnni)."
    extra = backend.partition("-")[0]
    library = {"openvino": "openvino", "onnx": "onnxruntime"}.get(extra)
    if library and find_spec(library) is None:
        return f"The library {library} is not installed here: pip install 'tundish[{extra}]'."
    if backend == "cuda" and not _has_gpu():
        return "There is no GPU here, or torch is installed without support for one."
    return ""


def has_bf16() -> bool:
    """Whether the CPU multiplies bf16 numbers; without that they are slower than fp32."""
    return bool(_BF16 & flags())


def usable() -> list[str]:
    """The back ends of this machine."""
    return [name for name in NAMES if not trouble(name)]


def machine() -> dict[str, str]:
    """What a measurement holds for: the CPU and the versions of the libraries."""
    found = {"cpu": _cpu(), "bf16": " ".join(sorted(_BF16 & flags())), "cuda": str(_has_gpu())}
    return found | {library: _version(library) for library in _LIBRARIES}


@cache
def flags() -> frozenset[str]:
    """The instruction sets of this CPU by their names in /proc/cpuinfo; none where there is no such file."""
    for name in ("flags", "Features"):
        if found := _cpuinfo(name):
            return frozenset(found.split())
    return frozenset()


@cache
def _cpu() -> str:
    import platform

    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(wanted: str) -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == wanted:
            return value.strip()
    return ""


@cache
def _has_gpu() -> bool:
    """Whether there is a GPU's device and a torch that could use it; torch itself is not imported, which takes seconds
    and must not touch the device before a fork."""
    if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")):
        return False
    return bool(found := _version("torch")) and not found.endswith("+cpu")


def _version(library: str) -> str:
    """Empty where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # which takes 20 ms to import

    try:
        return version(library)
    except PackageNotFoundError:
        return ""
