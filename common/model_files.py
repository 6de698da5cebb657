"""What tensors a model's files hold, and the fingerprint of files and tensors; no torch.

The supervisor and every replica hash the same files, so that the router pairs only replicas that
serve the same model.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from common.checkpoint_problem import CheckpointProblem, ProblemKind, refuse
from common.errors import CheckpointError
from common.json_file import read_json
from common.tensor_header import TensorEntry, length_problems, parse_header

SINGLE_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
PICKLE_FILES = ("pytorch_model*.bin", "*.pt", "*.pth")
HASHED_FILES = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
# A file of this name says that a checkpoint was never trained.
RANDOM_WEIGHTS_NOTE = "RANDOM_WEIGHTS.txt"
SAMPLE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class TensorTable:
    """What the files of a checkpoint say that they hold.

    Attributes:
        entries: Every tensor, by name.
        problems: What is wrong with the files or their index.
        is_whole: Whether every header could be read, so that what is not here is not there.
    """

    entries: Mapping[str, TensorEntry]
    problems: tuple[CheckpointProblem, ...]
    is_whole: bool


def list_tensors(directory: Path) -> Mapping[str, TensorEntry]:
    """List every tensor of a checkpoint, of one file or of an index, by name.

    Raises:
        CheckpointError: As the first problem of `read_tensor_table` says.
    """
    table = read_tensor_table(directory)
    refuse(table.problems)
    return table.entries


def read_tensor_table(directory: Path) -> TensorTable:
    """Read the headers of all files and compare them with the index.

    Raises:
        CheckpointError: There are no weights that are read here, or the index is malformed.
    """
    placed = _read_index(directory)
    names = sorted(set(placed.values())) if placed is not None else [SINGLE_FILE]
    entries: dict[str, TensorEntry] = {}
    problems: list[CheckpointProblem] = []
    unread: set[str] = set()
    for name in names:
        try:
            found = parse_header(_weight_file(directory, name))
        except CheckpointError as error:
            unread.add(name)
            problems.append(CheckpointProblem(ProblemKind.FILE, error.message, file=name))
            continue
        problems += length_problems(found)
        for entry in found:
            twice = entries.setdefault(entry.name, entry)
            if twice is not entry:
                problems.append(_index_problem(entry, f"is in {twice.file.name} and {name}"))
    if placed is not None:
        problems += _index_problems(placed, entries, unread)
    return TensorTable(entries, tuple(problems), is_whole=not unread)


def fingerprint(directory: Path) -> str:
    """Hash configuration files, tensor headers and a sample of every tensor's bytes.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name in HASHED_FILES:
        path = directory / name
        if path.is_file():
            digest.update(name.encode() + hashlib.blake2b(path.read_bytes()).digest())
    for _, entry in sorted(list_tensors(directory).items()):
        digest.update(f"{entry.name} {entry.dtype} {entry.shape}".encode())
        with entry.file.open("rb") as stream:
            stream.seek(entry.begin)
            digest.update(stream.read(min(SAMPLE_BYTES, entry.end - entry.begin)))
            stream.seek(max(entry.begin, entry.end - SAMPLE_BYTES))
            digest.update(stream.read(entry.end - stream.tell()))
    return digest.hexdigest()


def _read_index(directory: Path) -> Mapping[str, str] | None:
    """File of every tensor as the index says; None where one file holds all."""
    table = read_json(directory / INDEX_FILE)
    if table is None:
        if not (directory / SINGLE_FILE).is_file():
            raise CheckpointError(_no_weights(directory))
        return None
    placed = table.get("weight_map")
    if not isinstance(placed, dict) or not all(isinstance(name, str) for name in placed.values()):
        raise CheckpointError(f"{INDEX_FILE} has no valid weight_map.")
    if not placed:
        raise CheckpointError(f"{INDEX_FILE} names no file.")
    return placed


def _no_weights(directory: Path) -> str:
    pickled = sorted(path.name for pattern in PICKLE_FILES for path in directory.glob(pattern))
    if pickled:
        return (
            f"{directory} holds its weights as {pickled[0]} alone: reading such a file can run "
            "code, so only safetensors files are read; convert it."
        )
    return f"{directory} holds neither {SINGLE_FILE} nor {INDEX_FILE}."


def _weight_file(directory: Path, name: str) -> Path:
    file = directory / name
    if file.parent != directory or not file.is_file():
        raise CheckpointError(f"{INDEX_FILE} names {name}, which is not in {directory}.")
    return file


def _index_problems(
    placed: Mapping[str, str], entries: Mapping[str, TensorEntry], unread: set[str]
) -> Iterator[CheckpointProblem]:
    """Compare the index with the headers, both ways."""
    for name, file in placed.items():
        entry = entries.get(name)
        if file in unread or (entry is not None and entry.file.name == file):
            continue
        there = "which does not hold it" if entry is None else f"but it is in {entry.file.name}"
        message = f"{INDEX_FILE} places tensor {name} in {file}, {there}."
        yield CheckpointProblem(ProblemKind.INDEX, message, name, file)
    for entry in entries.values():
        if entry.name not in placed:
            yield _index_problem(entry, f"is in {entry.file.name}, but not in {INDEX_FILE}")


def _index_problem(entry: TensorEntry, what: str) -> CheckpointProblem:
    message = f"Tensor {entry.name} {what}."
    return CheckpointProblem(ProblemKind.INDEX, message, entry.name, entry.file.name)
