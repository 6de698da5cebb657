"""All stages, one after another, as `make train` runs them: `python -m training.train OUT`.

A run that was cut off goes on where it stopped. What is left at the end is a checkpoint in
bfloat16 with chosen thresholds, and the losses of every step beside it.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from common.result import machine
from training.build_checkpoint import THRESHOLDS
from training.consistency import train_consistency
from training.consistency_parts import PARTS, ConsistencyPart
from training.pretrain import (
    EYES,
    QUESTIONS,
    READING,
    RELATIONS,
    train_eyes,
    train_questions,
    train_reading,
    train_relations,
)
from training.resolution_routing import NUM_PICTURES, NUM_STEPS, train_resolution_routing
from training.run import Recipe
from training.served_model import ServedModel
from training.stage import LOSSES_FILE, StageFolders, add_device_arguments, set_up
from training.thresholds import NUM_SAMPLES, choose_thresholds
from training.trainable_model import TrainableModel, write_surroundings

SHIPPED = "internvl3_5-tiny-flash"
SHIPPED_DTYPE = "bfloat16"
SHIPPED_LOSSES = "training_losses.json"


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How long every stage is.

    Attributes:
        eyes: Recipe of the first stage.
        reading: Recipe of the second.
        questions: Recipe of the third.
        relations: Recipe of the fourth.
        consistency: The parts of the fifth.
        labelled_pictures: Pictures whose tiles the gate learns from.
        gate_steps: Steps in which it learns.
        validation_samples: Samples that the thresholds are chosen on.
    """

    eyes: Recipe = EYES
    reading: Recipe = READING
    questions: Recipe = QUESTIONS
    relations: Recipe = RELATIONS
    consistency: tuple[ConsistencyPart, ...] = PARTS
    labelled_pictures: int = NUM_PICTURES
    gate_steps: int = NUM_STEPS
    validation_samples: int = NUM_SAMPLES


WHOLE_PLAN = TrainingPlan()


class Training:
    """All stages below one folder."""

    def __init__(self, out: Path, device: torch.device, plan: TrainingPlan = WHOLE_PLAN) -> None:
        self._out = out
        self._device = device
        self._plan = plan

    def run(self) -> Path:
        """Run what is left to run. Returns the finished checkpoint."""
        eyes = StageFolders(self._out / "untrained", self._out / "eyes")
        reading = StageFolders(eyes.out, self._out / "reading")
        questions = StageFolders(reading.out, self._out / "questions")
        if not eyes.is_complete:
            train_eyes(eyes, self._device, self._plan.eyes)
        if not reading.is_complete:
            train_reading(reading, self._device, self._plan.reading)
        if not questions.is_complete:
            train_questions(questions, self._device, self._plan.questions)
        relations = StageFolders(questions.out, self._out / "relations")
        if not relations.is_complete:
            train_relations(relations, self._device, self._plan.relations)
        consistency = StageFolders(relations.out, self._out / "consistency")
        consistent = train_consistency(consistency, self._device, self._plan.consistency)
        routing = StageFolders(consistent, self._out / "routing")
        if not routing.is_complete:
            pictures, steps = self._plan.labelled_pictures, self._plan.gate_steps
            train_resolution_routing(routing, relations.out, self._device, pictures, steps)
        return self._ship(routing.out)

    def _ship(self, trained: Path) -> Path:
        """Store in bfloat16 with the thresholds that suit what is stored."""
        shipped = self._out / SHIPPED
        TrainableModel(trained, torch.device("cpu")).save(shipped, SHIPPED_DTYPE, THRESHOLDS)
        chosen = choose_thresholds(ServedModel(shipped), self._plan.validation_samples)
        write_surroundings(shipped, SHIPPED_DTYPE, chosen.thresholds)
        self._write_losses(shipped / SHIPPED_LOSSES)
        return shipped

    def _write_losses(self, file: Path) -> None:
        stages = {
            "eyes": "eyes",
            "reading": "reading",
            "questions": "questions",
            "relations": "relations",
            **{part.name: f"consistency/{part.name}" for part in self._plan.consistency},
            "routing": "routing",
        }
        losses = {
            name: json.loads((self._out / folder / LOSSES_FILE).read_text(encoding="utf-8"))
            for name, folder in stages.items()
        }
        run = {
            "machine": machine(),
            "num_threads": torch.get_num_threads(),
            "device": str(self._device),
        }
        file.write_text(json.dumps(run | {"losses": losses}) + "\n", encoding="utf-8")


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder of all stages")
    add_device_arguments(parser)
    arguments = parser.parse_args()
    Training(arguments.out, set_up(arguments)).run()


if __name__ == "__main__":
    main()
