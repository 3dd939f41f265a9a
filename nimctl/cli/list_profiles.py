"""`nimctl list-profiles`: what this machine is, and what of the catalogue it can run."""

from nimctl.cli import options


def list_profiles(
    model: options.Model = None,
    engine: options.Engine = None,
    precision: options.Precision = None,
    goal: options.Goal = None,
    context_length: options.ContextLength = None,
    concurrency: options.Concurrency = None,
    kv_precision: options.KvPrecision = None,
    tensor_parallel: options.TensorParallel = None,
    gpus: options.Gpus = None,
    lora: options.Lora = None,
    hardware: options.Hardware = None,
    manifest_dir: options.ManifestDir = None,
    json: options.Json = False,
) -> None:
    """List this machine, and every profile of MODEL with the reason it can or cannot run.

    Without MODEL: the catalogue, one line a model, with the best profile for this machine.
    """
    from nimctl.cli import documents, facts, listing_text
    from nimctl.cli.terminal import print_json

    settings = facts.read_command_settings(
        engine=engine,
        precision=precision,
        goal=goal,
        context_length=context_length,
        concurrency=concurrency,
        kv_precision=kv_precision,
        tensor_parallel=tensor_parallel,
        lora_dir=lora,
        manifest_dirs=manifest_dir,
    )
    catalog = facts.open_catalog(settings)
    manifests = (facts.find_model(catalog, settings, model),) if model else catalog.manifests()
    machine = facts.read_machine(settings, hardware)
    wish = facts.make_wish(settings, gpus)
    selections = facts.judge_all(manifests, machine, wish, settings)
    judged = tuple(zip(manifests, selections, strict=True))
    if json:
        print_json(documents.listing_document(machine, judged, one_model=model is not None))
        return
    listing_text.print_system(machine)
    if model:
        listing_text.print_groups(*judged[0])
    else:
        listing_text.print_catalogue(judged)
