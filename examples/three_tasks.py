"""Three tasks one after another: nothing is forgotten, and the task of a picture is found.

    RLGEN_DATA=FOLDER python examples/three_tasks.py
    python examples/three_tasks.py

With a folder of data the tasks are MNIST, Fashion-MNIST and CIFAR-10; without one they are drawn.
"""

import os
from pathlib import Path

from rlgen.continual import HCNet, Recipe
from rlgen.continual.experience import as_tensors
from rlgen.continual.export import export_task
from rlgen.continual.streams import open_stream
from rlgen.nets.classifiers import make_classifier


def main(folder: str = "three_tasks", epochs: int = 8, size: int = 32, train: int = 2000) -> float:
    names = ["mnist", "fashion_mnist", "cifar10"] if os.environ.get("RLGEN_DATA") else "drawn"
    stream = open_stream(names, size=size, train=train, test=500)

    learner = HCNet(
        make_classifier("resnet8"),  # or any feed-forward nn.Module that ends in a linear layer
        stream[0].shape,
        Recipe(epochs=epochs, batch_size=32, lr=0.05),
        tasks=len(stream),
        index="prototype",  # or the paper's: "gan"
    )
    for experience in stream:  # one task at a time; its pictures are not needed again
        learner.learn_task(experience)
        learner.save(Path(folder) / "learner")

    shares = []
    for experience in stream:
        images, labels = as_tensors(experience.test)
        given, free = learner.predict(images, experience.name), learner.predict(images)
        own = free.task == learner.number(experience.name)
        right = given.label == labels, own, own & (free.label == labels)
        shares.append([float(share.float().mean()) for share in right])
        told = "right with the task given {:.1%}, task found {:.1%}, both found {:.1%}"
        print(f"{experience.name}: {told.format(*shares[-1])}")

    # One task as a plain, smaller network: see rlgen.continual.export.load_task.
    export_task(learner.cnet, 0, learner.records[0], Path(folder) / stream[0].name)
    return sum(share for _, share, _ in shares) / len(shares)


if __name__ == "__main__":
    main()
