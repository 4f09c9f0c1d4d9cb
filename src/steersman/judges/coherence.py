"""Coherence by two local measures: how likely the unsteered model finds a text, and how much it repeats itself."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from steersman.errors import InputError


@dataclass(frozen=True)
class Coherence:
    """The limits within which a completion counts as coherent and on topic.

    Args:
        floor: least mean log-probability per token under the unsteered model, nats; its own greedy text lies near -0.5,
            text that fell apart below -3.
        distinct: least share of distinct 3-grams among a completion's words, 0 to 1; below, it goes round in circles.
        margin: least gain in mean log-probability per token, nats, of the completion given its own prompt over the same
            completion given another item's prompt: what says that it is about the prompt.
    """

    floor: float = -2.5
    distinct: float = 0.5
    margin: float = 0.05

    def __post_init__(self) -> None:
        """Refuse limits out of range."""
        if not 0 <= self.distinct <= 1:
            raise InputError(f"expected a share of distinct 3-grams from 0 to 1, got {self.distinct}")

    def coherent(self, completion: str, logprob: float) -> bool:
        """Return whether a completion is likely enough and not going round in circles.

        Args:
            completion: the text.
            logprob: its mean log-probability per token under the unsteered model, nats.
        """
        return bool(completion.strip()) and logprob >= self.floor and distinct_ngrams(completion) >= self.distinct

    def on_topic(self, logprob: float, logprob_elsewhere: float) -> bool:
        """Return whether a completion belongs to its prompt rather than to another.

        Args:
            logprob: mean log-probability per token given its own prompt, nats.
            logprob_elsewhere: the same given another item's prompt, nats.
        """
        return logprob - logprob_elsewhere >= self.margin


def distinct_ngrams(text: str, size: int = 3) -> float:
    """Return the share of a text's word n-grams that are distinct, in (0, 1]; 1 for texts of fewer words.

    Source: Li et al. (2016), "A diversity-promoting objective function for neural conversation models" (distinct-n).
    """
    words = text.lower().split()
    grams = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


def repeated_ngrams(tokens: Sequence[Hashable], size: int = 2) -> float:
    """Return the share of a completion's token n-grams that stood in it before, in [0, 1); 0 for fewer tokens.

    Formula: `1 - distinct n-grams / n-grams`, over tokens and not words, since a text that falls apart often does so
    without spaces. Pairs are the default: on 2,640 completions of judged sweeps the share of repeated pairs among the
    first 32 tokens had a rank correlation of -0.71 with judged coherence, that of single tokens -0.70, of four -0.69
    (and of words, over whole texts, -0.26 to -0.44; measured with the default model's tokenizer).

    Source: rep-n, Welleck et al. (2020), "Neural text generation with unlikelihood training", section 6 (seq-rep-n); Su
    et al. (2022), "A contrastive framework for neural text generation".
    """
    grams = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
