"""Feature nets: what they compute, training on labelled images, the cache, mistakes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rlgen.core.errors import UserError
from rlgen.data.classification import LabelledImages, LabelledSets
from rlgen.generative.loading import load_network
from rlgen.generative.metrics import (
    FeatureTraining,
    PixelFeatures,
    SmallFeatureNet,
    VGGFeatures,
    cached_feature_net,
    extract,
    frechet_distance,
    to_bytes,
    train_feature_net,
)
from rlgen.generative.metrics import feature_training as training_module
from rlgen.nets.perceptual import _TRUNK, load_vgg16

QUICK = FeatureTraining(epochs=2, batch_size=32)


def striped(count: int, seed: int) -> LabelledImages:
    """Noisy stripes, upright ones (0) or lying ones (1): no mean of pixels tells them apart."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    wave = 60 * np.sin(np.arange(8) * np.pi / 2 + rng.uniform(0, 6, (count, 1)))
    upright = np.broadcast_to(wave[:, None, :], (count, 8, 8))
    images = np.where(labels[:, None, None] == 0, upright, upright.transpose(0, 2, 1))
    noisy = 128 + images + rng.normal(0, 20, images.shape)
    return LabelledImages(noisy.clip(0, 255).astype(np.uint8)[..., None], labels)


@pytest.fixture(scope="module")
def sets() -> LabelledSets:
    return LabelledSets("stripes", ("upright", "lying"), striped(480, 0), striped(100, 1))


@pytest.fixture(scope="module")
def net(sets: LabelledSets) -> SmallFeatureNet:
    return train_feature_net(sets, "stripes", QUICK)


def pixels(images: LabelledImages) -> torch.Tensor:
    return torch.from_numpy(images.pixels).permute(0, 3, 1, 2)


def test_bytes_and_back():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(levels.float() / 127.5 - 1), levels)
    assert to_bytes(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def test_pixels_are_the_pixels():
    images = torch.tensor([0, 51, 255, 102], dtype=torch.uint8).view(1, 1, 2, 2)
    torch.testing.assert_close(
        extract(PixelFeatures(), images), torch.tensor([[0.0, 0.2, 1.0, 0.4]])
    )


def test_training_learns_the_classes_and_says_how_well(net: SmallFeatureNet):
    assert net.config.accuracy > 0.9
    assert net.title == f"resnet8 trained on stripes, {100 * net.config.accuracy:.1f} % right"


def test_features_are_those_of_the_last_pooling(net: SmallFeatureNet, sets: LabelledSets):
    images = pixels(sets.test)
    found = extract(net, images, batch_size=30)
    assert found.shape == (100, 64)
    maps = []
    hook = net.body.layer3.register_forward_hook(lambda *call: maps.append(call[2]))
    net.features(images)
    hook.remove()
    torch.testing.assert_close(found, maps[0].mean((2, 3)).detach())
    # And the classifier's head reads them.
    right = net.head(found).argmax(1).numpy() == sets.test.labels
    assert right.mean() == pytest.approx(net.config.accuracy)


def test_its_frechet_distance_sees_a_missing_class_where_pixel_means_do_not(
    net: SmallFeatureNet, sets: LabelledSets
):
    real, fresh = (extract(net, pixels(part)) for part in (sets.train, striped(400, 2)))
    one_class = extract(net, pixels(striped(800, 2))[::2])
    assert frechet_distance(real, one_class).distance > 10 * frechet_distance(real, fresh).distance


def test_training_is_a_function_of_its_settings_alone(sets: LabelledSets):
    few = sets._replace(train=striped(40, 0), test=striped(10, 1))

    def weights(caller: int, seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(caller)
        before = torch.get_rng_state()
        training = FeatureTraining(epochs=1, batch_size=20, seed=seed)
        found = train_feature_net(few, "few", training).state_dict()
        assert torch.equal(torch.get_rng_state(), before)  # the caller's generator is untouched
        return found

    one, two, other = weights(1, 0), weights(2, 0), weights(1, 1)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_the_cache_trains_once_and_keeps_sets_and_settings_apart(
    sets: LabelledSets,
    net: SmallFeatureNet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    calls: list[str] = []

    def train(_sets: object, name: str, *_: object) -> SmallFeatureNet:
        calls.append(name)
        return net

    monkeypatch.setattr(training_module, "train_feature_net", train)
    first = cached_feature_net(sets, "stripes", tmp_path, QUICK)
    again = cached_feature_net(sets, "stripes", tmp_path, QUICK)
    assert calls == ["stripes"]
    images = pixels(sets.test)
    assert torch.equal(extract(first, images), extract(net, images))
    assert torch.equal(extract(again, images), extract(net, images))
    assert again.title == net.title
    cached_feature_net(sets, "stripes", tmp_path, FeatureTraining(epochs=3))
    cached_feature_net(sets._replace(test=striped(100, 5)), "stripes", tmp_path, QUICK)
    assert len(calls) == 3
    folders = sorted(path.name for path in tmp_path.iterdir())
    assert len(folders) == 3
    assert all(name.startswith("stripes-resnet8-") for name in folders)  # and nothing unfinished


def test_a_damaged_net_is_told_in_one_line(net: SmallFeatureNet, tmp_path: Path):
    net.save_pretrained(tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    weights = load_file(file)
    save_file({k: v for k, v in weights.items() if k != "head.bias"}, file)
    with pytest.raises(UserError, match=r"its weights do not fit its config: head\.bias"):
        load_network(SmallFeatureNet, tmp_path)


def test_vgg_features_are_means_of_relu4_3(tmp_path: Path):
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: 0.05 * torch.randn(shape, generator=generator) for name, shape in _TRUNK.items()
    }
    save_file(weights, tmp_path / "vgg.safetensors")
    net = VGGFeatures(tmp_path / "vgg.safetensors")
    grey = torch.randint(0, 256, (2, 1, 16, 16), dtype=torch.uint8, generator=generator)
    found = extract(net, grey)
    assert found.shape == (2, 512)
    colour = grey.expand(-1, 3, -1, -1)
    torch.testing.assert_close(extract(net, colour), found)
    trunk = load_vgg16(tmp_path / "vgg.safetensors")
    expected = trunk(colour.float() / 127.5 - 1)["relu4_3"].mean((2, 3))
    torch.testing.assert_close(found, expected)
    assert found.std() > 0
    with pytest.raises(UserError, match="16 pixels a side or more"):
        extract(net, grey[..., :8, :8])


def test_mistakes_are_told_in_one_line(net: SmallFeatureNet, sets: LabelledSets):
    with pytest.raises(UserError, match="images have 3 channels; resnet8 trained on"):
        extract(net, torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(UserError, match="images as uint8"):
        extract(PixelFeatures(), torch.zeros(1, 1, 8, 8))
    with pytest.raises(UserError, match="images as uint8"):
        extract(PixelFeatures(), torch.zeros(0, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(UserError, match="epochs=0 is too small"):
        train_feature_net(sets, "stripes", FeatureTraining(epochs=0))
    with pytest.raises(UserError, match="classifier"):
        train_feature_net(sets, "stripes", FeatureTraining(architecture="resnet9"))
