"""The machine that trains: its accelerator, its memory and its fastest number format."""

import time
from dataclasses import dataclass

GB = 1024**3


@dataclass(frozen=True)
class Machine:
    """The hardware for training. `memory` is in GB: the GPU's total memory, or free main memory without a GPU."""

    device: str
    name: str
    memory: float
    cores: int
    dtype: str
    preset: str


def look_at_machine() -> Machine:
    """This machine and the name of the preset for it."""
    import psutil
    import torch

    cores = torch.get_num_threads()
    if not torch.cuda.is_available():
        free = psutil.virtual_memory().available / GB
        return Machine("cpu", "CPU, no CUDA GPU", free, cores, cpu_dtype(), "CPU")
    memory = torch.cuda.get_device_properties(0).total_memory / GB
    dtype = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    preset = "T4" if memory < 18 else "L4" if memory < 30 else "A100-H200"
    return Machine("cuda", torch.cuda.get_device_name(0), memory, cores, dtype, preset)


def cpu_dtype() -> str:
    """bfloat16 if a small matrix product is clearly faster in it than in float32 on this CPU, else float32."""
    import torch

    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        square = torch.randn(768, 768).to(dtype)
        square @ square
        start = time.perf_counter()
        for _ in range(10):
            square @ square
        seconds[dtype] = time.perf_counter() - start
    return "bfloat16" if seconds[torch.bfloat16] * 1.3 < seconds[torch.float32] else "float32"


def free_bytes() -> dict[str, float]:
    """The free memory in bytes, by device ("cuda" is 0 without a GPU)."""
    import psutil
    import torch

    gpu = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 0
    return {"cuda": gpu, "cpu": psutil.virtual_memory().available}
