"""What `dvd check` found, in a terminal."""

from rich.console import Console
from rich.table import Table

from common.checkpoint_problem import CheckpointProblem
from common.model_config import ModelConfig
from deploy.model_check import ModelCheck
from deploy.model_sizing import ModelSizing
from deploy.parallel_choices import ParallelChoice
from deploy.sizing import RoleMemory, tile_flops, token_flops

COLUMNS = ("on each GPU", "weights", "a step, estimated", "left", "KV cache")
WIDEST = 1000


def print_check(check: ModelCheck, sizing: ModelSizing | None, console: Console) -> None:
    """Print the verdict, every problem, and the sizes where they can be worked out."""
    _print_verdict(check, console)
    for problem in check.problems:
        _print_problem(problem, console)
    if sizing is not None:
        console.print()
        _print_memory(sizing, console)
        console.print()
        _print_work(sizing, console)


def _print_verdict(check: ModelCheck, console: Console) -> None:
    verdict = "[green]will load[/green]"
    if not check.will_load:
        num = len(check.problems)
        verdict = f"[red]will not load: {num} problem{'s' if num > 1 else ''}[/red]"
    console.print(check.directory, end=" ", markup=False, soft_wrap=True)
    console.print(verdict)
    if check.config is not None:
        console.print(_kind(check, check.config))


def _kind(check: ModelCheck, config: ModelConfig) -> str:
    parts = [f"{config.text['model_type']} language model", f"{config.layout} layout"]
    if config.thresholds is not None:
        parts.append("resolution router")
    files = len({entry.file for entry in check.tensors.values()})
    parts.append(f"{len(check.tensors):,} tensors in {files} file{'s' if files != 1 else ''}")
    roles = {"vision": check.vision, "language": check.language}
    parts += [f"{name} {role.num_parameters:,} parameters" for name, role in roles.items() if role]
    return ", ".join(parts)


def _print_problem(problem: CheckpointProblem, console: Console) -> None:
    console.print(f"  {problem.kind:9}", style="red", end=" ")
    console.print(problem.message, markup=False, emoji=False, soft_wrap=True)


def _print_memory(sizing: ModelSizing, console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in COLUMNS:
        table.add_column(head, no_wrap=True)
    table.add_row("vision", *_memory_cells(sizing.vision_memory, sizing), "")
    for choice in sizing.choices:
        name = f"language on {choice.size}"
        if choice.obstacle:
            table.add_row(f"[dim]{name}", f"[dim]no: {choice.obstacle}")
        else:
            table.add_row(name, *_memory_cells(choice.memory, sizing), _cache(choice))
    # Nothing is cut for a narrow terminal.
    wanted = console.measure(table, options=console.options.update(width=WIDEST)).maximum
    console.width = max(wanted, console.width)
    card = sizing.card
    use = f"{card.utilization:.0%} may be in use"
    console.print(f"GPUs of {_gib(card.memory_bytes)}, of which {use}; bfloat16")
    console.print(table)


def _memory_cells(memory: RoleMemory, sizing: ModelSizing) -> tuple[str, str, str]:
    room = memory.room(sizing.card)
    left = _gib(room) if room else "[red]does not fit[/red]"
    return _gib(memory.weights), _gib(memory.activations), left


def _cache(choice: ParallelChoice) -> str:
    if not choice.kv_tokens:
        return ""
    return f"{choice.kv_tokens:,} tokens of {choice.kv_bytes_per_token / 1024:g} KiB"


def _print_work(sizing: ModelSizing, console: Console) -> None:
    traffic = sizing.traffic
    console.print(
        f"A request of {traffic.tiles:g} tiles ({traffic.compressed_share:.0%} compressed: "
        f"{sizing.visual_tokens:.0f} visual tokens), {traffic.text_tokens:g} text tokens and "
        f"{traffic.output_tokens:g} answer tokens:",
        soft_wrap=True,
    )
    console.print(
        f"  vision    {_tera(sizing.vision_flops)}, {_tera(tile_flops(sizing.vision))} a tile\n"
        f"  language  {_tera(sizing.language_flops)}, "
        f"{token_flops(sizing.language) / 1e9:.1f} GFLOP a token"
    )
    if sizing.choice is None:
        console.print("[red]The language model does not fit on any number of such GPUs.[/red]")
        return
    ratio, size = sizing.ratio, sizing.choice.size
    console.print(
        f"Suggested: {_replicas(ratio.vision, 'vision')} of 1 GPU to "
        f"{_replicas(ratio.language, 'language')} of {size} GPU{'s' if size > 1 else ''} "
        f"(by work alone {sizing.gpu_ratio:.2f} vision GPUs to a language GPU; "
        "where few answers are decoded at a time, give language more)",
        soft_wrap=True,
    )


def _replicas(number: int, role: str) -> str:
    return f"[bold]{number}[/bold] {role} replica{'s' if number > 1 else ''}"


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB"


def _tera(flops: float) -> str:
    return f"{flops / 1e12:.2f} TFLOP"
