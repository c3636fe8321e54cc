"""Score an example that is not in the data: prediction and vectors to find its evidence with.

Imports torch, unlike everything else in this package.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from relabel.features.encoding import Encoder, encoder_from_json
from relabel.models.build import build_model
from relabel.models.builtin import model_config_from_json
from relabel.models.user.code import explain_network_errors
from relabel.models.user.config import OwnModelConfig, require_consent
from relabel.models.user.inputs import OwnEncoder
from relabel.models.user.load import load_own_model
from relabel.runs.config import RunConfig
from relabel.runs.folder import RunFolder
from relabel.text import Kind
from tracin_core.checkpoints import Checkpoint
from tracin_core.errors import InputError
from tracin_core.gradients.nested import map_tensors
from tracin_core.layers import is_part
from tracin_core.losses import Loss, get_logits
from tracin_core.projection.config import Projection
from tracin_core.tracin import TracIn

# Runs whose networks stay in memory between calls; a person compares one or two at a time.
LOADED_RUNS = 2


@dataclass(frozen=True, eq=False)
class NewExample:
    """What a run's network makes of an example without a label.

    Attributes:
        kind: "image", "text" or "table".
        probabilities: Class probabilities at the last checkpoint, shape ``(K,)``; empty for a
            regression.
        predicted: The most probable class; 0 for a regression, where it means nothing.
        vectors: For each layers that the run has, shape ``(D,)``; the dot product with a train
            example's stored vector is its influence on the predicted class's logit (on the
            predicted number), summed over the checkpoints. Positive: a proponent of the
            prediction, which pulled it up.
        predicted_value: For a regression the predicted number, in the target's unit.
    """

    kind: Kind
    probabilities: npt.NDArray[np.float32]
    predicted: int
    vectors: dict[str, npt.NDArray[np.float32]]
    predicted_value: float | None = None


def score_new_example(
    run_folder: Path,
    *,
    image: bytes | None = None,
    text: str | None = None,
    fields: Mapping[str, Any] | None = None,
    run_my_code: bool = False,
) -> NewExample:
    """Predict an example's class or number and explain the prediction.

    There is no true label whose loss could be explained, so what is explained is a score (FAQ,
    "two types of scores"): the logit of the class that the last checkpoint predicts. It is the
    same class at every checkpoint, because the sum over checkpoints traces one function along
    the training; the early networks may have predicted something else.

    The first call for a run loads its network (and torch); later ones take milliseconds.

    Args:
        run_folder: ``projects/<slug>/runs/<run key>``.
        image: Bytes of an image file, for runs on images.
        text: The text, for runs on texts.
        fields: The row's value in each column, for runs on tables.
        run_my_code: Whether the person has agreed to run the file of their own network, in this
            process.

    Raises:
        InputError: If it is not what the run takes, or cannot be read.
        ConfigurationError: If the network is the person's own, and they have not agreed, its file
            has changed, or it raises.
        RunFolderError: If a file of the run is missing or corrupt.
        CheckpointError: If a checkpoint is missing or does not fit the network.
    """
    run = _load_run(Path(run_folder), run_my_code)
    require_consent(run.config.model, agreed=run_my_code)  # also where it is loaded already
    content = _choose_content(run.config.kind, {"image": image, "text": text, "table": fields})
    with explain_network_errors(run.file, "The network"):
        return run.score(run.encode(content))


class _LoadedRun:
    """A run's network and checkpoints in memory; one call at a time uses them."""

    def __init__(self, folder: RunFolder, run_my_code: bool) -> None:
        self.config: RunConfig = folder.read_config()
        made = model_config_from_json(dict(self.config.model))
        regression = self.config.task == "regression"
        loss: Loss = "mse" if regression else "cross_entropy"
        if isinstance(made, OwnModelConfig):
            own = load_own_model(made, run_my_code=run_my_code)
            saved = self.config.encoder.get("rows")
            rows = None if saved is None else encoder_from_json(dict(saved))
            self._encoder: Encoder | OwnEncoder = OwnEncoder(own, made, rows)
            self.file: Path | None = Path(made.file)
            model, loss = own.model, own.loss or loss  # type: ignore[assignment]
        else:
            self._encoder, self.file = encoder_from_json(dict(self.config.encoder)), None
            model = build_model(made)
        checkpoints = [
            Checkpoint(folder.root / entry.file, entry.learning_rate, entry.step)
            for entry in self.config.checkpoints
        ]
        self._projections = {
            layers: None if entry is None else Projection(entry.dim, entry.seed)
            for layers, entry in self.config.projection.items()
        }
        # As it was scored: on a single example, of another loss, it may not be found alike.
        names = self.config.layers["last"]
        last = names if all(is_part(model, name) for name in names) else None
        self._last = TracIn(
            model, checkpoints[-1:], loss, rates="ones", last_layer=last, progress=False
        )
        score = minus_output if regression else minus_class_logit
        layers = "all" if "all" in self.config.scored_layers else "last"
        self._all = TracIn(
            model,
            checkpoints,
            loss=score,
            layers=layers,
            rates=self.config.rates,
            last_layer=last,
            progress=False,
        )
        self._lock = Lock()

    def encode(self, content: Any) -> Any:
        """Return the input of one example: a tensor, or a tuple or dictionary of them."""
        if isinstance(self._encoder, OwnEncoder):
            batch = self._encoder.encode_batch([content], [0])
            return map_tensors(lambda tensor: tensor[0], batch)
        return self._encoder.encode(content)

    def score(self, encoded: Any) -> NewExample:
        """Score one encoded example."""
        with self._lock:
            seen = self._last.capture([(encoded, torch.tensor(0))])
            outputs = seen.probabilities[0]
            predicted = int(outputs.argmax())
            explained = [(encoded, torch.tensor(predicted))]
            capture = self._all.capture(
                explained,
                projection=self._projections.get("all"),
                last_layer_vectors=self._projections["last"] or "exact",
            )
        vectors = {"all": capture.vectors, "last": capture.last_vectors}
        return NewExample(
            kind=self.config.kind,
            probabilities=_as_array(outputs if self.config.classes else outputs[:0]),
            predicted=predicted,
            predicted_value=self._read_value(outputs),
            vectors={
                layers: _as_array(rows[0]) for layers, rows in vectors.items() if rows is not None
            },
        )

    def _read_value(self, outputs: Tensor) -> float | None:
        """Return the predicted number in the target's unit; None for a classification."""
        if self.config.task != "regression":
            return None
        scale = self.config.target_scale
        value = float(outputs[0])
        return value if scale is None else value * scale.std + scale.mean


def minus_class_logit(outputs: Tensor, classes: Tensor) -> Tensor:
    """Return minus the logit of a chosen class for each example.

    Minus, so that a train example whose gradient points the same way raises the score.

    Args:
        outputs: What the network returned, logits ``(B, K)``, or one for two classes.
        classes: Class indices ``(B,)``.

    Returns:
        Shape ``(B,)``.
    """
    logits = get_logits(outputs)
    if logits.dim() == 1 or logits.shape[1] == 1:  # one logit for the second of two classes
        logits = torch.cat([-logits.reshape(-1, 1), logits.reshape(-1, 1)], dim=1)
    return -logits.gather(1, classes.unsqueeze(1)).squeeze(1)


def minus_output(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return minus the predicted number of each example, shape ``(B,)``; targets are not read."""
    return -get_logits(outputs).reshape(len(targets), -1)[:, 0]


_loaded: OrderedDict[tuple[Path, int], _LoadedRun] = OrderedDict()
_loading = Lock()


def _load_run(root: Path, run_my_code: bool) -> _LoadedRun:
    """Return the run's network, from memory if it was used lately and was not scored again."""
    folder = RunFolder(root.resolve())
    path = folder.config_path
    key = (path, path.stat().st_mtime_ns if path.exists() else 0)
    with _loading:
        if key not in _loaded:
            _loaded[key] = _LoadedRun(folder, run_my_code)
        _loaded.move_to_end(key)
        while len(_loaded) > LOADED_RUNS:
            _loaded.popitem(last=False)
        return _loaded[key]


def _choose_content(kind: Kind, contents: Mapping[Kind, Any]) -> Any:
    content = contents[kind]
    if content is None:
        other = {"image": "an image", "text": "a text", "table": "a value for each column"}
        raise InputError(
            f"This run scores examples of the kind {kind!r}, and none was given. "
            f"Give {other[kind]}."
        )
    return content


def _as_array(tensor: Tensor) -> npt.NDArray[np.float32]:
    return tensor.detach().to("cpu", torch.float32).numpy().copy()
