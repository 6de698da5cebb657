"""Commands that manifests and documents hold are parsed as their own programs would."""

import pytest

from deploy.manifests.command_line import command_mistakes, commands_of, flags_of


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("dvd serve --adress auto", "No such option: --adress"),
        ("dvd serve --set router.grp_port=3", "did you mean router.grpc_port"),
        ("dvd serve --set=router", "--set takes key=value"),
        ("dvd drain --undo", "Missing argument"),
        ("dvd drian vision-0", "No such command 'drian'"),
        (".venv/bin/dvd status --server x", "No such option: --server"),
        ("ray start --hed", "No such option '--hed'"),
        ("ray strat", "No such command 'strat'"),
    ],
)
def test_a_mistake_is_told(command: str, words: str) -> None:
    (found,) = command_mistakes(command.split())
    assert words in found


@pytest.mark.parametrize(
    "command",
    [
        "dvd serve --help",
        "dvd serve some/model --set=metrics_port=9400 --config a.yaml",
        "ray start --head --labels dvd.role=vision",
        "curl --no-such-flag",
    ],
)
def test_what_is_right_or_of_others_passes(command: str) -> None:
    assert command_mistakes(command.split()) == []


def test_what_only_the_shell_sees_is_left_out() -> None:
    script = """
    # a comment
    nohup dvd serve --address auto \\
        "$@" >> log 2>&1 &
    RAY_AUTH_MODE=token exec ray start --head
    until ray health-check --address a; do sleep 5; done
    dvd status | grep vision-0
    kubectl exec --namespace dvd deployment/dvd-serve -- dvd status
    """
    assert commands_of(script) == [
        ["dvd", "serve", "--address", "auto", "$@"],
        ["ray", "start", "--head"],
        ["ray", "health-check", "--address", "a"],
        ["dvd", "status"],
        ["dvd", "status"],
    ]


def test_flags_are_those_of_one_command() -> None:
    assert {"--undo", "--supervisor"} <= flags_of("drain")
    assert "--undo" not in flags_of("status")
