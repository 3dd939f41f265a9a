"""Which precision a published config declares for its weights and for keys and values."""

from collections.abc import Iterator, Mapping

from nimctl.core.config_numbers import Config

_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}

_METHODS = {
    "fp8": "fp8",
    "fbgemm_fp8": "fp8",
    "mxfp4": "mxfp4",
    "mxfp8": "mxfp8",
    "nvfp4": "nvfp4",
}
"""`quant_method` values that are a precision by themselves."""

_ALGORITHMS = {
    "FP8": "fp8",
    "FP8_PB_WO": "fp8",
    "FP8_PER_CHANNEL_PER_TOKEN": "fp8",
    "INT4_AWQ": "int4",
    "INT8_SQ": "int8",
    "MXFP4": "mxfp4",
    "MXFP8": "mxfp8",
    "NVFP4": "nvfp4",
    "NVFP4_AWQ": "nvfp4",
    "W4A16_AWQ": "int4",
    "W4A16_NVFP4": "nvfp4",
    "W8A8_SQ_PER_CHANNEL": "int8",
}
"""ModelOpt's names, as in `hf_quant_config.json`."""

_MOST_DEMANDING_FIRST = ("nvfp4", "mxfp4", "int4", "mxfp8", "fp8", "int8")
"""What a checkpoint of several precisions is called by: the one fewest devices can compute."""


def read_method(config: Config, quantization: Config | None = None) -> str | None:
    """The declared quantization method; None where the weights are not quantized.

    Args:
        config: The parsed `config.json`.
        quantization: The parsed `hf_quant_config.json`, where there is one.
    """
    method = _read_declaration(config).get("quant_method")
    if isinstance(method, str):
        return method
    return "modelopt" if _read_algorithm(config, quantization) else None


def read_precision(config: Config, quantization: Config | None = None) -> str | None:
    """nimctl's name of the weights' precision; None where the method is not known.

    Raises nothing: a declaration that cannot be read is not a known one.
    """
    declared = _read_declaration(config)
    names = {name for name in _list_precisions(config, declared, quantization) if name}
    for name in _MOST_DEMANDING_FIRST:
        if name in names:
            return name
    if declared or quantization:
        return None
    dtype = config.get("dtype") or config.get("torch_dtype")
    return _DTYPES.get(dtype) if isinstance(dtype, str) else None


def read_kv_precision(config: Config, quantization: Config | None = None) -> str | None:
    """The precision of keys and values that a checkpoint carries scales for; None without."""
    declared = _read_declaration(config)
    for section in (declared, _read_section(quantization or {}, "quantization")):
        algorithm = section.get("kv_cache_quant_algo") or section.get("kv_cache_scheme")
        if isinstance(algorithm, str):
            return _ALGORITHMS.get(algorithm)
        if isinstance(algorithm, Mapping):
            return _name_numbers(algorithm)
    return None


def read_scale_block(config: Config) -> int | None:
    """The edge of the square blocks of weights that share one scale; None where there are none."""
    match _read_declaration(config).get("weight_block_size"):
        case [int() as rows, int() as columns] if rows == columns > 0:
            return rows
        case _:
            return None


def _read_declaration(config: Config) -> Config:
    return _read_section(config, "quantization_config") or _read_section(
        config, "compression_config"
    )


def _read_algorithm(config: Config, quantization: Config | None) -> str | None:
    algorithm = _read_section(quantization or {}, "quantization").get("quant_algo")
    algorithm = algorithm or _read_declaration(config).get("quant_algo")
    return algorithm if isinstance(algorithm, str) else None


def _list_precisions(
    config: Config, declared: Config, quantization: Config | None
) -> Iterator[str | None]:
    algorithm = _read_algorithm(config, quantization)
    yield _ALGORITHMS.get(algorithm or "")
    for section in (declared, _read_section(quantization or {}, "quantization")):
        for layer in _read_section(section, "quantized_layers").values():
            if isinstance(layer, Mapping):
                yield _ALGORITHMS.get(str(layer.get("quant_algo")))
    method = declared.get("quant_method")
    if isinstance(method, str):
        yield _METHODS.get(method)
    if method in ("awq", "gptq", "auto-round", "gptq_marlin", "awq_marlin"):
        yield {4: "int4", 8: "int8"}.get(_read_bits(declared))
    for group in _read_section(declared, "config_groups").values():
        if isinstance(group, Mapping):
            yield _name_numbers(_read_section(group, "weights"))


def _name_numbers(scheme: Config) -> str | None:
    """Compressed-tensors' description of a number: `num_bits`, `type` and `group_size`."""
    bits, kind = _read_bits(scheme), scheme.get("type")
    if kind == "float" and bits == 4:
        return {16: "nvfp4", 32: "mxfp4"}.get(_read_bits(scheme, "group_size"))
    names = {("float", 8): "fp8", ("int", 4): "int4", ("int", 8): "int8"}
    return names.get((kind, bits)) if isinstance(kind, str) else None


def _read_bits(section: Config, name: str | None = None) -> int:
    value = section.get(name) if name else section.get("num_bits") or section.get("bits")
    return value if isinstance(value, int) else 0


def _read_section(config: Config, name: str) -> Config:
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}
