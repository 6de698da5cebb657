"""All stages, one after another, as `make train` runs them: `python -m training.train OUT`.

A run that was cut off goes on where it stopped. What is left at the end is a checkpoint in
bfloat16 with chosen thresholds, and the losses of every step beside it.
"""

import argparse
import json
from pathlib import Path

import torch

from training.build_checkpoint import THRESHOLDS
from training.consistency import PARTS, train_consistency
from training.pretrain import train_eyes, train_questions
from training.resolution_routing import train_resolution_routing
from training.served_model import ServedModel
from training.stage import LOSSES_FILE, StageFolders, add_device_arguments, set_up
from training.thresholds import choose_thresholds
from training.trainable_model import TrainableModel, write_surroundings

SHIPPED = "internvl3_5-tiny-flash"
SHIPPED_DTYPE = "bfloat16"
SHIPPED_LOSSES = "training_losses.json"


class Training:
    """All stages below one folder."""

    def __init__(self, out: Path, device: torch.device) -> None:
        self._out = out
        self._device = device

    def run(self) -> Path:
        """Run what is left to run. Returns the finished checkpoint."""
        eyes = StageFolders(self._out / "untrained", self._out / "eyes")
        questions = StageFolders(eyes.out, self._out / "questions")
        for train, folders in ((train_eyes, eyes), (train_questions, questions)):
            if not folders.is_complete:
                train(folders, self._device)
        consistency = StageFolders(questions.out, self._out / "consistency")
        consistent = train_consistency(consistency, self._device)
        routing = StageFolders(consistent, self._out / "routing")
        if not routing.is_complete:
            train_resolution_routing(routing, questions.out, self._device)
        return self._ship(routing.out)

    def _ship(self, trained: Path) -> Path:
        """Store in bfloat16 with the thresholds that suit what is stored."""
        shipped = self._out / SHIPPED
        TrainableModel(trained, torch.device("cpu")).save(shipped, SHIPPED_DTYPE, THRESHOLDS)
        chosen = choose_thresholds(ServedModel(shipped))
        write_surroundings(shipped, SHIPPED_DTYPE, chosen.thresholds)
        self._write_losses(shipped / SHIPPED_LOSSES)
        return shipped

    def _write_losses(self, file: Path) -> None:
        stages = {
            "eyes": "eyes",
            "questions": "questions",
            **{part.name: f"consistency/{part.name}" for part in PARTS},
            "routing": "routing",
        }
        losses = {
            name: json.loads((self._out / folder / LOSSES_FILE).read_text(encoding="utf-8"))
            for name, folder in stages.items()
        }
        run = {"num_threads": torch.get_num_threads(), "device": str(self._device)}
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
