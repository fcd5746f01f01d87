"""Text vectors of a sentence model, through transformers.

The model is a folder, or an id of the Hugging Face hub, of an encoder such as BERT, RoBERTa or
XLM-R (many languages). A text's vector is the mean of its token vectors, padding left out, unless
the model's own files say that it is the first one (sentence-transformers' modules.json). Where
these files normalise vectors, only directions count: they get the length of CLIP's, so that the
loss weighs text against geometry as with CLIP. Prompts are not used.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from datasets.prepare.text.batches import BATCH, of_one_length
from datasets.prepare.text.cache import CachedText
from datasets.prepare.text.hashed import HashText
from datasets.prepare.text.sentence_files import Dense, SentenceFiles, sentence_files
from utils.errors import PrepareError, one_line

_LARGEST = {"hidden_size": 1 << 15, "num_hidden_layers": 1 << 9, "vocab_size": 1 << 22}
_LONGEST = 8192  # tokens of a text


def load(cache: Path | str | None, model: str | None) -> CachedText:
    """Return the cached encoder of a model; see `SentenceText`."""
    if model is None:
        raise PrepareError("text=sentence: no model given; add text.model=FOLDER, or an id of the "
                           "Hugging Face hub such as sentence-transformers/all-MiniLM-L6-v2 or, "
                           "of many languages, "
                           "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2")
    encoder = SentenceText(model)
    return CachedText(encoder, encoder.identity, cache)


class SentenceText:
    """A sentence model; its files are checked at once, and loaded for the first text.

    Args:
        model: its folder, or its id on the Hugging Face hub.

    Attributes:
        width: length of a text vector.
        identity: of all files that its vectors depend on.
        notes: what the user should know.

    Raises:
        PrepareError: transformers is missing; there is no such model, or it has no safetensors,
            needs code of its own, or is no encoder of text.
    """

    name = "sentence"

    def __init__(self, model: str):
        self._transformers = _transformers()
        self.model, self.files = model, sentence_files(model)
        self.config = self._read_config()
        self.width = self.files.dense[-1].width if self.files.dense else self.config.hidden_size
        self.identity = f"sentence {self.files.digest}"
        self.notes: list[str] = []
        self._tower: _Tower | None = None

    def describe(self) -> dict[str, Any]:
        """Return what a dataset records of its text vectors."""
        return {"name": self.name, "model": self.model, "digest": self.files.digest,
                "pooling": self.files.pooling, "normalised": self.files.normalised,
                "width": self.width}

    def encode(self, values: Sequence[str]) -> np.ndarray:
        """Return text vectors [len(values), width] float32, each independent of the others.

        Raises:
            PrepareError: the files cannot be read, or do not belong together.
        """
        if not len(values):
            return np.empty((0, self.width), dtype=np.float32)
        if self._tower is None:
            self._tower = self._load()
        vectors = self._tower(list(values))
        if not vectors.isfinite().all():
            raise self._fault("the text vectors are not finite; get the model again")
        return vectors.numpy()

    def _read_config(self) -> Any:
        try:
            config = self._transformers.AutoConfig.from_pretrained(
                self.files.folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # of any kind, as the file says which class reads it
            raise self._fault("config.json is of no model that transformers "
                              f"{self._transformers.__version__} knows ({one_line(error)}); "
                              "choose another model") from error
        kind = config.model_type
        if not isinstance(getattr(config, "vocab_size", None), int):
            also = "; text=clip reads the text towers of CLIP" if "clip" in kind else ""
            raise self._fault(f"{kind} is no text encoder; choose one such as BERT, RoBERTa or "
                              f"XLM-R{also}")
        if config.is_encoder_decoder:
            raise self._fault(f"{kind} is an encoder with a decoder, expected an encoder alone; "
                              "choose one such as BERT, RoBERTa or XLM-R")
        for name, largest in _LARGEST.items():
            number = getattr(config, name, None)
            if not isinstance(number, int) or not 1 <= number <= largest:
                raise self._fault(f"{name} of config.json is {number!r:.60}, expected a whole "
                                  f"number from 1 to {largest:,}; get the model again")
        return config

    def _load(self) -> "_Tower":
        library, folder = self._transformers, self.files.folder
        safely = {"local_files_only": True, "trust_remote_code": False}
        with _quietly(library):
            try:
                tokenizer = library.AutoTokenizer.from_pretrained(folder, **safely)
                model, report = library.AutoModel.from_pretrained(
                    folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True,
                    **safely)
            except Exception as error:  # of any kind: tokenizers and weights have many readers
                raise self._fault(f"cannot be loaded ({one_line(error)}); get the model again, or "
                                  "choose another") from error
        missing = [name for name in report["missing_keys"] if "pooler" not in name]
        if missing:
            raise self._fault(f"its safetensors lack {missing[0][:200]}, and are not the weights "
                              "that config.json describes; get the model again")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return _Tower(tokenizer, model, self.files, self._tail()).to(device).eval()

    def _tail(self) -> nn.Sequential:
        """Return the layers after the pooling."""
        layers = nn.Sequential()
        width = self.config.hidden_size
        for dense in self.files.dense:
            if dense.width_in != width:
                raise self._fault(f"{dense.path.parent.name} takes {dense.width_in} numbers, and "
                                  f"gets {width}; get the model again")
            layers.extend([_linear(dense), getattr(nn, dense.activation)()])
            width = dense.width
        return layers

    def _fault(self, message: str) -> PrepareError:
        return PrepareError(f"text.model={self.model}: {message}")


class _Tower(nn.Module):
    """Tokenizer, transformer, pooling and the layers after it."""

    def __init__(self, tokenizer: Any, model: nn.Module, files: SentenceFiles,
                 tail: nn.Sequential):
        super().__init__()
        self.tokenizer, self.model, self.files, self.tail = tokenizer, model, files, tail
        self.longest = min(filter(None, (files.longest, tokenizer.model_max_length,
                                         _positions(model), _LONGEST)))
        self.requires_grad_(False)

    def forward(self, texts: list[str]) -> Tensor:
        """Return vectors [n, width] on the CPU."""
        texts = [text.lower() for text in texts] if self.files.lower else texts
        tokens = self.tokenizer(texts, truncation=True, max_length=self.longest,
                                padding=False)["input_ids"]
        lengths = torch.tensor([len(row) for row in tokens])
        vectors: list[Tensor | None] = [None] * len(texts)
        for rows, length in of_one_length(lengths, self.longest):
            for row, vector in zip(rows.tolist(), self._of_batch(
                    [tokens[row] for row in rows.tolist()], length), strict=False):
                vectors[row] = vector
        return torch.stack(vectors)

    @torch.no_grad()
    def _of_batch(self, tokens: list[list[int]], length: int) -> Tensor:
        """Return vectors [BATCH, width] of texts that are padded to [BATCH, length]."""
        ids = torch.full((BATCH, length), self.tokenizer.pad_token_id or 0)
        mask = torch.ones(BATCH, length, dtype=torch.int64)  # unused rows: no softmax over nothing
        for row, text in enumerate(tokens):
            ids[row, :len(text)] = torch.tensor(text, dtype=torch.int64)
            mask[row, len(text):] = 0
        ids, mask = ids.to(self.model.device), mask.to(self.model.device)
        states = self.model(input_ids=ids, attention_mask=mask)[0]      # [BATCH, length, D]
        if self.files.pooling == "cls":
            vectors = states[:, 0]
        else:
            weight = mask[..., None].float()
            vectors = (states * weight).sum(1) / weight.sum(1).clamp(min=1)
        vectors = self.tail(vectors)                                    # [BATCH, width]
        if self.files.normalised:
            vectors = HashText.length * nn.functional.normalize(vectors)
        return vectors.cpu()


def _positions(model: nn.Module) -> int | None:
    """Return how many tokens have a learned position; RoBERTa's begin behind that of padding."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            first = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - first
    return None


def _linear(dense: Dense) -> nn.Linear:
    layer = nn.Linear(dense.width_in, dense.width, dense.bias)
    try:
        state = {name.removeprefix("linear."): tensor.float()
                 for name, tensor in load_file(dense.path).items()}
        layer.load_state_dict(state)
    except (RuntimeError, OSError) as error:
        raise PrepareError(f"{dense.path}: not the weights of a layer from {dense.width_in} to "
                           f"{dense.width} numbers ({one_line(error)}); get the model "
                           "again") from error
    return layer


def _transformers() -> ModuleType:
    import utils.torchvision_import  # noqa: F401  (first: transformers may import torchvision)

    try:
        import transformers
    except ImportError as error:
        raise PrepareError(f"text=sentence: transformers cannot be imported ({one_line(error)}); "
                           "pip install -r requirements-optional.txt, or use "
                           "text=hash") from error
    return transformers


@contextmanager
def _quietly(library: ModuleType) -> Iterator[None]:
    """Let transformers neither log nor draw progress: what matters is raised."""
    logging = library.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
