"""trl's `GRPOTrainer`, with what the paper adds, exact to resume, and told where its time goes."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate.utils import gather_object
from peft import PeftModel
from safetensors import SafetensorError
from torch import Tensor
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import GRPOTrainer
from trl.models import unwrap_model_for_generation
from trl.trainer import utils as trl_utils
from trl.trainer.utils import RepeatSampler

from refine_iqa.grpo.difference import Opening, left_padded
from refine_iqa.method import probability_of_tokens, refine_advantages
from refine_iqa.model.loading import bare, load_model
from shared_core.data.loader import generator
from shared_core.errors import DataError, NonFiniteError
from shared_core.faultpoints import reach
from shared_core.launch.collectives import any_rank
from shared_core.training.guards import StoppedElsewhere
from shared_core.training.run import Run
from shared_core.training.seeding import seed_everything
from shared_core.training.snapshot import write_progress

SUCCESS = ("format", "answer")
"""Rule rewards; a completion that has them in full is a success."""


_COLUMNS = 8192


class QualityTrainer(GRPOTrainer):  # type: ignore[misc]  # trl is half typed
    """GRPO on one run of the house; every process has one.

    Args:
        run: whose folder keeps the checkpoints, and which is told of every update.
        advantages: GRPO's, or the refine strategy's.
        refuse: told of the rows of a batch; raises, or lists, those that could not be read.
        **given: as `GRPOTrainer` takes them.
    """

    def __init__(
        self,
        *,
        run: Run,
        advantages: Literal["grpo", "refine"],
        refuse: Callable[[list[dict[str, Any]]], None],
        **given: Any,
    ) -> None:
        super().__init__(**given)
        self._house = run
        self._shaping = advantages
        self._refuse = refuse
        self._rewards = torch.empty(0)
        if self.accelerator.device.type == "cpu":
            # Columns of the vocabulary that trl's head holds at a time where there is no Triton.
            trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE = _COLUMNS
        self._clock: defaultdict[str, float] = defaultdict(float)
        self._rows: list[int] = []

    # One update

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any) -> Tensor:
        """One micro-batch; all processes agree that its loss is finite before any weight moves.

        Raises:
            NonFiniteError: on all processes; names the rows.
        """
        reach("loop:update")
        with self._timed("whole"):
            loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        bad, _ = self._house.hands.agree(bad=not math.isfinite(loss))
        if bad:
            raise self._not_finite(float(loss), "loss")
        if self._step % self.current_gradient_accumulation_steps == 0:
            self._report_times()
        reach("loop:updated")
        return loss

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if self.model.training:
            # What is drawn depends on the place in the run, so that a resumed run draws the same.
            seed_everything(self.args.seed, self.state.global_step, self.accelerator.process_index)
        self._rows = [example["row"] for example in inputs]
        self._refuse_together(inputs)
        with self._timed("scoring"):
            output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        unreadable = torch.tensor([example["unreadable"] for example in inputs])
        output["completion_mask"][unreadable] = 0  # their pictures are blank: nothing is learnt
        if self._shaping == "refine":
            self._reshape_advantages(output)
        return output

    def _generate(self, prompts: list[Any]) -> Any:
        with self._timed("generate"):
            return super()._generate(prompts)

    def _generate_single_turn(self, *given: Any, **named: Any) -> Any:
        """trl's; all processes agree that what the policy draws from is finite."""
        generated, failure = None, None
        try:
            generated = super()._generate_single_turn(*given, **named)
        except RuntimeError as error:
            if "probability tensor" not in str(error):  # how torch says that it cannot draw
                raise
            failure = error
        bad, _ = self._house.hands.agree(bad=failure is not None)
        if bad:
            value = 0.0 if failure is None else math.nan
            raise self._not_finite(value, "probability of a token") from failure
        return generated

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> Tensor:
        with self._timed("reward"):
            rewards: Tensor = super()._calculate_rewards(
                inputs, prompts, completions, completion_ids_list
            )
        # A row whose reward fails is left out, not the run stopped: it is counted here.
        failures = sum(getattr(reward, "failures", 0) for reward in self.reward_funcs)
        self._metrics["train" if self.model.training else "eval"]["reward_failures"].append(
            failures
        )
        unreadable = torch.tensor(gather_object([example["unreadable"] for example in inputs]))
        rewards[unreadable.to(rewards.device)] = math.nan
        self._rewards = rewards
        return rewards

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        *rest: Any,
        **named: Any,
    ) -> Any:
        """trl's, on the completions alone: without Triton its head would score the prompts too."""
        seen = logits_to_keep + 1  # a token is scored at the place before it

        def shorten(_: Any, __: Any, output: Any) -> Any:
            output.last_hidden_state = output.last_hidden_state[:, -seen:]
            return output

        def scored(*, labels: Tensor, **given: Any) -> Any:
            return model(**given, labels=labels[:, -seen:])

        backbone = bare(self.accelerator.unwrap_model(model)).model
        hook = backbone.register_forward_hook(shorten)
        try:
            return super()._get_per_token_logps_and_entropies(
                scored, input_ids, attention_mask, logits_to_keep, *rest, **named
            )
        finally:
            hook.remove()

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The norm before clipping; all processes agree that it is finite before any weight moves."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        judged = norm is not None and not self.args.fp16  # fp16's scaler leaves such a step out
        bad, _ = self._house.hands.agree(bad=judged and not math.isfinite(norm))
        if bad:
            raise self._not_finite(float(norm), "gradient norm")
        return norm

    def _refuse_together(self, inputs: list[dict[str, Any]]) -> None:
        failure = None
        try:
            self._refuse(inputs)
        except DataError as error:
            failure = error
        if any_rank([failure is not None])[0]:
            raise failure or StoppedElsewhere(
                "another process could not read a row; it says which."
            )

    def _reshape_advantages(self, output: dict[str, Any]) -> None:
        """Replace GRPO's advantages, in the update and in trl's own log, by the refine strategy's."""
        rewards = self._rewards
        weights = self.reward_weights.to(rewards.device)
        total = (rewards * weights).nansum(dim=1)
        total[rewards.isnan().all(dim=1)] = math.nan
        columns = [self.reward_func_names.index(name) for name in SUCCESS]
        successes = (rewards[:, columns] == 1).all(dim=1)
        group = self.num_generations if self.model.training else self.num_generations_eval
        advantages = refine_advantages(total, successes, group)
        count = len(output["advantages"])
        start = self.accelerator.process_index * count
        output["advantages"] = advantages[start : start + count]
        logged = self._logs["advantages"]
        for _ in range(min(len(logged), len(advantages))):
            logged.pop()
        logged.extend(advantages.tolist())

    # Order

    def _get_train_sampler(self, dataset: Any = None) -> EpochSampler:
        usual = super()._get_train_sampler(dataset)
        return EpochSampler(
            usual.data_source,
            mini_repeat_count=usual.mini_repeat_count,
            batch_size=usual.batch_size,
            repeat_count=usual.repeat_count,
            shuffle=usual.shuffle,
            seed=self.args.seed,
            epoch=lambda: self.state.global_step // self._house.progress.steps_per_epoch,
        )

    # Probabilities

    @torch.no_grad()
    def probabilities(
        self, openings: Sequence[Opening], tokens: Tensor, places: Sequence[int]
    ) -> Tensor:
        """Joint probability, under the policy, of some of the tokens that would come next.

        Args:
            openings: n prompts, and what is written after each.
            tokens: k tokens that come next. [n, k]
            places: which of the k count; each is judged given all before it.

        Returns:
            [n], 0..1, on the CPU.
        """
        asked = tokens[:, : places[-1] + 1]
        chosen = torch.tensor(places)
        most = self.args.per_device_train_batch_size  # rows that are known to fit
        found = []
        training = self.model.training
        self.model.eval()
        try:
            with (
                unwrap_model_for_generation(
                    self.model_wrapped,
                    self.accelerator,
                    gather_deepspeed3_params=self.args.ds3_gather_for_generation,
                    gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
                ) as policy,
                self.accelerator.autocast(),
            ):
                for first in range(0, len(openings), most):
                    part = slice(first, first + most)
                    inputs = self._forced(openings[part], asked[part])
                    logits = policy(**inputs, logits_to_keep=asked.shape[1]).logits
                    found.append(
                        probability_of_tokens(logits[:, chosen].cpu(), asked[part][:, chosen])
                    )
        finally:
            self.model.train(training)
        return torch.cat(found)

    def _forced(self, openings: Sequence[Opening], asked: Tensor) -> dict[str, Tensor]:
        """Inputs that end before the last of the asked tokens, padded on the left."""
        prompt_ids, _, fields = self._tokenize_prompts([opening.messages for opening in openings])
        after = [
            [*opening.written, *row[:-1]]
            for opening, row in zip(openings, asked.tolist(), strict=True)
        ]
        both = [[*ids, *rest] for ids, rest in zip(prompt_ids, after, strict=True)]
        given = {name: value for name, value in fields.items() if isinstance(value, Tensor)}
        given["input_ids"] = left_padded(both, self.processing_class.tokenizer.pad_token_id)
        given["attention_mask"] = left_padded([[1] * len(row) for row in both], 0)
        types = fields["mm_token_type_ids"]
        given["mm_token_type_ids"] = left_padded(
            [[*own, *[0] * len(rest)] for own, rest in zip(types, after, strict=True)], 0
        )
        return {name: value.to(self.accelerator.device) for name, value in given.items()}

    # Checkpoints

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self._house.save(lambda folder: self._write(folder, model, trial))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if isinstance(self.model, PeftModel):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        # transformers writes the older layout of keys and its trainer reads them as they are, not
        # strictly: it would go on with the first weights, and say nothing.
        saved = load_model(resume_from_checkpoint, dtype=self.model.dtype).model
        self.model.load_state_dict(saved.state_dict())

    def _write(self, folder: Path, model: Any, trial: Any) -> None:
        usual, self.args.output_dir = self.args.output_dir, str(folder)
        try:
            super()._save_checkpoint(model, trial)
        except SafetensorError as error:  # how a full disk is told where weights are written
            raise RuntimeError(str(error)) from error
        finally:
            self.args.output_dir = usual
        if self.args.should_save:
            (trainer_files(folder, self.state.global_step) / "training_args.bin").unlink(
                missing_ok=True
            )
            (folder / "README.md").unlink(missing_ok=True)
            write_progress(folder, self._house.progress)

    # Helpers

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        before = time.perf_counter()
        try:
            yield
        finally:
            self._clock[what] += time.perf_counter() - before

    def _report_times(self) -> None:
        """Seconds of an update's parts, for its line in the record."""
        clock, self._clock = self._clock, defaultdict(float)
        parts = {
            "generate": clock["generate"],
            "reward": clock["reward"],
            "log_probability": clock["scoring"] - clock["generate"] - clock["reward"],
            "update": clock["whole"] - clock["scoring"],
        }
        for name, seconds in parts.items():
            self._metrics["train"][f"seconds/{name}"].append(seconds)

    def _not_finite(self, value: float, what: str) -> NonFiniteError:
        rows = sorted(set(self._rows))
        mine = [] if math.isfinite(value) else [f"{what} {value} on rows {rows}"]
        return NonFiniteError(
            f"{self._house.place}: {'; '.join(gather_object(mine))}. "
            "The weights were not changed by this update.\n"
            "Look at these rows; a lower learning rate or --clip-norm may help."
        )


class EpochSampler(RepeatSampler):  # type: ignore[misc]  # trl is half typed
    """trl's order of rows, drawn for each epoch by a key of its own.

    trl draws an epoch's order after those before it, and a resumed run, which has drawn none, would
    begin again with the first epoch's.

    Args:
        *given: as `RepeatSampler` takes them.
        seed: of the run.
        epoch: which one begins.
        **named: as `RepeatSampler` takes them.
    """

    def __init__(self, *given: Any, seed: int, epoch: Callable[[], int], **named: Any) -> None:
        super().__init__(*given, seed=seed, **named)
        self._key = seed
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator = generator(self._key, self._epoch())
        yield from super().__iter__()


def trainer_files(folder: Path, step: int) -> Path:
    """Where trl's own files lie in a checkpoint of the house."""
    return folder / f"{PREFIX_CHECKPOINT_DIR}-{step}"
