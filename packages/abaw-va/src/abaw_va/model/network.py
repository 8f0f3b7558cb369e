"""The network: features of chunks in, valence and arousal of every frame out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from abaw_va.config import (
    BINS,
    MEMORY_HEADS,
    Attending,
    FclstmXl,
    Transformer,
    TransformerAttention,
    TransformerLstm,
    VaModelConfig,
)
from abaw_va.method.distribution import bin_centres, expectation
from abaw_va.model.blocks import FcEncoder, FcRegressor, TransformerEncoder
from abaw_va.model.card import card
from abaw_va.model.carriers import Carrier, Lstm, MemoryAttention, State, restarted
from shared_core.checkpoints.pretrained import Pretrained

if TYPE_CHECKING:
    from abaw_va.predict import VideoPrediction


class VaModel(nn.Module, Pretrained):
    """Any of the four networks.

    Every one is an encoder that sees a chunk, a carrier that reads the encoded chunks in time order
    (none for the transformer), and a regressor that sees a frame. Sub-networks are named as the
    authors' files are (`seq`, `reg`, `attn`, `fc`, `te`, `lstm`).

    An output is [.., K] predictions without limits, K targets; with a distribution head it is
    [.., 22, K] logits, which `prediction` turns into values in [-1, 1].

    Shapes: B rows, T frames of a chunk, D input channels, H hidden channels, K targets.
    """

    config_class: ClassVar[type[VaModelConfig]] = VaModelConfig
    config: VaModelConfig
    seq: nn.Module

    def __init__(self, config: VaModelConfig) -> None:
        super().__init__()
        self.config = config
        model, width, channels = config.model, config.hidden_size, config.input_width
        match model:
            case Transformer():
                self.seq = _encoder(model, width, channels)
            case TransformerLstm():
                relu = model.fc_activation == "relu"
                self.fc = FcEncoder(channels, width, model.encoder_dropout, relu=relu)
                self.te = _encoder(model, width, None)
                self.lstm = Lstm(width)
            case TransformerAttention():
                self.seq = _encoder(model, width, channels)
                self.attn = MemoryAttention(
                    width,
                    MEMORY_HEADS,
                    learnt=model.attention == "multihead",
                    block_length=model.block_length,
                    memory_length=model.memory_length,
                    chunk_length=model.chunk_length,
                    spare_slots=not config.compat.padding,
                )
            case FclstmXl():
                self.fc = FcEncoder(channels, width, model.encoder_dropout)
                self.seq = Lstm(width)
        self.reg = FcRegressor(width, model.regressor, config.output_width, model.dropout)
        centres = torch.stack(
            [bin_centres(name, config.weighted_bins) for name in config.target_names], dim=-1
        )
        self.register_buffer("centres", centres, persistent=False)
        if config.normalise and config.norm_method == "trn":
            self.register_buffer("feature_mean", torch.zeros(channels))
            self.register_buffer("feature_scale", torch.ones(channels))

    @property
    def chunk_length(self) -> int:
        """Frames the network reads at a time."""
        return self.config.model.chunk_length

    @property
    def hop(self) -> int:
        """Frames between the starts of windows at inference; `chunk_length`: side by side."""
        model = self.config.model
        if not isinstance(model, Transformer) or model.hop == 0:
            return self.chunk_length
        return model.hop or max(1, self.chunk_length // 2)

    @property
    def carries_state(self) -> bool:
        """Whether chunks must come in time order, with the state of the one before."""
        return self._carrier is not None

    @property
    def _carrier(self) -> Carrier | None:
        names = {TransformerLstm: "lstm", TransformerAttention: "attn", FclstmXl: "seq"}
        name = names.get(type(self.config.model))
        return cast("Carrier", getattr(self, name)) if name else None

    def forward(
        self,
        features: Float[Tensor, "B T D"],
        present: Bool[Tensor, "B T"],
        state: State | None = None,
        restart: Bool[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T ..."], State | None]:
        """Read one chunk of each of B videos.

        Args:
            features: any finite values where not `present`.
            present: frames that exist; absent ones only follow the last frame of a video.
            state: what the chunk before gave back; None where all videos begin.
            restart: rows whose video begins with this chunk.

        Returns:
            Output of every frame, and the state for the next chunk (None if the network has none).
        """
        x = self.encode(features, present)
        carrier = self._carrier
        if carrier is not None:
            state = carrier.start(x) if state is None else state
            state = state if restart is None else restarted(state, restart)
            x, state = carrier(x, self._counted(present), state)
        return self._output(x), state

    def encode(
        self, features: Float[Tensor, "N T D"], present: Bool[Tensor, "N T"]
    ) -> Float[Tensor, "N T H"]:
        """The part that sees each chunk by itself: any chunks, in any order."""
        counted = self._counted(present)
        match self.config.model:
            case FclstmXl():
                return cast("Tensor", self.fc(features))
            case TransformerLstm(residual=residual):
                projected = self.fc(features)
                encoded = self.te(projected, counted)
                return cast("Tensor", projected + encoded if residual else encoded)
            case _:
                return cast("Tensor", self.seq(features, counted))

    def decode(self, encoded: Float[Tensor, "L H"]) -> Float[Tensor, "L ..."]:
        """The rest, along one whole video of L frames, encoded in chunks of `chunk_length`."""
        carrier = self._carrier
        if carrier is None:
            return self._output(encoded)
        chunks, state = [], None
        for chunk in torch.split(encoded[None], self.chunk_length, dim=1):
            y, state = carrier(chunk, None, state or carrier.start(chunk))
            chunks.append(y[0])
        return self._output(torch.cat(chunks))

    def forward_videos(
        self, features: Float[Tensor, "B L D"], present: Bool[Tensor, "B L"]
    ) -> Float[Tensor, "B L ..."]:
        """Outputs of whole videos side by side, padded to the longest, chunk by chunk."""
        outputs, state = [], None
        chunks = zip(
            torch.split(features, self.chunk_length, dim=1),
            torch.split(present, self.chunk_length, dim=1),
            strict=True,
        )
        for chunk, there in chunks:
            output, state = self(chunk, there, state)
            outputs.append(output)
        return torch.cat(outputs, dim=1)

    def set_statistics(self, mean: Float[np.ndarray, " D"], scale: Float[np.ndarray, " D"]) -> None:
        """Take the mean and deviation of the training frames, for `standardised`.

        Only for a network that normalises features by `trn`; they are saved with its weights.
        """
        for name, values in (("feature_mean", mean), ("feature_scale", scale)):
            self.get_buffer(name).copy_(torch.from_numpy(values))

    def standardised(self, features: Float[Tensor, "frames D"]) -> Float[Tensor, "frames D"]:
        """Features of a new video, brought to the mean and deviation of the training frames.

        Videos of a data root come standardised already; features that are not normalised pass.
        """
        if "feature_mean" not in self._buffers:
            return features
        mean, scale = cast("Tensor", self.feature_mean), cast("Tensor", self.feature_scale)
        return (features - mean.to(features.device)) / scale.to(features.device)

    def predict(self, video: Path | str) -> VideoPrediction:
        """Valence and arousal for every frame of a video file; see `abaw_va.predict.predict`."""
        from abaw_va.predict import predict  # finds faces, decodes video: not needed to train

        return predict([self], video)

    def prediction(self, output: Float[Tensor, "..."]) -> Float[Tensor, "... K"]:
        """Values of an output: itself, or the mean of the distribution that its logits describe."""
        if self.config.head == "regression":
            return output
        return expectation(output, cast("Tensor", self.centres))

    def card(self) -> str:
        """The model card that is saved beside the weights: what it reads, its range, its limits."""
        return card(self.config)

    def _counted(self, present: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"] | None:
        return None if self.config.compat.padding else present

    def _output(self, x: Float[Tensor, "*rows H"]) -> Float[Tensor, "*rows ..."]:
        y: Tensor = self.reg(x)
        return torch.unflatten(y, -1, (BINS, -1)) if self.config.head == "distribution" else y


def _encoder(model: Attending, width: int, input_width: int | None) -> TransformerEncoder:
    return TransformerEncoder(
        width,
        input_width=input_width,
        layers=model.layers,
        heads=model.heads,
        ffn_width=model.ffn_width,
        dropout=model.encoder_dropout,
        position_encoding=model.position_encoding,
    )
