"""The classifier judge: any sequence classification model of Hugging Face, one label of it, at a threshold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from steersman.errors import InputError, ModelError
from steersman.judges.judge import Exchange, Metric, Verdict, judge_key, unscored, yes_no
from steersman.model.conversion import quiet
from steersman.model.precision import resolve_device
from steersman.model.sources import cached_commit, resolve


@final
@dataclass(frozen=True)
class ClassifierJudge:
    """Reports the probability of one label of a classifier, and whether it reaches a threshold.

    Probabilities are a softmax over the labels, or a sigmoid of the one where the model has a single label or several
    that do not exclude each other. It knows what it was trained on: a label says what it says of texts like those.

    Args:
        model: the classifier, in evaluation mode.
        tokenizer: its tokenizer.
        label: index of the label that is read.
        question: what that label means, in a word; names the metrics.
        name: what its metrics end in.
        threshold: probability from which the decision is yes, 0 to 1.
        reads: `completion` alone, or the `exchange` as the tokenizer's pair of texts, prompt first.
        identity: what tells this model from another.
        longest: tokens that are read of a text; longer ones are cut, and their verdicts say so.
        batch_size: texts at a time; changes nothing beyond rounding.
    """

    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    label: int
    question: str
    name: str = "classifier"
    threshold: float = 0.5
    reads: Literal["completion", "exchange"] = "completion"
    identity: str = ""
    longest: int = 512
    batch_size: int = 16

    def __post_init__(self) -> None:
        """Refuse a label that is not there and a threshold out of range."""
        if not 0 <= self.label < self.model.config.num_labels:
            raise InputError(f"expected a label from 0 to {self.model.config.num_labels - 1}, got {self.label}")
        if not 0 <= self.threshold <= 1:
            raise InputError(f"expected a probability from 0 to 1 as the threshold, got {self.threshold}")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The decision and the probability."""
        return (
            Metric(f"{self.question}_by_{self.name}", "rate", f"share of replies judged {self.question}"),
            Metric(f"{self.question}_probability_by_{self.name}", "mean", "probability"),
        )

    def key(self) -> str:
        """Return the model, the label, the threshold and what is read."""
        return judge_key(
            judge="classifier",
            model=self.identity,
            label=self.label,
            threshold=self.threshold,
            reads=self.reads,
            longest=self._limit(),
        )

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """Return one verdict per exchange."""
        # Without a padding token texts of unlike lengths cannot share a batch.
        size = self.batch_size if self.tokenizer.pad_token_id is not None else 1
        verdicts: list[Verdict] = []
        for start in range(0, len(exchanges), size):
            verdicts += self._batch(exchanges[start : start + size])
        return verdicts

    @torch.inference_mode()
    def _batch(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        completions = [each.completion for each in exchanges]
        pair = {"text": [each.prompt for each in exchanges], "text_pair": completions}
        texts = pair if self.reads == "exchange" else {"text": completions}
        lengths = [len(ids) for ids in self.tokenizer(**texts, verbose=False)["input_ids"]]
        padding = self.tokenizer.pad_token_id is not None
        read = self.tokenizer(
            **texts, truncation=True, max_length=self._limit(), padding=padding, return_tensors="pt"
        ).to(self.model.device)
        if not read["input_ids"].shape[1]:
            return [unscored("the text has no token") for _ in exchanges]
        logits = self.model(**read).logits.float()
        return [self._decided(row, length) for row, length in zip(self._probabilities(logits), lengths, strict=True)]

    def _probabilities(self, logits: Tensor) -> list[float]:
        config = self.model.config
        if config.num_labels == 1 or config.problem_type == "multi_label_classification":
            return logits.sigmoid()[:, self.label].tolist()
        return logits.softmax(-1)[:, self.label].tolist()

    def _decided(self, probability: float, length: int) -> Verdict:
        if not 0 <= probability <= 1:
            return unscored(f"the classifier gave {probability}, which is no probability")
        decision, raw = self.metrics
        answer = probability >= self.threshold
        cut = f", read to token {self._limit()} of {length}" if length > self._limit() else ""
        return Verdict(
            {decision.name: float(answer), raw.name: probability},
            words=f"{yes_no(self.question, answer)} (probability {probability:.3f}{cut})",
        )

    def _limit(self) -> int:
        # Two less than the positions: models that count positions from behind the padding token (RoBERTa) need them.
        positions = getattr(self.model.config, "max_position_embeddings", None) or self.longest + 2
        return max(1, min(self.longest, self.tokenizer.model_max_length, positions - 2))


def load_classifier(
    path: str,
    label: str | int | None = None,
    *,
    question: str | None = None,
    name: str = "classifier",
    threshold: float = 0.5,
    reads: Literal["completion", "exchange"] = "completion",
    device: str = "auto",
    notify: Callable[[str], None] | None = None,
) -> ClassifierJudge:
    """Return a judge from a sequence classification model; its weights must be safetensors.

    Args:
        path: a folder, or a Hugging Face id.
        label: the label that is read, by name or index; may be left out where there is only one.
        question: what that label means, in a word such as `refusal`; the label's name where left out.
        name: what its metrics end in.
        threshold: probability from which the decision is yes.
        reads: `completion` alone, or the `exchange`.
        device: `auto`, `cpu`, `cuda`, `mps`.
        notify: called with a few words while it loads.

    Raises:
        ModelError: for a model that cannot be found or read, or that is no classifier.
        InputError: for a label that it has not, naming those it has.
    """
    source = resolve(path, notify)
    if source.kind not in ("folder", "hub"):
        raise ModelError(f"expected a classifier as a folder or a Hugging Face id, got {path!r}")
    place: dict[str, Any] = {
        "pretrained_model_name_or_path": str(source.path or source.id),
        "trust_remote_code": False,
    } | ({"revision": source.asked} if source.asked else {})
    if notify:
        notify(f"loading the classifier {source.id}")
    with quiet():
        try:
            model, report = AutoModelForSequenceClassification.from_pretrained(
                **place,
                use_safetensors=True,  # a pickle may run code
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(**place)
        # Whatever a file holds that is not what it should be: the libraries below raise errors of every kind.
        except Exception as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
            raise ModelError(
                f"the classifier {source.id!r} could not be loaded ({first}); name a sequence classification model "
                "with safetensors weights and a tokenizer beside them"
            ) from error
    # transformers makes up a head for a model that has none, and says so only in its log.
    made_up = sorted([*report["missing_keys"], *(key[0] for key in report["mismatched_keys"])])
    if made_up:
        raise ModelError(
            f"the model {source.id!r} is no whole classifier: {len(made_up)} of its weights are missing or of another "
            f"shape, {made_up[0]} among them; name one that was trained to classify and saved whole"
        )
    if model.config.problem_type == "regression":
        raise ModelError(f"expected a classifier, got {source.id!r}, which was trained for regression")
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    model.eval().to(resolve_device(device))
    index = _label(model.config, label, source.id)
    revision = source.revision or cached_commit(source.id, source.asked)
    return ClassifierJudge(
        model,
        tokenizer,
        index,
        question or _word(str(model.config.id2label[index])),
        name,
        threshold,
        reads,
        identity=f"{source.id}@{revision} {model.dtype}",
    )


def _label(config: Any, label: str | int | None, which: str) -> int:
    names = {int(index): str(name) for index, name in config.id2label.items()}
    has = ", ".join(f"{index} ({name})" for index, name in sorted(names.items()))
    if label is None and len(names) == 1:
        return next(iter(names))
    if label is None:
        raise InputError(f"expected the label of {which} to read, got none; it has {has}")
    for index, name in names.items():
        if label in (index, str(index)) or str(label).casefold() == name.casefold():
            return index
    raise InputError(f"expected a label of {which}, got {label!r}; it has {has}")


def _word(label: str) -> str:
    return "_".join("".join(c if c.isalnum() else " " for c in label.lower()).split()) or "label"
