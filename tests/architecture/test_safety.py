"""What no package may do: run what it reads, or reach what it must not know."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ["common", "router", "vision_service", "language_service", "deploy", "training"]
MODULES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {
    "__import__",
    "compile",
    "eval",
    "exec",
    "os.popen",
    "os.system",
    "torch.load",
    "torch.save",
    "yaml.full_load",
    "yaml.load",
    "yaml.unsafe_load",
}
UNSAFE_ARGUMENTS = {"allow_pickle", "shell", "trust_remote_code"}


def unsafe(source: str) -> list[str]:
    """Everything in a module that could run what it reads."""
    return [name for node in ast.walk(ast.parse(source)) for name in unsafe_names(node)]


def unsafe_names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (each.name for each in node.names if root_of(each.name) in UNSAFE_MODULES)
    elif isinstance(node, ast.ImportFrom):
        if root_of(node.module or "") in UNSAFE_MODULES:
            yield node.module or ""
        imported = (f"{node.module}.{each.name}" for each in node.names)
        yield from (name for name in imported if name in UNSAFE_CALLS)
    elif isinstance(node, ast.Call):
        if ast.unparse(node.func) in UNSAFE_CALLS:
            yield ast.unparse(node.func)
        yield from (each.arg for each in node.keywords if is_unsafe_argument(each))


def is_unsafe_argument(keyword: ast.keyword) -> bool:
    """Anything but a plain False."""
    is_off = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
    return keyword.arg in UNSAFE_ARGUMENTS and not is_off


def root_of(module: str) -> str:
    return module.partition(".")[0]


def modules_after(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after a statement."""
    script = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_module_runs_what_it_reads(module: Path) -> None:
    assert unsafe(module.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("module", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_module_says_why_it_exists(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", ["pickle"]),
        ("from pickle import loads", ["pickle"]),
        ("import joblib.memory", ["joblib.memory"]),
        ("torch.load(file)", ["torch.load"]),
        ("from torch import load", ["torch.load"]),
        ("yaml.load(text, Loader=yaml.SafeLoader)", ["yaml.load"]),
        ("eval('1')", ["eval"]),
        ("f(trust_remote_code=True)", ["trust_remote_code"]),
        ("f(trust_remote_code=flag)", ["trust_remote_code"]),
        ("numpy.load(file, allow_pickle=True)", ["allow_pickle"]),
        ("f(trust_remote_code=False); yaml.safe_load(t); re.compile(p); model.eval()", []),
    ],
)
def test_the_search_finds_what_it_should(source: str, found: list[str]) -> None:
    assert unsafe(source) == found


def test_the_search_covers_every_package() -> None:
    assert {file.relative_to(ROOT).parts[0] for file in MODULES} == set(PACKAGES)


def test_the_router_runs_without_torch_ray_or_the_services() -> None:
    loaded = modules_after("import router.server")
    assert "router" in loaded
    strangers = {"torch", "ray", "transformers", "safetensors", "deploy"}
    assert not loaded & (strangers | {"vision_service", "language_service"})
