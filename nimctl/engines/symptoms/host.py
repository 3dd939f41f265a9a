"""Failures that the machine, CUDA or PyTorch causes, whatever the engine is."""

from nimctl.core.symptom import Symptom

SMALLER = "use a smaller --context-length or --concurrency"
LOOK_AT_ARGUMENTS = "look at what follows `--`; `nimctl select MODEL` prints the whole command"
FETCH_AGAIN = "`nimctl cache verify MODEL --repair` fetches what is missing or damaged"

TORCH_OUT_OF_MEMORY = (
    r"(?:OutOfMemoryError|CUDA out of memory|CUDA error: out of memory|cudaErrorMemoryAllocation)"
)
"""How PyTorch and CUDA say that a GPU has no memory left."""

_ENDS_IT = r"(?<!failed to initialize CUDA: )"
"""llama.cpp says that and goes on, without a GPU (`FELL_TO_CPU`)."""

CUDA = (
    Symptom(
        code="no-kernel-image",
        pattern=r"no kernel image is available for execution on the device"
        r"|device kernel image is invalid",
        cause="this build of the engine has no code for this generation of GPU",
        hint="`nimctl doctor` names the GPU; install a build for it, or use another --engine",
    ),
    Symptom(
        code="driver-too-old",
        pattern=r"NVIDIA driver on your system is too old(?: \(found version (?P<detail>\d+)\))?"
        rf"|{_ENDS_IT}CUDA driver version is insufficient for CUDA runtime version"
        r"|forward compatibility was attempted on non supported HW"
        r"|the provided PTX was compiled with an unsupported toolchain",
        cause="the NVIDIA driver is older than the CUDA that the engine was built with",
        hint="install a newer NVIDIA driver, or an older engine: "
        "`nimctl engines install ENGINE --version VERSION`",
    ),
    Symptom(
        code="cuda-library-missing",
        pattern=r"(?P<detail>lib(?:cudart|cublas|cudnn|nccl|nvrtc|nvinfer|nvJitLink|cusparse|cusolver)"
        r"[\w.-]*\.so[\w.]*): cannot open shared object file",
        cause="a library of CUDA is missing",
        hint="install the engine with its own libraries: `nimctl engines install ENGINE`",
    ),
    Symptom(
        code="shm-too-small",
        pattern=r"Error while creating shared memory segment /dev/shm/\S+ \((?P<detail>size \d+)\)"
        r"[^\n]*No space left on device",
        cause="the shared memory /dev/shm is too small for the GPUs to talk through",
        hint="give the container more: --shm-size 32g beside --container; of nimctl's own: "
        "docker run --shm-size=16g, or --ipc=host",
    ),
    Symptom(
        code="no-gpu",
        pattern=rf"No CUDA GPUs are available|{_ENDS_IT}no CUDA-capable device is detected"
        r"|Failed to infer device type",
        cause="the engine sees no GPU",
        hint="`nimctl doctor` shows which GPUs there are and which are hidden",
    ),
    Symptom(
        code="nccl-failed",
        pattern=r"NCCL error: (?P<detail>[^\n]+)",
        is_general=True,
        cause="the GPUs could not connect to each other (NCCL)",
        hint="start again with NCCL_DEBUG=INFO to see why, or use --tensor-parallel 1",
    ),
    Symptom(
        code="out-of-memory",
        pattern=TORCH_OUT_OF_MEMORY + r"|cudaMallocAsync[^\n]*: out of memory"
        r"|CUDA runtime error[^\n]*: out of memory",
        is_general=True,
        cause="the GPU ran out of memory",
        hint=f"{SMALLER}, another --precision, or more GPUs",
    ),
)

HOST = (
    Symptom(
        code="program-missing",
        pattern=r"(?m)^error: cannot start (?P<detail>.+): No such file or directory$",
        cause="the engine's program is gone",
        hint="`nimctl engines check` shows what is left of it",
    ),
    Symptom(
        code="address-taken",
        pattern=r"couldn't bind HTTP server socket, hostname: (?P<detail>.+)"
        r"|\[Errno 98\][^\n]*[Aa]ddress already in use",
        cause="the address that the engine shall listen on is taken",
        hint="start again: another is chosen each time",
    ),
    Symptom(
        code="glibc-too-old",
        pattern=r"version `(?P<detail>(?:GLIBC|GLIBCXX|CXXABI)_[\d.]+)' not found",
        cause="the engine was built for a newer Linux: its C library is missing a version",
        hint="use a build for this system, or another --engine",
    ),
    Symptom(
        code="no-more-threads",
        pattern=r"std::system_error'\s+what\(\):\s+Resource temporarily unavailable"
        r"|can't start new thread",
        cause="the engine may not start another thread: a limit of processes or memory is reached",
        hint="raise the limits: ulimit -u and -v, or the processes a container may have",
    ),
    Symptom(
        code="too-many-files",
        # vLLM warns of it, in backticks, wherever the limit is low.
        pattern=r"Too many open files(?!`)|cannot open shared object file: Error 24\b",
        is_general=True,
        cause="the engine may not open another file or connection: a limit is reached",
        hint="raise it for nimctl: ulimit -n 65536, or LimitNOFILE= of its service",
    ),
    Symptom(
        code="disk-full",
        pattern=r"No space left on device(?:: '(?P<detail>[^'\n]+)')?",
        is_general=True,
        cause="the disk is full where the engine keeps what it compiles and its temporary files",
        hint="`nimctl cache du` shows what the cache takes, `nimctl cache prune` what can go",
    ),
    Symptom(
        code="library-missing",
        pattern=r"(?P<detail>lib[\w.+-]+\.so[\w.]*): cannot open shared object file(?!: Error 24)",
        is_general=True,
        cause="a library of the engine is missing",
        hint="install the engine again: `nimctl engines install ENGINE`",
    ),
    Symptom(
        code="module-missing",
        pattern=r"ModuleNotFoundError: No module named '(?P<detail>[^']+)'",
        is_general=True,
        cause="a Python package that the engine needs is missing",
        hint="install the engine again: `nimctl engines install ENGINE`",
    ),
    Symptom(
        code="illegal-instruction",
        exit_code=132,
        is_general=True,
        cause="the engine was built for a newer processor than this one",
        hint="use a build for this processor, or another --engine",
    ),
    Symptom(
        code="killed",
        exit_code=137,
        is_general=True,
        cause="memory most likely ran out",
        hint=f"free memory, or {SMALLER}",
    ),
)

COMMON = (*CUDA, *HOST)
"""What every engine's own table is followed by."""
