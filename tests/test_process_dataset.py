"""Image folders to features, through the command line."""

import numpy as np
import pytest
import torch
from helpers.folders import process, write_images
from PIL import Image

from metad2a.data.extractors import Extractor
from metad2a.data.features import load_features
from metad2a.data.rgb import to_rgb


def test_a_folder_becomes_features(tmp_path):
    folder = write_images(tmp_path / "images")
    assert process(f"--dataset mine --image-folder {folder} --split all") == 0
    features = load_features("data/minebylabel.pt", "mine")
    assert (features.class_names, features.counts.tolist()) == (["cat", "dog"], [3, 3])
    assert features.extractor == "efficientnet_lite0-block15-96px"
    image = Image.open(folder / "dog" / "1.png").resize((32, 32), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
    expected = Extractor("efficientnet_lite0", "mine")(pixels)[0]
    similarity = torch.cosine_similarity(features.images[4].float(), expected, dim=0)
    assert similarity > 0.99  # torchvision and PIL round the resized pixels differently


def test_batch_size_does_not_matter(tmp_path):
    folder = write_images(tmp_path / "images")
    for name, size in (("a", 1), ("b", 4)):
        assert process(f"--dataset {name} --image-folder {folder} --batch-size {size}") == 0
    a, b = (load_features(f"data/{name}bylabel.pt", name).images.float() for name in "ab")
    torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2)


def test_class_order_and_limit(tmp_path):
    folder = write_images(tmp_path / "images")
    (tmp_path / "order.txt").write_text("dog 1 a_dog\ncat 2 a_cat\n")
    line = f"--dataset mine --image-folder {folder} --class-order {tmp_path}/order.txt --max-per-class 2"
    assert process(line) == 0
    features = load_features("data/minebylabel.pt", "mine")
    assert (features.class_names, features.counts.tolist()) == (["dog", "cat"], [2, 2])


def test_existing_features_are_kept(tmp_path, capsys):
    folder = write_images(tmp_path / "images")
    target = tmp_path / "data" / "minebylabel.pt"
    target.parent.mkdir()
    target.write_bytes(b"precious")
    assert process(f"--dataset mine --image-folder {folder}") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert target.read_bytes() == b"precious"
    assert process(f"--dataset mine --image-folder {folder} --overwrite") == 0
    assert load_features(target, "mine").num_classes == 2


@pytest.mark.parametrize("case", ["no folder", "no classes", "empty class", "missing class", "all corrupt"])
def test_bad_folders(tmp_path, capsys, case):
    folder, extra = tmp_path / "images", ""
    if case == "no classes":
        folder.mkdir()
    elif case != "no folder":
        write_images(folder)
    if case == "empty class":
        (folder / "emu").mkdir()
    if case == "missing class":
        (tmp_path / "order.txt").write_text("cat\nyak\n")
        extra = f"--class-order {tmp_path}/order.txt"
    if case == "all corrupt":
        for path in (folder / "dog").iterdir():
            path.write_bytes(b"not an image")
    assert process(f"--dataset mine --image-folder {folder} {extra}") == 2
    message = capsys.readouterr().err
    named = {"empty class": "emu", "missing class": "yak", "all corrupt": "dog"}
    assert named.get(case, "images") in message
    assert "Traceback" not in message
    assert not (tmp_path / "data" / "minebylabel.pt").exists()


def test_a_few_corrupt_images_are_named_and_left_out(tmp_path, capsys):
    folder = write_images(tmp_path / "images", n=25)
    (folder / "dog" / "7.png").write_bytes(b"not an image")
    assert process(f"--dataset mine --image-folder {folder} --split all") == 0
    assert "dog/7.png" in capsys.readouterr().err
    assert load_features("data/minebylabel.pt", "mine").counts.tolist() == [25, 24]


def test_every_mode_becomes_rgb():
    gray = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1))
    rgb = Image.fromarray(np.stack([gray] * 3, axis=-1))
    deep = Image.fromarray(gray.astype(np.uint16) * 256)
    clear = rgb.convert("RGBA")
    clear.putalpha(0)
    for image in (Image.fromarray(gray), rgb.quantize(256), rgb.convert("CMYK"), rgb.convert("RGBA"), deep):
        difference = np.abs(np.asarray(to_rgb(image)).astype(int) - np.asarray(rgb).astype(int))
        assert difference.mean() < 4, image.mode
    assert (np.asarray(to_rgb(clear)) == 255).all()


def test_resnet18_weights_are_read_from_torchs_cache(tmp_path, monkeypatch):
    from torchvision.models import ResNet18_Weights, resnet18

    torch.manual_seed(0)
    reference = resnet18()
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(reference.state_dict(), cache / ResNet18_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = write_images(tmp_path / "images")
    assert process(f"--dataset mine --image-folder {folder} --extractor resnet18") == 0
    features = load_features("data/minebylabel.pt", "mine")
    assert (features.dim, features.extractor) == (512, "resnet18-32px")


def test_resnet18_weights_that_cannot_be_fetched(tmp_path, monkeypatch, capsys):
    def no_network(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    folder = write_images(tmp_path / "images")
    assert process(f"--dataset mine --image-folder {folder} --extractor resnet18") == 2
    assert "--extractor efficientnet_lite0" in " ".join(capsys.readouterr().err.split())
