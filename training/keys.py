"""The keys of train_rose.py, and those of every script that runs a network."""

from dataclasses import dataclass
from typing import Any

from utils.cli.program import Choice, Program
from utils.config import section
from utils.recipes import recipe_key

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
HIGHEST_RATE = 1e30  # of learning and of weight decay; float32 holds no step of more
ACCELERATORS = ("auto", "cpu", "cuda", "gpu", "mps")
SAMPLE = Choice("experiment", None, "sample: the generated city")
EXPERIMENT = Choice("experiment", None, "own_city: values that suit your tiles and machine; "
                                        "sample: the generated city")
BY_TILES = "null: by tiles and machine (training/own_city.py)"
BY_WIDTH = "null: by the encoder's width (training/own_city.py)"
RECIPE = Choice("recipe", "rose", "rose: the method as described; release: the authors' code with "
                                  "its accidents; plus: objects placed on the patches "
                                  "that they cover (docs/recipes.md)")

in_data, in_schedule, in_network, in_outputs, in_machine = map(
    section, ("data", "schedule", "network", "outputs", "machine"))


def side_key() -> Any:
    """State `image_size` of a dataset."""
    return in_data(224, "side of the tiles in pixels", least=1, most=16_384)


def accelerator_key(result: bool = False) -> Any:
    """State `accelerator`."""
    return in_machine("auto", "auto: a GPU where there is one", choices=ACCELERATORS,
                      result=result)


def precision_key(more: str = "", **rules: Any) -> Any:
    """State `precision`; `more` ends its meaning."""
    return in_machine("32-true", "bf16-mixed is fast on GPUs, and on CPUs with bf16 instructions"
                      + more, choices=PRECISIONS, **rules)


def positions_key(default: str, **rules: Any) -> Any:
    """State `image_positions`; `default` says what null means."""
    return in_network(None, "rose: the paper's fixed ones; own: the positions, CLS, registers and "
                            f"norm that the ViT was trained with (docs/encoders.md). {default}",
                      choices=("rose", "own"), **rules)


def image_weights_key(more: str = "", **rules: Any) -> Any:
    """State `image_weights`; `more` begins its meaning."""
    return in_network(None, f"{more}a file of trained weights of the ViT, in timm's names or the "
                            "DINO repositories', instead of timm's download (docs/encoders.md)",
                      result=False, **rules)


def freeze_key(in_section: Any) -> Any:
    """State `freeze`."""
    return in_section("none", "image: the image encoder keeps its weights; image_epochs:N: for the "
                              "first N epochs; none: all is trained")


def layer_decay_key(in_section: Any) -> Any:
    """State `layer_decay`."""
    return in_section(1.0, "rate of a block of the image encoder as a share of the next block's; "
                           "1: all the same", above=0, most=1)


def workers_key(more: str = "") -> Any:
    """State `num_workers`; `more` ends its meaning."""
    return in_machine(2, "processes that load tiles; results do not depend on it" + more, least=0,
                      most=1024, result=False)


def sample_key() -> Any:
    """State `sample_tiles`."""
    return in_data(None, "generate the sample city with this many tiles a side if the dataset does "
                         "not exist", least=1, most=200, result=False)


@dataclass
class MachineKeys:
    """Keys of every script that trains a network."""

    image_size: int = side_key()
    sample_tiles: int | None = sample_key()
    accelerator: str = accelerator_key()
    devices: str = in_machine("auto", "auto, or how many", result=False)
    num_nodes: int = in_machine(1, "hosts; torchrun sets it itself: docs/many_machines.md",
                                least=1, most=10_000, result=False)
    strategy: str = in_machine("auto", "ddp on several devices: each has the whole network",
                               choices=("auto", "ddp"))
    precision: str = precision_key()
    compile: bool = in_machine(False, "torch.compile: slower to start, faster from then on; "
                                      "needs a C++ compiler", result=False)
    num_workers: int = workers_key()


@dataclass
class TrainConfig(MachineKeys):
    """Keys of train_rose.py."""

    data_path: str = in_data(
        meaning="folder of a tile dataset, in either layout",
        why="the folder of a tile dataset; prepare_dataset.py makes one, and experiment=sample "
            "needs none", result=False)
    cities: list[str] | None = in_data(None, "only tiles of these cities, e.g. "
                                             "[singapore,chicago]; null: all", items=(1, 10_000))
    batch_size: int | None = in_data(64, f"tiles per device and batch; {BY_TILES}", least=1,
                                     most=1_000_000, result=False)
    accumulate: int = in_data(1, "batches per step: as a larger batch_size, without its memory",
                              least=1, most=1_000_000, result=False)
    total_epoch: int | None = in_schedule(120, f"epochs; {BY_TILES}", least=1, most=1_000_000,
                                          result=False)
    max_steps: int | None = in_schedule(None, "stop after this many steps in all; null: run all "
                                              "epochs",
                                        least=1, result=False)
    schedule: list[int] = in_schedule([90, 110], "lr x0.1 from these epochs on (lr_decay), "
                                                 "counted from 1", least=1)
    cos: bool = in_schedule(False, "a half cosine over total_epoch instead")
    lr_decay: str = recipe_key("lr_decay", section="schedule")
    lr: float | None = in_schedule(None, "null: blr * batch_size * accumulate * devices / 256",
                                   above=0, most=HIGHEST_RATE)
    blr: float | None = in_schedule(1.5e-4, f"base learning rate; both {BY_WIDTH}",
                                    above=0, most=HIGHEST_RATE)
    weight_decay: float = in_schedule(0.05, "of AdamW; none on biases, norms, and an encoder's own "
                                      "tokens and positions", least=0, most=HIGHEST_RATE)
    freeze: str = freeze_key(in_schedule)
    layer_decay: float = layer_decay_key(in_schedule)
    image_encoder: str | None = in_network("vit_base_patch16_224",
                                           "any VisionTransformer or Eva of timm "
                                           f"(docs/encoders.md); {BY_TILES}")
    image_positions: str | None = positions_key(
        "null: own with pretrained=true or image_weights=, else rose; a run that is continued "
        "keeps its own",
        result=False)
    pretrained: bool = in_network(False, "start the ViT from timm's weights", result=False)
    image_weights: str | None = image_weights_key()
    graph_in_dim: int | None = in_network(
        None, "node width without the label code; null: as the tiles have it, 524 with text "
              "vectors of 512", least=16, most=65_536)
    graph_out_dim: int = in_network(128, "width of a node's embedding", least=1, most=65_536)
    img_mask_ratio: float = in_network(0.75, "share of patches masked", above=0, below=1)
    osm_mask_ratio: float = in_network(0.15, "share of OSM objects masked", above=0, below=1)
    recipe: str = in_network("rose", "set by the choice recipe=")
    experiment: str | None = in_network(None, "set by the choice experiment=", result=False)
    osm_norm_scope: str = recipe_key("osm_norm_scope", section="network")
    node_mask_scope: str = recipe_key("node_mask_scope", section="network")
    augment: str = recipe_key("augment", section="network")
    relation_edges: bool = recipe_key("relation_edges", section="network")
    neighbours: int = recipe_key("neighbours", section="network")
    osm_layers: int = recipe_key("osm_layers", section="network")
    placement: str = recipe_key("placement", section="network")
    feed_forward: str = recipe_key("feed_forward", section="network")
    image_skip: bool = recipe_key("image_skip", section="network")
    image_target: str = recipe_key("image_target", section="network")
    osm_loss: str = recipe_key("osm_loss", section="network")
    contrast: float = recipe_key("contrast", section="network")
    drop_objects: float = recipe_key("drop_objects", section="network")
    drop_graphs: float = recipe_key("drop_graphs", section="network")
    save_root_dir: str = in_outputs("runs", "all outputs go to save_root_dir/save_dir",
                                    result=False)
    save_dir: str = in_outputs("rose", "folder of this run", result=False)
    resume: str = in_outputs("auto", "auto: continue what is in the folder; never: refuse it; or "
                                     "the path of a checkpoint", result=False)
    log_every: int = in_outputs(50, "steps per line of loss_record.txt", least=1, result=False)
    save_every: int | None = in_outputs(5, "epochs per checkpoint; null: a tenth of all", least=1,
                                        result=False)
    picture_every: int | None = in_outputs(5, "epochs per reconstruction picture in TensorBoard; "
                                              "null: a tenth of all", least=1, result=False)
    precision: str | None = precision_key(f"; {BY_TILES}")
    num_workers: int | None = workers_key(f"; {BY_TILES}")
    seed: int = in_machine(0, "on a CPU the same seed gives the same weights", least=0,
                           below=2**32)
    strategy: str = in_machine(
        "auto", "ddp on several devices: each has the whole network; fsdp: each a share of "
                "weights, gradients and optimiser", choices=("auto", "ddp", "fsdp"), result=False)
    checkpoint_activations: bool = in_machine(
        False, "keep less for the backward pass and compute it again: less memory, slower",
        result=False)


TRAIN = Program(
    "train_rose", TrainConfig, "Pretraining.", "python train_rose.py data_path=D batch_size=32",
    choices=(RECIPE, EXPERIMENT), folder=("save_root_dir", "save_dir"))
