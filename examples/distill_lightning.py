"""Distillation as a LightningModule: the distiller is an ordinary part of it.

pip install lightning; python examples/distill_lightning.py
"""

from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from rlgen.distill import Distiller


def my_net(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10),
    )  # fmt: skip


def pictures(count: int, seed: int) -> DataLoader:
    """Ten prototypes of 8x8 pixels under noise."""
    prototypes = torch.randn(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(count) % 10
    data = TensorDataset(prototypes[labels] + 1.5 * noise, labels)
    return DataLoader(data, batch_size=128, shuffle=seed == 1)


class Distillation(lightning.LightningModule):
    """Works for every loss of fixed teachers, and for peers that share one optimiser."""

    def __init__(self, distiller: Distiller, learning_rate: float = 0.05) -> None:
        super().__init__()
        self.distiller = distiller
        self.learning_rate = learning_rate

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Returns the objective; its parts are logged."""
        loss, parts = self.distiller(batch)
        self.log_dict({f"train/{name}": value for name, value in parts.items()})
        return loss

    def on_train_epoch_start(self) -> None:
        """Tells the epoch to losses with a ramp-up."""
        self.distiller.set_epoch(self.current_epoch)

    def validation_step(self, batch: Any, index: int) -> None:
        """Scores the student alone."""
        images, labels = batch
        hits = self.distiller.networks[0](images).argmax(1) == labels
        self.log("accuracy", hits.float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Returns an optimiser of student and connectors."""
        return torch.optim.SGD(self.distiller.parameter_groups(), self.learning_rate, momentum=0.9)


def fit(distiller: Distiller, epochs: int) -> float:
    trainer = lightning.Trainer(
        max_epochs=epochs, logger=False, enable_checkpointing=False, enable_model_summary=False,
        enable_progress_bar=False, accelerator="auto",
    )  # fmt: skip
    trainer.fit(Distillation(distiller), pictures(4000, seed=1), pictures(1000, seed=2))
    return float(trainer.callback_metrics["accuracy"])


def main(epochs: int = 8) -> dict[str, float]:
    torch.manual_seed(0)
    teacher, student = my_net(width=32), my_net(width=4)
    accuracy = {"teacher": fit(Distiller(teacher), epochs)}  # no teacher: plain training

    # From here on the teacher is fixed.
    losses, taps = {"kd": 1.0, "at": 10.0}, ["5"]
    distiller = Distiller(student, teacher, losses, taps=taps, example=(1, 8, 8))
    accuracy["student"] = fit(distiller, epochs)
    print(", ".join(f"{name} {value:.1%}" for name, value in accuracy.items()))
    return accuracy


if __name__ == "__main__":
    main()
