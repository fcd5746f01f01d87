"""docs/backbone.md, run as it is written; other libraries are stood in for by what their public
interfaces promise."""

import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

from torch import nn

from tests.models.conftest import random_graphs, random_images
from tests.pages import Page
from tests.pretrained import save_pretrained


class Task(nn.Module):
    """A task of torchgeo: it has its arguments in `hparams`, and `configure_models` gives its
    model."""

    def __init__(self, **hparams):
        super().__init__()
        self.hparams = hparams
        self.configure_models()

    def forward(self, images):
        return self.model(images)


def test_the_page_does_what_it_says(sample_tiles, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sample_tiles, "data/mycity")
    save_pretrained(Path("runs/mycity/model_1.tar"))
    registry = SimpleNamespace(register=lambda build: build)
    for name, contents in (("torchgeo", {}), ("terratorch", {}),
                           ("torchgeo.trainers", {"ClassificationTask": Task,
                                                  "SemanticSegmentationTask": Task}),
                           ("terratorch.registry", {"BACKBONE_REGISTRY": registry})):
        module = ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    images = random_images(2)
    names = Page("docs/backbone.md").run_python(images=images, graphs=random_graphs([3, 2]))
    assert (names["rows"], names["columns"]) == (4, 4)
    assert names["vectors"].shape == (2, 64)
    assert names["RoseClassification"](num_classes=3)(images).shape == (2, 3)
    assert names["RoseSegmentation"](num_classes=3)(images).shape == (2, 3, 64, 64)
    layers = names["rose"]()
    assert [each.shape[1] for each in layers(images)] == layers.out_channels == [64] * 4
    backbone, normalisation = names["build"]()
    assert not any(each.requires_grad for each in backbone.parameters())
    assert len(normalisation["mean"]) == 3
