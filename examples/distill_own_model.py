"""A network of one's own taught by a larger one; layers are named from outside, nothing is edited.

python examples/distill_own_model.py
"""

import torch
from torch import Tensor, nn

from rlgen.distill import Distiller


def my_net(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
        nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10),
    )  # fmt: skip


def pictures(prototypes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Ten prototypes of 8x8 pixels under noise: a data set that needs no download."""
    labels = torch.randint(0, 10, (count,))
    return prototypes[labels] + 1.5 * torch.randn(count, 1, 8, 8), labels


def train(distiller: Distiller, prototypes: Tensor, steps: int) -> None:
    optimizer = torch.optim.SGD(distiller.parameters(), 0.05, momentum=0.9)
    for _ in range(steps):
        loss, _parts = distiller(pictures(prototypes, 128))  # parts: {"task": ..., "kd": ...}
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def main(steps: int = 300) -> dict[str, float]:
    torch.manual_seed(0)
    prototypes = torch.randn(10, 1, 8, 8)
    teacher, student = my_net(width=32), my_net(width=4)
    train(Distiller(teacher), prototypes, steps)  # no teacher and no loss: plain training

    distiller = Distiller(
        student,
        teacher,
        losses={"kd": 1.0, "ofd": 1e-3},
        taps={"ofd": ["4"]},  # before the last ReLU; python -m rlgen.list layers tells the names
        example=(1, 8, 8),
        options={"kd": {"temperature": 4.0}},
    )
    train(distiller, prototypes, steps)

    images, labels = pictures(prototypes, 2000)
    nets = {"teacher": teacher, "student": student}  # the student is as plain as before
    accuracy = {
        name: (net.eval()(images).argmax(1) == labels).float().mean().item()
        for name, net in nets.items()
    }
    print(", ".join(f"{name} {value:.1%}" for name, value in accuracy.items()))
    return accuracy


if __name__ == "__main__":
    main()
