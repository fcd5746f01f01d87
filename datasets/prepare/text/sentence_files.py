"""The files of a sentence model: found or downloaded, and checked before any of them is used.

A folder holds config.json, safetensors and a tokenizer, as transformers writes it; or modules.json
as well, as sentence-transformers does, which says how token vectors become one vector. Nothing
that could run is used: no pickled weights, no code of the folder's own.
"""

import re
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import constants, snapshot_download
from safetensors import SafetensorError, safe_open

from datasets.prepare.text.hub import checked_sha256, hub_offline, unreachable
from utils.contents import (
    Anything,
    Either,
    Fields,
    Flag,
    InnerPath,
    Items,
    Null,
    Table,
    Text,
    Whole,
)
from utils.contents import read_json as read_checked
from utils.errors import PrepareError, one_line
from utils.files import digest_of

_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model",
               "spiece.model", "tokenizer.model", "unigram.json")
_BESIDE = ("config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
           "merges.txt", "sentence_bert_config.json", *_TOKENIZERS)
_OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.onnx", "*.gguf")
_ASKED = ("*.json", "*.txt", "*.model", "*.safetensors")  # of a repository of the hub
_NOT_ASKED = ("onnx/*", "openvino/*", "coreml/*", "*/onnx/*", "eval/*", "evals/*")
_ACTIVATIONS = ("Identity", "Tanh")
_CONFIG = Fields({}, {"auto_map": Anything()})
_LENGTH = Either((Whole(1, 1 << 20), Null()))
_SENTENCE = Fields({}, {"max_seq_length": _LENGTH, "do_lower_case": Either((Flag(), Null()))})
_MODULES = Items(Fields({"type": Text(), "path": Either((Text(("",)), InnerPath()))}))
_POOLING = Fields({}, {"pooling_mode": Text()})
_DENSE = Fields({"in_features": Whole(1, 1 << 16), "out_features": Whole(1, 1 << 16),
                 "activation_function": Text()}, {"bias": Flag()})
_SHARDS = Fields({"weight_map": Table(InnerPath())})


@dataclass(frozen=True)
class Dense:
    """A linear layer and its activation after the pooling."""

    path: Path  # of its weights
    width_in: int
    width: int
    bias: bool
    activation: str  # one of _ACTIVATIONS


@dataclass(frozen=True)
class SentenceFiles:
    """A sentence model on disk.

    Attributes:
        folder: of the transformer and its tokenizer.
        digest: of every file that the vectors depend on.
        pooling: "mean" of the token vectors, or "cls": the first of them.
        dense: layers after the pooling.
        normalised: whether only the direction of a vector counts.
        longest: tokens of a text; None: as the tokenizer says.
        lower: whether texts are lower-cased.
    """

    folder: Path
    digest: str
    pooling: str = "mean"
    dense: tuple[Dense, ...] = ()
    normalised: bool = False
    longest: int | None = None
    lower: bool = False


def sentence_files(model: str) -> SentenceFiles:
    """Return the files of a model, by the path of its folder or its id on the Hugging Face hub;
    raise PrepareError if it is none that can be used."""
    return _Reading(model, _folder_of(model)).files()


def _folder_of(model: str) -> Path:
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise PrepareError(f"text.model={model}: a file; give the folder that it lies in, with "
                           "config.json and the tokenizer beside it")
    if not _ID.fullmatch(model):
        raise PrepareError(f"text.model={model}: no such folder, and no id of the Hugging Face hub "
                           "such as sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2")
    silence = unreachable(constants.ENDPOINT)
    try:
        with hub_offline() if silence else nullcontext():
            return Path(snapshot_download(model, allow_patterns=_ASKED,
                                          ignore_patterns=_NOT_ASKED))
    except (OSError, RuntimeError, ValueError) as error:
        raise PrepareError(f"text.model={model}: no folder here, and it cannot be downloaded "
                           f"({silence or one_line(error)}); get it where there is a network "
                           f"(`hf download {model}`) and pass text.model=FOLDER, or use "
                           "text=hash") from error


@dataclass
class _Reading:
    """The reading of one model's folder."""

    model: str
    root: Path
    used: list[Path] = field(default_factory=list)  # files that the vectors depend on

    def files(self) -> SentenceFiles:
        modules = self._modules()
        folder, kinds = self.root, []
        values: dict[str, Any] = {}
        for kind, path in modules:
            kinds.append(kind)
            if kind == "Transformer":
                folder = path
            elif kind == "Pooling":
                values["pooling"] = self._pooling(path)
            elif kind == "Dense":
                values["dense"] = (*values.get("dense", ()), self._dense(path))
            elif kind == "Normalize":
                values["normalised"] = True
        order = "".join(kind[0] for kind in kinds)
        if modules and not re.fullmatch("TPD*N?", order):
            raise self._fault(f"modules.json lists {', '.join(kinds)}", "expected Transformer, "
                              "Pooling, and then Dense and Normalize or neither", _OTHER)
        self._check_transformer(folder)
        about = self._json(folder / "sentence_bert_config.json", _SENTENCE) or {}
        digest = digest_of(sorted((path.relative_to(self.root).as_posix(),
                                   checked_sha256(path, "text.model")) for path in self.used))
        return SentenceFiles(folder, digest, longest=about.get("max_seq_length"),
                             lower=bool(about.get("do_lower_case")), **values)

    def _modules(self) -> list[tuple[str, Path]]:
        """Return kind and folder of the modules that modules.json lists; none without it."""
        listed = self._json(self.root / "modules.json", _MODULES) or []
        modules = []
        for module in listed:
            package, _, kind = module["type"].rpartition(".")
            if package.split(".")[0] != "sentence_transformers":
                raise self._fault(f"modules.json names {module['type'][:80]}, code of the "
                                  "model's own", "which is refused for safety", _OTHER)
            if kind not in ("Transformer", "Pooling", "Dense", "Normalize"):
                raise self._fault(f"modules.json has a module {kind[:80]}",
                                  "expected Transformer, Pooling, Dense and Normalize", _OTHER)
            modules.append((kind, self.root / module["path"]))
        return modules

    def _pooling(self, folder: Path) -> str:
        config = self._json(folder / "config.json", _POOLING) or {}
        modes = [name.removeprefix("pooling_mode_") for name, value in config.items()
                 if name.startswith("pooling_mode_") and value is True]
        modes = [config["pooling_mode"]] if "pooling_mode" in config else modes
        mode = "cls" if modes == ["cls_token"] else "mean" if modes == ["mean_tokens"] else "".join(
            modes if len(modes) == 1 else [])
        if mode not in ("mean", "cls"):
            raise self._fault(f"its pooling is {', '.join(modes)[:80] or 'not stated'}",
                              "expected mean or cls", _OTHER)
        return mode

    def _dense(self, folder: Path) -> Dense:
        config = self._json(folder / "config.json", _DENSE)
        if config is None:
            raise self._fault(f"{folder.name}/config.json is missing",
                              "which modules.json names", _GET_AGAIN)
        activation = config["activation_function"].rpartition(".")[2]
        if activation not in _ACTIVATIONS:
            raise self._fault(f"the activation of {folder.name} is {activation[:80]}",
                              f"expected {' or '.join(_ACTIVATIONS)}", _OTHER)
        weights = folder / _WEIGHTS
        self._check_weights(weights)
        return Dense(weights, config["in_features"], config["out_features"],
                     config.get("bias", True), activation)

    def _check_transformer(self, folder: Path) -> None:
        if not (folder / "config.json").is_file():
            raise self._fault("has no config.json", "expected the folder of a model as "
                              "transformers or sentence-transformers write it", _OTHER)
        if (folder / "adapter_config.json").exists():
            raise self._fault("holds an adapter of another model", "expected a whole model",
                              "merge it into its model first (peft's merge_and_unload)")
        for name in ("config.json", "tokenizer_config.json"):
            if (self._json(folder / name, _CONFIG) or {}).get("auto_map"):
                raise self._fault(f"{name} names code of the model's own (auto_map)",
                                  "which is refused for safety", _OTHER)
        if not any((folder / name).is_file() for name in _TOKENIZERS):
            raise self._fault("has no tokenizer", "expected tokenizer.json or a vocabulary",
                              _GET_AGAIN)
        shards = self._json(folder / _INDEX, _SHARDS)
        for name in [_WEIGHTS] if shards is None else sorted({*shards["weight_map"].values()}):
            self._check_weights(folder / name)
        self.used += [folder / name for name in _BESIDE if (folder / name).is_file()]

    def _check_weights(self, path: Path) -> None:
        """Raise PrepareError unless a file is safetensors, as far as its size and its header
        say."""
        where = path.relative_to(self.root)
        if not path.is_file():
            others = sorted(other.name for pattern in _OTHER_WEIGHTS
                            for other in path.parent.glob(pattern))
            holds = f", only {others[0]}, which may run code when it is read" if others else ""
            raise self._fault(f"has no {where}{holds}", "only safetensors are read",
                              "choose a model that has them, or write them with "
                              "save_pretrained(FOLDER) of transformers")
        try:
            with safe_open(path, framework="pt") as file:
                file.keys()
        except (SafetensorError, OSError) as error:
            raise self._fault(f"{where} cannot be read as safetensors ({one_line(error)})",
                              "the file is truncated or damaged", _GET_AGAIN) from error
        self.used.append(path)

    def _json(self, path: Path, rule: Any) -> Any:
        """Return what a JSON file of the folder holds; None if there is no such file."""
        if not path.is_file():
            return None
        content = read_checked(path, rule, _GET_AGAIN, PrepareError)
        if path not in self.used and path.name not in _BESIDE:
            self.used.append(path)
        return content

    def _fault(self, fact: str, expected: str, remedy: str) -> PrepareError:
        return PrepareError(f"text.model={self.model}: {fact}; {expected}; {remedy}")


_GET_AGAIN = "get the model again"
_OTHER = ("choose another model, such as sentence-transformers/all-MiniLM-L6-v2 or, of many "
          "languages, sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2")
