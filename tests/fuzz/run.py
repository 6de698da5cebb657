"""Coverage-guided fuzzing of the embedding stream with atheris.

python -m tests.fuzz.run build/fuzz tests/fuzz/corpus -runs=1000000

Arguments are libFuzzer's: the first folder takes new inputs, the others are read. An input that
breaks what must hold ends the run and is written to a file.
"""

import sys

import atheris

with atheris.instrument_imports(
    include=[
        "common.stream_codec",
        "common.tensor_codec",
        "language_service.credit",
        "language_service.embedding_manifest",
        "language_service.embedding_writer",
        "language_service.inbox",
        "language_service.receiver",
        "tests.fuzz.embedding_stream",
    ]
):
    from tests.fuzz.embedding_stream import check


def main() -> None:
    """Run until the arguments say stop."""
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
