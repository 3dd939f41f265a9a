"""`nimctl select`: the one profile that would run, why, and the exact command of its engine."""

from nimctl.cli import options


def select(
    model: options.Model = None,
    profile: options.Profile = None,
    engine: options.Engine = None,
    engine_path: options.EnginePath = None,
    container: options.Container = None,
    image: options.Image = None,
    shm_size: options.ShmSize = None,
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
    heal: options.Heal = None,
    max_lora_rank: options.MaxLoraRank = None,
    tool_parser: options.ToolParser = None,
    reasoning_parser: options.ReasoningParser = None,
    chat_template: options.ChatTemplate = None,
    prefix_caching: options.PrefixCaching = None,
    chunked_prefill: options.ChunkedPrefill = None,
    structured_output_backend: options.StructuredOutput = None,
    speculative: options.Speculative = None,
    speculative_tokens: options.SpeculativeTokens = None,
    seed: options.Seed = None,
    trust_remote_code: options.TrustRemoteCode = None,
    hardware: options.Hardware = None,
    cache_dir: options.CacheDir = None,
    manifest_dir: options.ManifestDir = None,
    explain: options.Explain = False,
    json: options.Json = False,
) -> None:
    """Show the profile of MODEL that would run here: why, its memory, and its engine's command."""
    from nimctl.cli import asked, choosing, facts, listing_text
    from nimctl.cli.terminal import print_json

    settings = asked.read_command_settings(
        profile=profile,
        engine=engine,
        engine_path=engine_path,
        container=container,
        container_image=image,
        shm_size=shm_size,
        precision=precision,
        goal=goal,
        context_length=context_length,
        concurrency=concurrency,
        kv_precision=kv_precision,
        tensor_parallel=tensor_parallel,
        memory_share=memory_share,
        **asked.split_lora(lora),
        allow_cpu=allow_cpu,
        heal=heal,
        max_lora_rank=max_lora_rank,
        tool_parser=tool_parser,
        reasoning_parser=reasoning_parser,
        chat_template=chat_template,
        prefix_caching=prefix_caching,
        chunked_prefill=chunked_prefill,
        structured_output_backend=structured_output_backend,
        speculative=speculative,
        speculative_tokens=speculative_tokens,
        seed=seed,
        trust_remote_code=trust_remote_code,
        cache_dir=cache_dir,
        manifest_dirs=manifest_dir,
    )
    manifest = facts.find_model(facts.open_catalog(settings), settings, model)
    machine = facts.read_machine(settings, hardware)
    wish = facts.make_wish(settings, gpus)
    if explain and not json:
        listing_text.print_explanation(facts.judge(manifest, machine, wish, settings))
    choice = choosing.choose(manifest, machine, settings, wish)
    if json:
        print_json(choosing.choice_document(choice))
    else:
        choosing.print_choice(choice)
