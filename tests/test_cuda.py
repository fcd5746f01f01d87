"""Rose on a CUDA GPU: it computes what the CPU computes, in every precision, and a run can be
stopped and continued there."""

import copy
import csv
from pathlib import Path

import pytest
import torch

import train_rose
from datasets import TileDataset
from datasets.labelled import LabelledTiles, collate_labelled, read_list
from evaluation import job
from evaluation.keys import SEGMENTATION
from evaluation.problem import Segmentation
from models import build_rose, build_segmenter
from models.compiled import compile_network
from tests.models.conftest import SMALL, random_graphs, random_images, randomise
from tests.random_tiles import random_city, write_compact
from training.devices import launch_single
from training.keys import TRAIN
from training.loader import DeviceLoader, device_loader
from utils.cli.compose import read

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(),
                                reason="needs a CUDA GPU, and torch sees none here")
EPOCHS = 3


@pytest.fixture(scope="module")
def tiles(tmp_path_factory) -> Path:
    """Tiles of random content, every other one with targets, and lists of those."""
    root = write_compact(tmp_path_factory.mktemp("cuda") / "tiles", random_city())
    names = [tile.name for tile in random_city() if tile.totals]
    for name, chosen in (("osm-train-all.txt", names[:4]), ("val.txt", names[4:])):
        (root / name).write_text("".join(f"{line}.png\n" for line in chosen))
    return root


@pytest.fixture
def batch():
    counts = [6, 0, 14, 3]
    return random_images(len(counts), 64, 64), random_graphs(counts)


def masks(images: torch.Tensor, graphs) -> tuple[torch.Tensor, torch.Tensor]:
    """12 of the 16 patches of each image, and every fourth node."""
    order = torch.rand(len(images), 16, generator=torch.Generator().manual_seed(3)).argsort(1)
    return order < 12, torch.arange(len(graphs.x)) % 4 == 0


def step(rose, batch, device: str, half: torch.dtype | None = None):
    """Return losses and gradients, on the CPU, of a step on a device."""
    images, graphs = batch
    rose.zero_grad()
    image_mask, node_mask = masks(images, graphs)
    with torch.autocast(device, half, enabled=half is not None):
        out = rose(images.to(device), graphs.clone().to(device), image_mask.to(device),
                   node_mask.to(device))
    out.loss.backward()
    return ((out.image_loss.item(), out.osm_loss.item()),
            {name: parameter.grad.cpu() for name, parameter in rose.named_parameters()})


@pytest.fixture
def pair():
    """The same random network on the CPU and on the GPU."""
    torch.manual_seed(0)
    rose = randomise(build_rose(SMALL, relation_edges=True))
    return rose, copy.deepcopy(rose).cuda()


def assert_near(gradients: dict, expected: dict, tolerance: float) -> None:
    """Check each gradient against its norm, or a thousandth of the largest where that is more:
    those of attention weights nearly cancel."""
    least = max(value.norm() for value in expected.values()) / 1000
    for name, value in expected.items():
        error = (gradients[name] - value).norm() / value.norm().clamp(min=least)
        assert error < tolerance, f"{name}: {error:.2g}"


def test_a_step_equals_that_of_the_cpu(pair, batch):
    on_cpu, on_gpu = pair
    losses, gradients = step(on_gpu, batch, "cuda")
    expected, expected_gradients = step(on_cpu, batch, "cpu")
    assert losses == pytest.approx(expected, rel=1e-4)
    assert_near(gradients, expected_gradients, 1e-4)


@pytest.mark.parametrize(("half", "tolerance"), [(torch.bfloat16, 0.02), (torch.float16, 0.005)])
def test_half_precision_is_near_float32(pair, batch, half, tolerance):
    on_cpu, on_gpu = pair
    losses, gradients = step(on_gpu, batch, "cuda", half)
    expected, _ = step(on_cpu, batch, "cpu")
    assert losses == pytest.approx(expected, rel=tolerance)
    assert losses != expected
    assert all(value.isfinite().all() for value in gradients.values())


def test_a_compiled_step_equals_that_of_the_cpu(pair, batch):
    on_cpu, on_gpu = pair
    compile_network(on_gpu)
    losses, gradients = step(on_gpu, batch, "cuda")
    expected, expected_gradients = step(on_cpu, batch, "cpu")
    assert losses == pytest.approx(expected, rel=1e-4)
    assert_near(gradients, expected_gradients, 1e-4)


@pytest.mark.parametrize("modality", ["image", "fusion", "fine"])
def test_a_segmenter_equals_that_of_the_cpu(pair, batch, modality):
    torch.manual_seed(1)
    on_cpu = build_segmenter(pair[0], modality, "mask_transformer").eval()
    on_gpu = copy.deepcopy(on_cpu).cuda()
    images, graphs = batch
    with torch.inference_mode():
        logits = on_gpu(images.cuda(), graphs.clone().to("cuda")).cpu()
        torch.testing.assert_close(logits, on_cpu(images, graphs), rtol=1e-4, atol=1e-4)


def test_attention_of_nodes_equals_that_of_the_cpu(pair, batch):
    (on_cpu, on_gpu), (images, graphs) = pair, batch
    nodes = torch.tensor([0, 7, 21])
    with torch.inference_mode():
        attention = on_gpu.osm_attention(images.cuda(), graphs.clone().to("cuda"), nodes.cuda())
        torch.testing.assert_close(attention.cpu(), on_cpu.osm_attention(images, graphs, nodes),
                                   rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_copies_every_batch_whole(tiles, workers):
    """Copies run ahead on a stream of their own, from pinned memory."""
    dataset = TileDataset(tiles)
    known = [*read_list(dataset, "osm-train-all.txt"), *read_list(dataset, "val.txt")]
    labelled = LabelledTiles(dataset, known, "land_use")
    loader = device_loader(launch_single("cuda"), labelled, 2, collate_labelled, workers)
    assert loader.loader.pin_memory
    plain = DeviceLoader(loader.loader, torch.device("cpu"))
    for _ in range(3):
        batches = list(loader)  # all alive at once: none may share another's memory
        for (images, graphs, labels), expected in zip(batches, plain, strict=True):
            assert all(part.is_cuda for part in (images, graphs.x, labels))
            torch.testing.assert_close(images.cpu(), expected[0])
            assert torch.equal(graphs.x.cpu(), expected[1].x)
            assert torch.equal(graphs.edge_index.cpu(), expected[1].edge_index)
            assert torch.equal(labels.cpu(), expected[2])


def run(tiles: Path, folder: Path, *overrides: str) -> list[dict[str, str]]:
    """Pretrain on the GPU and return the rows of metrics.csv."""
    cfg = read(TRAIN, f"data_path={tiles}", f"save_root_dir={folder.parent}",
               f"save_dir={folder.name}", f"image_encoder={SMALL}", "batch_size=4", "lr=1e-3",
               f"total_epoch={EPOCHS}", "schedule=[]", "num_workers=2", "accelerator=cuda",
               "log_every=1", "save_every=1", "picture_every=99", *overrides)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("training.summary.save_figures", lambda *_: None)
        train_rose.train(cfg)
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def losses_of(rows: list[dict[str, str]]) -> list[float]:
    return [float(row[name]) for row in rows for name in ("image_loss", "osm_loss")]


@pytest.fixture(scope="module")
def whole(tiles, tmp_path_factory) -> list[float]:
    """The losses of a run in float32 that nothing disturbed."""
    return losses_of(run(tiles, tmp_path_factory.mktemp("runs") / "whole"))


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_a_run_in_half_precision_learns_as_in_float32(tiles, tmp_path, whole, precision):
    losses = losses_of(run(tiles, tmp_path / "half", f"precision={precision}"))
    assert losses == pytest.approx(whole, rel=0.03)
    assert losses != whole


def test_a_compiled_run_learns_the_same(tiles, tmp_path, whole):
    assert losses_of(run(tiles, tmp_path / "compiled", "compile=true")) == pytest.approx(whole,
                                                                                        rel=1e-3)


def test_recomputed_activations_learn_the_same(tiles, tmp_path, whole):
    losses = losses_of(run(tiles, tmp_path / "again", "checkpoint_activations=true"))
    assert losses == pytest.approx(whole, rel=1e-3)


@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_a_stopped_run_continues(tiles, tmp_path, precision):
    undisturbed = losses_of(run(tiles, tmp_path / "whole", f"precision={precision}"))
    run(tiles, tmp_path / "stopped", f"precision={precision}", "max_steps=4")
    rows = run(tiles, tmp_path / "stopped", f"precision={precision}")
    assert [row["global_step"] for row in rows] == [str(n + 1) for n in range(len(rows))]
    assert losses_of(rows) == pytest.approx(undisturbed, rel=1e-3)


def test_an_evaluation_runs_and_is_measured_again_alike(tiles, tmp_path):
    run(tiles, tmp_path / "rose")
    keys = [f"data_root={tiles}", f"checkpoint={tmp_path / 'rose'}", "accelerator=cuda",
            "epochs=2", "batch_size=2", "num_workers=0", "test_file=null"]
    cfg = read(SEGMENTATION, *keys, f"save_path={tmp_path / 'seg'}", "modality=fine")
    first = job.evaluate(cfg, Segmentation(cfg))
    best = tmp_path / "seg" / "seed_0" / "best.safetensors"
    cfg = read(SEGMENTATION, *keys[:1], f"checkpoint={best}", *keys[2:3], "accelerator=cpu",
               "epochs=0", "batch_size=2", "num_workers=0", "test_file=null", "modality=fine",
               f"save_path={tmp_path / 'on_cpu'}")
    on_cpu = job.evaluate(cfg, Segmentation(cfg))
    assert on_cpu["mean"]["miou"] == pytest.approx(first["mean"]["miou"], abs=1e-3)
