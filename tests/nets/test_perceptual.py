"""VGG-16 features, Gram matrices and the distance built on them, on small made-up weight files."""

import os
import pickle
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from rlgen.core.errors import UserError
from rlgen.nets.perceptual import (
    LAYERS,
    PerceptualDistance,
    VGG16Features,
    gram,
    load_perceptual_distance,
    load_vgg16,
)

# Name, input and output channels, and place in torchvision's ``features``.
CONVOLUTIONS = [
    ("conv1_1", 3, 64, 0),
    ("conv1_2", 64, 64, 2),
    ("conv2_1", 64, 128, 5),
    ("conv2_2", 128, 128, 7),
    ("conv3_1", 128, 256, 10),
    ("conv3_2", 256, 256, 12),
    ("conv3_3", 256, 256, 14),
    ("conv4_1", 256, 512, 17),
    ("conv4_2", 512, 512, 19),
    ("conv4_3", 512, 512, 21),
]


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Random weights that float16 holds exactly, so that every file form gives the same."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}
    for name, inputs, outputs, _ in CONVOLUTIONS:
        kernel = torch.randn(outputs, inputs, 3, 3, generator=generator)
        state[f"{name}.weight"] = (kernel * (2 / (9 * inputs)) ** 0.5).half().float()
        state[f"{name}.bias"] = 0.1 * torch.randn(outputs, generator=generator)
    for i, width in enumerate((64, 128, 256, 512, 512)):
        state[f"lpips_lin{i}"] = torch.rand(width, generator=generator)
    return state


@pytest.fixture(scope="module")
def files(weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("vgg")
    paths = {kind: folder / f"vgg16.{kind}" for kind in ("npz", "safetensors", "pth")}
    halves = {
        key: value.half() if key.endswith(".weight") else value for key, value in weights.items()
    }
    np.savez(paths["npz"], **{key: value.numpy() for key, value in halves.items()})
    save_file(weights, paths["safetensors"])
    state: dict[str, Tensor] = {"classifier.0.bias": torch.zeros(3)}
    for name, _, _, index in CONVOLUTIONS:
        for part in ("weight", "bias"):
            state[f"features.{index}.{part}"] = weights[f"{name}.{part}"]
    torch.save(state, paths["pth"])
    return paths


@pytest.fixture(scope="module")
def vgg(files: dict[str, Path]) -> VGG16Features:
    return load_vgg16(files["npz"])


@pytest.fixture(scope="module")
def distance(files: dict[str, Path]) -> PerceptualDistance:
    return load_perceptual_distance(files["npz"])


def images(batch: int = 2, height: int = 24, width: int = 16, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(batch, 3, height, width, generator=generator) - 1


def reference(weights: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """The trunk in plain functions, with the normalisation in its textbook form."""
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    x = ((x + 1) / 2 - mean) / std

    def block(x: Tensor, number: int, depth: int) -> Tensor:
        for layer in range(1, depth + 1):
            name = f"conv{number}_{layer}"
            x = F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1).relu()
        return x

    one = block(x, 1, 2)
    two = block(F.max_pool2d(one, 2, 2), 2, 2)
    three = block(F.max_pool2d(two, 2, 2), 3, 3)
    four = block(F.max_pool2d(three, 2, 2), 4, 3)
    return {"relu1_2": one, "relu2_2": two, "relu3_3": three, "relu4_3": four}


def test_features_equal_a_plain_computation(vgg: VGG16Features, weights: dict[str, Tensor]) -> None:
    found, expected = vgg(images()), reference(weights, images())
    assert tuple(found) == LAYERS
    assert [tuple(f.shape) for f in found.values()] == [
        (2, 64, 24, 16),
        (2, 128, 12, 8),
        (2, 256, 6, 4),
        (2, 512, 3, 2),
    ]
    for layer in LAYERS:
        torch.testing.assert_close(found[layer], expected[layer], rtol=1e-4, atol=1e-4)


def test_every_file_form_gives_the_same_weights(
    files: dict[str, Path], vgg: VGG16Features, weights: dict[str, Tensor]
) -> None:
    for kind in ("safetensors", "pth"):
        state = load_vgg16(str(files[kind])).state_dict()
        assert list(state) == list(vgg.state_dict())
        for key, value in vgg.state_dict().items():
            assert torch.equal(state[key], value), f"{kind}: {key}"
            assert torch.equal(value, weights[key])


def test_loading_leaves_the_generator_alone(weights: dict[str, Tensor]) -> None:
    before = torch.get_rng_state()
    VGG16Features(weights)
    assert torch.equal(before, torch.get_rng_state())


def test_upto_stops_early(vgg: VGG16Features) -> None:
    calls: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
        for name, module in vgg.named_children()
    ]
    try:
        found = vgg(images(), upto="relu2_2")
    finally:
        for handle in handles:
            handle.remove()
    assert tuple(found) == ("relu1_2", "relu2_2")
    assert calls == ["conv1_1", "conv1_2", "conv2_1", "conv2_2"]


def test_weights_stay_frozen_and_the_images_get_the_gradient(
    distance: PerceptualDistance,
) -> None:
    holder = nn.Sequential(distance).train()
    assert not distance.features.training
    assert not any(p.requires_grad for p in holder.parameters())
    before = {key: value.clone() for key, value in holder.state_dict().items()}
    x = images().requires_grad_()
    loss = distance(x, images(seed=2)).sum() + gram(distance.features(x)["relu4_3"]).sum()
    loss.backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())
    assert bool((x.grad.flatten(1).abs().sum(1) > 0).all())
    assert all(p.grad is None for p in holder.parameters())
    for key, value in holder.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_autocast_and_channels_last(vgg: VGG16Features) -> None:
    exact = vgg(images())
    with torch.autocast("cpu", torch.bfloat16):
        half = vgg(images())
        matrix = gram(half["relu2_2"])
    assert half["relu2_2"].dtype == torch.bfloat16
    assert matrix.dtype == torch.float32
    torch.testing.assert_close(matrix, gram(exact["relu2_2"]), rtol=0.05, atol=0.01)
    try:
        vgg.to(memory_format=torch.channels_last)
        last = vgg(images().to(memory_format=torch.channels_last))["relu3_3"]
    finally:
        vgg.to(memory_format=torch.contiguous_format)
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, exact["relu3_3"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gram(last), gram(exact["relu3_3"]), rtol=1e-4, atol=1e-5)


def test_gram_by_hand() -> None:
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 2, 1, 2)
    # F F^T = [[5, 11], [11, 25]], divided by 2 channels * 1 * 2 places.
    assert torch.equal(gram(features), torch.tensor([[[1.25, 2.75], [2.75, 6.25]]]))


def test_gram_is_symmetric_and_positive(vgg: VGG16Features) -> None:
    matrix = gram(vgg(images())["relu1_2"])
    assert matrix.shape == (2, 64, 64)
    torch.testing.assert_close(matrix, matrix.mT)
    assert float(torch.linalg.eigvalsh(matrix).min()) > -1e-5


def test_gram_does_not_overflow_in_half_precision() -> None:
    features = torch.full((1, 2, 4, 4), 300.0, dtype=torch.float16)  # 300**2 > 65504
    assert torch.equal(gram(features), torch.full((1, 2, 2), 45000.0))


def test_distance_by_hand(weights: dict[str, Tensor], distance: PerceptualDistance) -> None:
    first, second = reference(weights, images()), reference(weights, images(seed=2))
    expected = torch.zeros(2)
    for i, layer in enumerate(LAYERS):
        a, b = F.normalize(first[layer]), F.normalize(second[layer])
        expected += torch.einsum("bchw,c->bhw", (a - b) ** 2, weights[f"lpips_lin{i}"]).mean((1, 2))
    torch.testing.assert_close(distance(images(), images(seed=2)), expected, rtol=1e-4, atol=1e-5)


def test_distance_is_zero_symmetric_positive(distance: PerceptualDistance) -> None:
    a, b = images(), images(seed=2)
    assert torch.equal(distance(a, a.clone()), torch.zeros(2))
    assert torch.equal(distance(a, b), distance(b, a))
    assert bool((distance(a, b) > 0).all())
    assert float(distance(a[:1], b[:1])[0]) == pytest.approx(float(distance(a, b)[0]), rel=1e-4)


def test_distance_survives_places_without_any_feature(weights: dict[str, Tensor]) -> None:
    dead = weights | {"conv1_2.bias": torch.full((64,), -1e3)}
    heads = [weights[f"lpips_lin{i}"] for i in range(4)]
    x = images().requires_grad_()
    found = PerceptualDistance(VGG16Features(dead), heads)(x, images(seed=2))
    found.sum().backward()
    assert torch.equal(found, torch.zeros(2))
    assert x.grad is not None
    assert not bool(x.grad.any())


@pytest.mark.parametrize(
    ("given", "upto", "message"),
    [
        (torch.zeros(1, 3, 15, 64), "relu4_3", "at least 16x16 pixels; given 15x64"),
        (torch.zeros(1, 1, 32, 32), "relu4_3", r"given float32 \(1, 1, 32, 32\)"),
        (torch.zeros(3, 32, 32), "relu4_3", r"given float32 \(3, 32, 32\)"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "relu4_3", "given uint8"),
        (torch.zeros(1, 3, 32, 32), "relu4_4", "did you mean 'relu4_3'"),
    ],
)
def test_wrong_images_and_layers(
    vgg: VGG16Features, given: Tensor, upto: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        vgg(given, upto)


def test_distance_wants_equal_shapes(distance: PerceptualDistance) -> None:
    with pytest.raises(UserError, match="one shape"):
        distance(images(batch=1), images(batch=2))


def refused(path: Path | None, *said: str) -> None:
    """Checks that loading fails in one line that holds the given words."""
    with pytest.raises(UserError) as caught:
        load_vgg16(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in (*said, *([str(path)] if path else [])):
        assert word in message


def test_missing_file_and_unknown_kind(tmp_path: Path) -> None:
    refused(tmp_path / "none.npz", "there is no file", "perceptual=PATH")
    refused(tmp_path / "weights.bin", ".npz, .safetensors, .pth, .pt")
    folder = tmp_path / "folder.pth"
    folder.mkdir()
    refused(folder, "there is no file")


@pytest.mark.parametrize("kind", ["npz", "safetensors", "pth"])
@pytest.mark.parametrize("left", [0, 1, 100, 100_000])
def test_truncated_file(files: dict[str, Path], tmp_path: Path, kind: str, left: int) -> None:
    path = tmp_path / f"cut.{kind}"
    with files[kind].open("rb") as source:
        path.write_bytes(source.read(left))
    refused(path, "perceptual=PATH")


def test_damaged_npz(files: dict[str, Path], tmp_path: Path) -> None:
    content = bytearray(files["npz"].read_bytes())
    content[1_000_000] ^= 255
    path = tmp_path / "flipped.npz"
    path.write_bytes(content)
    refused(path, "BadZipFile")


def test_foreign_files(weights: dict[str, Tensor], tmp_path: Path) -> None:
    np.savez(tmp_path / "digits.npz", images=np.zeros((2, 28, 28), np.uint8))
    refused(tmp_path / "digits.npz", "lacks the VGG-16 weight conv1_1.weight")
    with (tmp_path / "array.npz").open("wb") as stream:  # one array instead of an archive
        np.save(stream, np.zeros(3))
    refused(tmp_path / "array.npz")
    torch.save([1, 2], tmp_path / "list.pt")
    refused(tmp_path / "list.pt")
    torch.save({"features.0.weight": "text"}, tmp_path / "text.pth")
    refused(tmp_path / "text.pth", "conv1_1.weight")
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    refused(tmp_path / "page.pth")
    save_file({"conv1_1.weight": torch.zeros(64, 1, 3, 3)}, tmp_path / "grey.safetensors")
    refused(tmp_path / "grey.safetensors", "(64, 1, 3, 3)", "(64, 3, 3, 3)")
    nan = torch.full_like(weights["conv1_1.weight"], torch.nan)
    for value in (nan, nan.nan_to_num().int()):
        torch.save({"features.0.weight": value}, tmp_path / "values.pth")
        refused(tmp_path / "values.pth", "not finite floats")


def test_a_file_without_heads_gives_no_distance(files: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="lacks the LPIPS head lpips_lin0"):
        load_perceptual_distance(files["pth"])


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    torch.save({"features.0.weight": Evil(mark)}, tmp_path / "evil.pth")
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil(mark), protocol=2))
    (tmp_path / "raw.npz").write_bytes(pickle.dumps(Evil(mark), protocol=2))
    boxed = np.array([Evil(mark)], dtype=object)
    np.savez(tmp_path / "evil.npz", allow_pickle=True, **{"conv1_1.weight": boxed})
    for name in ("evil.pth", "evil.pt", "raw.npz", "evil.npz"):
        refused(tmp_path / name)
    assert not mark.exists()
    with (tmp_path / "evil.pt").open("rb") as stream:  # the trap is a real one
        pickle.load(stream)
    assert mark.exists()


def test_without_a_source_torch_hub_is_asked(
    files: dict[str, Path],
    vgg: VGG16Features,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[dict] = []

    def offline(url: str, **options: object) -> dict[str, Tensor]:
        asked.append(options)
        raise URLError("Name or service\nnot known")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    url = "https://download.pytorch.org/models/vgg16-397923af.pth"
    refused(None, "needs VGG-16's weights", url, "perceptual=PATH", "URLError")
    assert asked[0]["check_hash"] is True
    assert asked[0]["weights_only"] is True

    state = torch.load(files["pth"], weights_only=True)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: state)
    assert torch.equal(load_vgg16().conv4_3.weight, vgg.conv4_3.weight)

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    cached = tmp_path / "checkpoints" / "vgg16-397923af.pth"
    cached.parent.mkdir()
    cached.symlink_to(files["pth"])
    assert torch.equal(load_vgg16().conv4_3.weight, vgg.conv4_3.weight)
    assert len(asked) == 1


def test_true_weights_tell_images_from_noise() -> None:
    folder = os.environ.get("RLGEN_DATA")
    if not folder:
        pytest.skip("set RLGEN_DATA to the folder of vgg16_relu4_3_fp16.npz to check true weights")
    path = Path(folder) / "vgg16_relu4_3_fp16.npz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    distance = load_perceptual_distance(path)
    # The first row of torchvision's first kernel, to float16.
    first = distance.features.get_parameter("conv1_1.weight")[0, 0, 0]
    torch.testing.assert_close(first, torch.tensor([-0.5537, 0.1427, 0.5290]), rtol=0, atol=5e-4)
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    disc = ((rows - 24).square() + (columns - 22).square() < 144).float()
    image = torch.stack([disc, rows / 48, 1 - disc / 2])[None] * 2 - 1
    moved = image.roll(1, dims=3)
    noisy = (image + 0.5 * images(1, 48, 48)).clamp(-1, 1)
    near, far = distance(image, moved), distance(image, noisy)
    assert 0 < float(near) < float(far)
    peaks = {name: float(value.max()) for name, value in distance.features(noisy).items()}
    assert all(0 < peak < 65504 for peak in peaks.values()), peaks  # fits float16
