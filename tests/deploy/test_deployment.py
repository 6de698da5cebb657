"""Which replicas a roll starts, under which names and in which order."""

from pathlib import Path

import pytest

from common.errors import CheckpointError, ConfigError
from common.types import ReplicaRole
from deploy.config import DeployConfig
from deploy.deployment import DeployedModel, find_deployed, plans_of, served_by
from tests.deploy.broken_checkpoints import edited
from training.build_checkpoint import CheckpointOptions, build_checkpoint
from training.checkpoint_shape import MICRO


def model(vision: int, language: int) -> DeployedModel:
    config = DeployConfig.model_validate(
        {
            "device": "cpu",
            "vision": {"placement": {"replicas": vision}},
            "language": {"placement": {"replicas": language}},
        }
    )
    return DeployedModel(config, Path("model"), "fingerprint")


def names(vision: int, language: int, *taken: str) -> list[str]:
    return [plan.name for plan in plans_of(model(vision, language), frozenset(taken))]


def test_the_first_two_are_one_of_each_role_so_that_they_can_answer() -> None:
    assert names(1, 3) == ["vision-0", "language-0", "language-1", "language-2"]
    assert names(2, 2) == ["vision-0", "language-0", "vision-1", "language-1"]


def test_names_that_are_taken_are_not_given_again() -> None:
    new = names(2, 1, "vision-0", "vision-1", "language-0")
    assert new == ["vision-2", "language-1", "vision-3"]
    assert names(2, 1, *new) == ["vision-0", "language-0", "vision-1"]


def test_every_replica_is_told_what_it_is_to_serve() -> None:
    plans = plans_of(model(1, 1))
    assert {plan.fingerprint for plan in plans} == {"fingerprint"}
    assert [plan.actor_name for plan in plans] == ["vision/vision-0", "language/language-0"]
    assert [plan.role for plan in plans] == list(ReplicaRole)


def test_clients_go_on_with_the_name_that_they_give() -> None:
    rolled = served_by(DeployConfig(model="some/first"), "some/second", "main")
    assert (rolled.model, rolled.revision, rolled.model_name) == ("some/second", "main", "first")


def test_a_model_that_would_not_load_is_refused_before_anything_is_placed(tmp_path: Path) -> None:
    build_checkpoint(tmp_path, CheckpointOptions(shape=MICRO, dtype="float32"))
    found = find_deployed(DeployConfig(model=str(tmp_path)))
    assert found.directory == tmp_path
    narrower = edited("config.json", lambda config: config["llm_config"].update(head_dim=8))
    narrower(tmp_path)
    with pytest.raises(CheckpointError, match=r"q_proj\.weight in model\.safetensors has shape"):
        find_deployed(DeployConfig(model=str(tmp_path)))


def test_a_group_that_the_model_cannot_have_is_refused_before_anything_is_placed(
    tmp_path: Path,
) -> None:
    build_checkpoint(tmp_path, CheckpointOptions(shape=MICRO, dtype="float32"))
    two, seven = (
        DeployConfig.model_validate(
            {
                "model": str(tmp_path),
                "language": {"placement": {"tensor_parallel_size": size}},
            }
        )
        for size in (2, 7)
    )
    assert find_deployed(two).directory == tmp_path
    with pytest.raises(ConfigError, match="sizes that work are 1, 2"):
        find_deployed(seven)
