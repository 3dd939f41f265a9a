"""`nimctl list-profiles`: what this machine is, and what of the catalogue it can run."""

from nimctl.cli import options


def list_profiles(
    model: options.Model = None,
    engine: options.Engine = None,
    engine_path: options.EnginePath = None,
    precision: options.Precision = None,
    goal: options.Goal = None,
    context_length: options.ContextLength = None,
    concurrency: options.Concurrency = None,
    kv_precision: options.KvPrecision = None,
    tensor_parallel: options.TensorParallel = None,
    memory_share: options.MemoryShare = None,
    gpus: options.Gpus = None,
    lora: options.Lora = None,
    allow_cpu: options.AllowCpu = None,
    hardware: options.Hardware = None,
    manifest_dir: options.ManifestDir = None,
    explain: options.Explain = False,
    json: options.Json = False,
) -> None:
    """List this machine, and every profile of MODEL with the reason it can or cannot run.

    Without MODEL: the catalogue, one line a model, with the best profile for this machine.
    """
    from nimctl.catalog import UnjudgedModelError
    from nimctl.cli import asked, facts, listing

    settings = asked.read_command_settings(
        engine=engine,
        engine_path=engine_path,
        precision=precision,
        goal=goal,
        context_length=context_length,
        concurrency=concurrency,
        kv_precision=kv_precision,
        tensor_parallel=tensor_parallel,
        memory_share=memory_share,
        **asked.split_lora(lora),
        allow_cpu=allow_cpu,
        manifest_dirs=manifest_dir,
    )
    catalog = facts.open_catalog(settings)
    machine = facts.read_machine(settings, hardware)
    wish = facts.make_wish(settings, gpus)
    if model is None:
        listing.list_catalogue(catalog, machine, wish, settings, json=json)
        return
    try:
        manifest = facts.find_model(catalog, settings, model)
    except UnjudgedModelError as error:
        listing.list_unjudged(error, machine, json=json)
        return
    listing.list_model(manifest, machine, wish, settings, explain=explain, json=json)
