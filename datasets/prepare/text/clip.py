"""CLIP's text vectors of tag values, as the paper's, through open_clip.

Only the text tower is built, in float32, when a value must be encoded. CLIP models have one of two
activations, GELU or OpenAI's approximation "quickgelu". A file of weights does not say which, and
the wrong one gives plausible, wrong vectors. A tag decides by itself, and so do OpenAI's own files
(known by their SHA-256). For any other file the model's name decides, checked against the
open_clip_config.json beside the file if there is one.
"""

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from huggingface_hub import constants
from torch import Tensor, nn

from datasets.prepare.text.batches import BATCH, of_one_length
from datasets.prepare.text.cache import CachedText
from datasets.prepare.text.hub import check_stored, hub_offline, sha256_readable, unreachable
from datasets.prepare.text.registry import ENCODERS
from datasets.prepare.text.weights import TextWeightsFault, read_text_weights
from utils.contents import Fields, Flag, read_json
from utils.errors import PrepareError, one_line

_OPENAI = "openai"     # the tag of OpenAI's own weights
_QUICK = "-quickgelu"
_SIDECAR = Fields({"model_cfg": Fields({}, {"quick_gelu": Flag()})})
# the image tower, which is never used: as small as may be
_VISION = {"layers": 1, "width": 64, "image_size": 32, "patch_size": 32}


def load(cache: Path | str | None, model: str, weights: str) -> CachedText:
    """Return the cached encoder of a model; see `ClipText`."""
    encoder = ClipText(model, weights)
    return CachedText(encoder, encoder.identity, cache)


class ClipText:
    """The text tower of a CLIP model; nothing is loaded or downloaded before the first value.

    Args:
        model: a model of open_clip.
        weights: one of its tags, or the path of a file: safetensors, a state dict, or OpenAI's own
            archive.

    Attributes:
        model: name of the open_clip model, with "-quickgelu" where the weights need it.
        width: length of a text vector.
        identity: model and weights (tag, or SHA-256 of the file), which its vectors depend on.
        notes: what the user should know.

    Raises:
        PrepareError: open_clip is missing, or knows no such model or tag; no such file; the file
            needs the other activation.
    """

    name = "clip"

    def __init__(self, model: str, weights: str):
        self._clip = _open_clip()
        self._check_model(model)
        tag = weights.lower().replace("-", "_")
        self._path = None if self._is_tag(model, tag) else self._existing(model, weights)
        if self._path is None:
            self.weights, self.sha256, self.model = tag, None, self._model_of_tag(model, tag)
        else:
            self.weights, self.sha256 = self._path.name, sha256_readable(self._path)
            self.model = self._model_of_file(model)
        self.config = self._clip.get_model_config(self.model)
        self.width = int(self.config["embed_dim"])
        self.identity = f"{self.model} {self.sha256 or self.weights}"
        self.notes = self._notes()
        self._tower: nn.Module | None = None

    def describe(self) -> dict[str, Any]:
        """Return what a dataset records of its text vectors."""
        return {"name": self.name, "model": self.model, "weights": self.weights,
                "sha256": self.sha256, "width": self.width}

    def encode(self, values: Sequence[str]) -> np.ndarray:
        """Return text vectors [len(values), width] float32, not normalised, each independent of
        the others.

        Raises:
            PrepareError: the weights cannot be downloaded or read, or belong to another model.
        """
        if not len(values):
            return np.empty((0, self.width), dtype=np.float32)
        if self._tower is None:
            self._tower = self._load().to("cuda" if torch.cuda.is_available() else "cpu")
        tokens = self._tokenizer()(list(values))               # [n, context]
        vectors = torch.empty(len(values), self.width)
        for rows, batch in _batches(tokens, _is_causal(self._tower)):
            vectors[rows] = _forward(self._tower, batch)[:len(rows)].cpu()
        if not vectors.isfinite().all():
            raise PrepareError(f"text.weights={self._path or self.weights}: the text vectors are "
                               "not finite; get the file of weights again")
        return vectors.numpy()

    def _tokenizer(self) -> Callable[[list[str]], Tensor]:
        try:
            return self._clip.get_tokenizer(self.model)
        except Exception as error:  # it unpacks a list of words, which raises anything if damaged
            raise PrepareError(f"text.model={self.model}: the tokenizer of open_clip cannot be "
                               f"read ({one_line(error)}); install it again with `pip install "
                               "--force-reinstall --no-deps open_clip_torch`") from error

    def _check_model(self, model: str) -> None:
        known = [name for name in self._clip.list_models() if self._stands_alone(name)]
        if model not in known:
            close = (difflib.get_close_matches(model, known, n=3)
                     or [ENCODERS[self.name].defaults["model"]])
            reason = ("needs more files than its weights" if model in self._clip.list_models()
                      else "unknown model of open_clip")
            raise PrepareError(f"text.model={model}: {reason}; choose one such as "
                               f"{', '.join(close)}")

    def _stands_alone(self, model: str) -> bool:
        """Return whether text tower and tokenizer are open_clip's own and need only weights."""
        config = self._clip.get_model_config(model)
        hugging_face = [key for key in ("hf_model_name", "hf_tokenizer_name")
                        if config["text_cfg"].get(key)]
        return not ("multimodal_cfg" in config or hugging_face or "siglip" in model.lower())

    def _is_tag(self, model: str, tag: str) -> bool:
        return any(tag in self._clip.list_pretrained_tags_by_model(name)
                   for name in (model, model.removesuffix(_QUICK)))

    def _existing(self, model: str, weights: str) -> Path:
        path = Path(weights).expanduser()
        if path.is_file():
            return path
        if path.is_dir():
            raise PrepareError(f"text.weights={weights}: a folder; give the file of weights in "
                               "it, such as open_clip_model.safetensors")
        if path.suffix or len(path.parts) > 1:
            raise PrepareError(f"text.weights={weights}: no such file; give the path of a file of "
                               "weights, or a tag such as openai")
        tags = self._clip.list_pretrained_tags_by_model(model.removesuffix(_QUICK))
        raise PrepareError(f"text.weights={weights}: no tag of {model} and no file; its tags are: "
                           f"{', '.join(tags) or 'none'}")

    def _model_of_tag(self, model: str, tag: str) -> str:
        plain = model.removesuffix(_QUICK)
        quick = self._clip.get_pretrained_cfg(plain, tag).get("quick_gelu", False)
        return plain + _QUICK if quick else plain

    def _model_of_file(self, model: str) -> str:
        if self.sha256 in self._files_of_openai():
            return model.removesuffix(_QUICK) + _QUICK
        beside = self._path.with_name("open_clip_config.json")
        if beside.is_file():
            needed = read_json(beside, _SIDECAR, "mend or remove it, if it does not describe "
                               "the weights beside it", PrepareError
                               )["model_cfg"].get("quick_gelu", False)
            if needed != bool(self._clip.get_model_config(model).get("quick_gelu", False)):
                remedy = model.removesuffix(_QUICK) + (_QUICK if needed else "")
                raise PrepareError(f"text.model={model}: {beside} says that these weights were "
                                   f"trained with{'' if needed else 'out'} quickgelu; pass "
                                   f"text.model={remedy}")
        return model

    def _files_of_openai(self) -> set[str]:
        urls = [self._clip.get_pretrained_url(model, _OPENAI)
                for model in self._clip.list_pretrained_models_by_tag(_OPENAI)]
        return {url.split("/")[-2] for url in urls if url}

    def _notes(self) -> list[str]:
        notes = []
        certain = (self._path is None or self.sha256 in self._files_of_openai()
                   or self._path.with_name("open_clip_config.json").is_file())
        plain = self.model.removesuffix(_QUICK)
        if not certain and plain + _QUICK in self._clip.list_models():
            other, makers = ((plain, "LAION and DataComp") if self.model.endswith(_QUICK)
                             else (plain + _QUICK, "OpenAI"))
            notes.append(f"{self._path}: taken as weights of {self.model}; for weights of "
                         f"{makers} pass text.model={other}")
        return notes

    def _load(self) -> nn.Module:
        """Return the text tower with its weights, for inference; refuse those of another model."""
        path = self._path or self._download()
        check_stored(path)
        tower = self._clip.CustomTextCLIP(self.width, _VISION, self.config["text_cfg"],
                                          self.config.get("quick_gelu", False)).text
        try:
            state = read_text_weights(path, trusted=self.sha256 in self._files_of_openai())
        except TextWeightsFault as error:
            raise PrepareError(f"{path}: {error}") from error
        expected = tower.state_dict()
        for name in [*expected, *state]:
            shape, needed = (list(table[name].shape) if name in table else "absent"
                             for table in (state, expected))
            if shape != needed:
                raise PrepareError(f"{path}: not the weights of {self.model}: {name} is {shape}, "
                                   f"expected {needed}; give the file's own model with "
                                   "text.model=")
        tower.load_state_dict({name: tensor.float() for name, tensor in state.items()})
        return tower.eval().requires_grad_(False)

    def _download(self) -> Path:
        source = self._clip.get_pretrained_cfg(self.model, self.weights)
        repository = source.get("hf_hub", "").strip("/")
        where = (source.get("url")
                 or f"open_clip_model.safetensors of {repository} (`hf download {repository}`)")
        silence = unreachable(constants.ENDPOINT if repository else source["url"])
        try:
            with hub_offline() if silence else nullcontext():
                if silence and not repository:
                    downloaded = Path("~/.cache/clip").expanduser() / Path(source["url"]).name
                    if not downloaded.is_file():
                        # the download has no timeout of its own and would wait for minutes
                        raise ConnectionError(silence)
                return Path(self._clip.download_pretrained(source))
        except (OSError, RuntimeError, ValueError) as error:
            raise PrepareError(f"text.weights={self.weights}: the weights of {self.model} cannot "
                               f"be downloaded ({silence or one_line(error)}); get {where} where "
                               "there is a network, and pass text.weights=PATH of that file, or "
                               "use text=hash") from error


def _open_clip() -> ModuleType:
    import utils.torchvision_import  # noqa: F401  (first: open_clip imports torchvision)

    try:
        import open_clip
    except ImportError as error:
        raise PrepareError(f"text=clip: open_clip cannot be imported ({one_line(error)}); pip "
                           "install -r requirements-optional.txt, or use text=hash") from error
    return open_clip


def _is_causal(tower: nn.Module) -> bool:
    """Return whether padding can be left out: no token sees those after it, the last is read."""
    return tower.attn_mask is not None and tower.cls_emb is None and tower.pool_type == "argmax"


def _batches(tokens: Tensor, causal: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows [m] of values, and their tokens [16, length], m of them used, filled up with
    padding; `tokens` is [n, context] int64, and the last token of a text is the highest. Most tag
    values are a few tokens long: if `causal`, the padding to the model's 77 is left out, which
    takes a tenth of the time."""
    context = tokens.shape[1]
    lengths = tokens.argmax(1) + 1 if causal else torch.full((len(tokens),), context)
    for rows, length in of_one_length(lengths, context):
        batch = tokens.new_zeros(BATCH, length)
        batch[:len(rows)] = tokens[rows, :length]
        yield rows, batch


@torch.no_grad()
def _forward(tower: nn.Module, tokens: Tensor) -> Tensor:
    """Return the text vectors [b, width] of tokens [b, length]."""
    mask, length = tower.attn_mask, tokens.shape[1]
    if mask is not None and length < mask.shape[0]:
        tower.attn_mask = mask[:length, :length]
    try:
        vectors = tower(tokens.to(tower.token_embedding.weight.device))
    finally:
        tower.attn_mask = mask
    return vectors[0] if isinstance(vectors, tuple) else vectors
