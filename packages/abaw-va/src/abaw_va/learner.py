"""How one update is made: a batch of chunks, the objective over the global batch, carried state."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.nn import functional

from abaw_va.config import TrainConfig, TransformerAttention
from abaw_va.data.batches import ChunkBatch
from abaw_va.data.layout import TARGETS
from abaw_va.data.training import training_loader, video_sets
from abaw_va.data.videos import VideoSet
from abaw_va.evaluate import measures, moments_table
from abaw_va.method.losses import Objective
from abaw_va.method.schedule import rate_factor
from abaw_va.model.carriers import State
from abaw_va.model.initial import initialise
from abaw_va.model.network import VaModel
from abaw_va.weights import transfer_encoder
from shared_core.commands import say
from shared_core.data.loader import generator
from shared_core.errors import ConfigError
from shared_core.launch.accelerator import accelerator as connect
from shared_core.metrics import Measure
from shared_core.training.learner import Learner, Outcome
from shared_core.training.loop import fit
from shared_core.training.run import Run, Summary

if TYPE_CHECKING:
    from torch import nn


class VaLearner(Learner):
    """Valence and arousal from chunks of features.

    A network that carries state reads parallel streams of whole videos: what each stream remembers
    waits here for its next chunk, and is part of every checkpoint.
    """

    score_name = "ccc"

    def __init__(self, config: TrainConfig, train: VideoSet, val: VideoSet) -> None:
        self.config = config
        self.val = val
        self.model = VaModel(config.for_model(train.width))
        initialise(
            self.model,
            generator(config.seed),
            scheme=config.init,
            gain=config.init_gain,
            same_projections=config.compat.init,
        )
        if config.normalise and config.norm_method == "trn":
            # They travel with the weights, for videos that are in no data root.
            for name, values in zip(
                ("feature_mean", "feature_scale"), train.training_statistics(), strict=True
            ):
                self.model.get_buffer(name).copy_(torch.from_numpy(values))
        if config.pretrained_encoder is not None:
            transfer_encoder(self.model, config.pretrained_encoder)
        self.network: VaModel = self.model
        self.objective = Objective(config)
        self.optimizer = torch.optim.Adam(
            [parameter for parameter in self.model.parameters() if parameter.requires_grad],
            lr=config.lr,
            betas=config.betas,
        )
        self.columns = [TARGETS.index(target) for target in config.target_names]
        self._states: deque[State | None] = deque([None] * config.accumulate)

    def loss(self, batch: ChunkBatch) -> Outcome:
        """The objective over the global batch of which `batch` is this process's part."""
        state = self._own(self._states.popleft(), len(batch.restart))
        if bool(batch.restart.all()):
            state = None
        output, state = self.model(batch.features, batch.present, state, batch.restart)
        self._states.append(state)
        loss, terms = self.objective(
            output,
            self.network.prediction(output),
            batch.target[..., self.columns],
            batch.valid,
        )
        logs = {str(name): value for name, value in terms.items()}
        return Outcome(loss=loss, logs=logs, skipped=not bool(batch.valid.any()))

    def clip_groups(self) -> Sequence[nn.Module]:
        """The whole network, or each of its parts by itself as the authors clip."""
        if self.config.clip == "per-network":
            return list(self.network.children())
        return [self.network]

    def schedule(self, progress: Any) -> float:
        """Factor on the learning rate."""
        return rate_factor(self.config, progress)

    def describe(self, micro_batches: Sequence[ChunkBatch]) -> str:
        """Videos and frames of a batch."""
        return ", ".join(name for batch in micro_batches for name in batch.names)

    @torch.inference_mode()
    def evaluate(self) -> Mapping[str, Measure]:
        """Measures on the validation videos, which the processes share among themselves."""
        rank, world = self.shares()
        table = self.sum_of_shares(
            moments_table(self.network, self.val, self.config.smoothing, rank=rank, world=world)
        )
        return measures(
            table,
            self.config.target_names,
            seed=self.config.seed,
            undefined_as_zero=self.config.compat.undefined_ccc,
        )

    def state(self) -> Mapping[str, Any]:
        """What the streams remember: for each micro-batch a list with the rows of every process."""
        return {"streams": [_of_all_processes(state) for state in self._states]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what the streams remember, of any number of processes."""
        self._states = deque(
            (shares[self.rank] if len(shares) == self.world else _joined(shares)) or None
            for shares in state["streams"]
        )

    def _own(self, state: State | None, rows: int) -> State | None:
        """The rows of this process; a state that another number of processes left has all rows."""
        if state is None or all(len(part) == rows for part in state.values()):
            return state
        own = {name: part[self.rank * rows :][:rows] for name, part in state.items()}
        return {
            name: torch.cat((part, part.new_zeros(rows - len(part), *part.shape[1:])))
            for name, part in own.items()
        }


def _of_all_processes(state: State | None) -> list[State]:
    mine = {name: part.cpu() for name, part in (state or {}).items()}
    shares: list[State] = gather_object([mine])
    return shares


def _joined(shares: Sequence[State]) -> State:
    """Rows of several processes, one after another; the shorter memories get empty slots in front."""

    def padded(part: Tensor, slots: int) -> Tensor:
        return functional.pad(part, (*(0, 0) * (part.dim() - 2), slots - part.shape[1], 0))

    joined = {}
    for name in shares[0]:
        parts = [share[name] for share in shares]
        slots = max(part.shape[1] for part in parts)
        joined[name] = torch.cat([padded(part, slots) for part in parts])
    return joined


def train(config: TrainConfig) -> Summary:
    """Train a network; everything it leaves lies in `config.run`.

    Raises:
        UserError: the data, the settings or the run folder cannot be used; says what to do.
    """
    accelerator = connect(config)
    _refuse_skipped_weights(config, int(accelerator.num_processes))
    train_set, val_set = video_sets(config)
    if len(train_set) == 1 and accelerator.is_main_process:
        say(
            f"{config.data}: one training video. Every batch shows it alone, "
            "and the CCC of one person says little about others."
        )
    learner = VaLearner(config, train_set, val_set)
    loader = training_loader(
        config,
        train_set,
        carries_state=learner.network.carries_state,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )
    run = Run(config, accelerator, program="abaw-va")
    return fit(learner, loader, run)


def _refuse_skipped_weights(config: TrainConfig, processes: int) -> None:
    """The authors' first chunk leaves the memory's attention out, and processes must agree on weights."""
    if processes > 1 and config.compat.padding and isinstance(config.model, TransformerAttention):
        raise ConfigError(
            "compat.padding", True, "false, or one process, with transformer-attention"
        )


def command(config: TrainConfig) -> None:
    """`abaw-va train`."""
    train(config)
