"""Training a small feature net on a labelled set, and keeping it for the next time.

Ours; no paper: the Inception network of the published FID knows neither grey 28-pixel images nor
can it be had without torchvision, so a classifier of the set itself tells what is alike. Adam, one
rise and fall of the learning rate, crops out of a border of two pixels.
"""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from rlgen.core.errors import NonFiniteLossError
from rlgen.core.ranges import check_range
from rlgen.data.classification import LabelledBatches, LabelledSets
from rlgen.generative.loading import load_network
from rlgen.generative.metrics.features import SmallFeatureNet

PADDING = 2  # border of the random crops, in pixels


@dataclass(frozen=True)
class FeatureTraining:
    """How a feature net is trained.

    Attributes:
        architecture: A name of :data:`rlgen.nets.classifiers.CLASSIFIERS`.
        epochs: Over the training images.
        batch_size: Images per step.
        learning_rate: Highest one.
        seed: Of weights and order.
    """

    architecture: str = "resnet8"
    epochs: int = 3
    batch_size: int = 128
    learning_rate: float = 3e-3
    seed: int = 0

    def check(self) -> None:
        """Checks the numbers.

        Raises:
            UserError: If one is out of range.
        """
        check_range("epochs", self.epochs, 1, 10_000)
        check_range("batch_size", self.batch_size, 2, 10**6)
        check_range("learning_rate", self.learning_rate, 1e-8, 10.0)
        check_range("seed", self.seed, 0, 2**63 - 1)


def train_feature_net(
    sets: LabelledSets,
    name: str,
    training: FeatureTraining = FeatureTraining(),
    device: torch.device | str = "cpu",
) -> SmallFeatureNet:
    """Trains a feature net on labelled images; its accuracy on the test images is in its config.

    Args:
        sets: The images.
        name: Of the set, for the net's title.
        training: How.
        device: Where.

    Raises:
        UserError: If an option is wrong.
        NonFiniteLossError: If training diverges.
    """
    training.check()
    mean, deviation = sets.statistics()
    batches = LabelledBatches(
        sets, training.batch_size, training.seed, device, padding=PADDING, flip=False
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        net = SmallFeatureNet(
            training.architecture, sets.shape[0], len(sets.classes), mean, deviation, name
        ).to(device)
    steps = training.epochs * batches.steps_per_epoch
    optimizer = torch.optim.Adam(net.parameters(), training.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.learning_rate, total_steps=max(steps, 2), pct_start=0.3
    )
    net.train()
    for step in range(steps):
        images, labels = batches.at(step)
        loss = F.cross_entropy(net(images), labels)
        if not bool(loss.isfinite()):
            raise NonFiniteLossError("the feature net's loss", step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    net.register_to_config(accuracy=_accuracy(net, batches))
    return net.eval()


@torch.no_grad()
def _accuracy(net: SmallFeatureNet, batches: LabelledBatches) -> float:
    net.eval()
    right = [net(images).argmax(1) == labels for images, labels in batches.tests()]
    return float(torch.cat(right).double().mean())


def cached_feature_net(
    sets: LabelledSets,
    name: str,
    cache: Path,
    training: FeatureTraining = FeatureTraining(),
    device: torch.device | str = "cpu",
) -> SmallFeatureNet:
    """Returns the feature net of a set, trained only where the cache has none.

    Args:
        sets: The images.
        name: Of the set.
        cache: Folder of such nets (JSON and safetensors), each in its own folder, which its set,
            its images and the settings name. It is made where it is not there.
        training: How it is trained.
        device: Where it is trained and will compute.

    Raises:
        UserError: If an option is wrong, or what is cached is damaged.
    """
    training.check()
    folder = cache / feature_net_folder(sets, name, training)
    if not folder.exists():
        net = train_feature_net(sets, name, training, device)
        unfinished = cache / f".{folder.name}.{os.getpid()}"
        net.save_pretrained(unfinished)
        try:
            unfinished.rename(folder)
        except OSError:  # another process was first; its net is the same
            shutil.rmtree(unfinished)
    loaded: SmallFeatureNet = load_network(SmallFeatureNet, folder).to(device)
    return loaded


def feature_net_folder(sets: LabelledSets, name: str, training: FeatureTraining) -> str:
    """Returns the name under which a set's feature net is cached.

    Args:
        sets: The images; others under the same name give another folder.
        name: Of the set.
        training: How the net is trained.
    """
    digest = hashlib.sha256(json.dumps(asdict(training), sort_keys=True).encode())
    for part in (sets.train, sets.test):
        digest.update(str(part.pixels.shape).encode())
        digest.update(part.pixels.tobytes())
        digest.update(part.labels.tobytes())
    slug = "".join(c if c.isalnum() else "-" for c in name).strip("-").lower()
    return f"{slug}-{training.architecture}-{digest.hexdigest()[:12]}"
