"""lm-evaluation-harness on a steered model: its model interface, answered by ours.

Prompts are tokenised, cut and stopped exactly as the harness's own `hf` model does, so that without a plan both agree
item by item (in float32, to rounding; `hf` sums in the model's own type, and here sums are always float32).

Reference: Gao et al., "The language model evaluation harness", https://github.com/EleutherAI/lm-evaluation-harness.
"""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from steersman.bridges.continuations import Continuation, answers, batches
from steersman.bridges.steering import Steered, steered
from steersman.bridges.stops import stopping
from steersman.errors import InputError
from steersman.model.generate import Sampling, generate_tokens
from steersman.model.loaded import Model
from steersman.plan import Plan

try:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import CacheHook, TemplateLM
    from lm_eval.api.registry import register_model
    from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text, resolve_max_length
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window, simple_parse_args_string
    from tqdm import tqdm
except ImportError as error:
    raise InputError(
        f"expected lm-evaluation-harness, which is not installed ({error}); pip install 'steersman[lm-eval]'"
    ) from error

logger = logging.getLogger(__name__)

DEFAULT_LENGTH = 2048
"""Tokens that a model is taken to read where neither its configuration nor its tokenizer says, as `hf` does."""

OWNER = "steersman: whose answers these are"
"""Key in a response cache of the harness, which otherwise knows nothing of model and plan."""

IDLE_WHEN_GREEDY = ("top_p", "top_k", "min_p", "typical_p", "temperature", "do_sample")
IDLE: Mapping[str, tuple[Any, ...]] = {"num_beams": (1,), "num_return_sequences": (1,), "use_cache": (True,)}


class SteersmanLM(TemplateLM):
    """A steered model as the harness asks for one: `--model steersman`.

    Args:
        model: `default`, a Hugging Face id, a folder, a `.gguf` file, or a model that is loaded already.
        pretrained: another word for `model`, the harness's own.
        plan: a plan, or a plan file in place of `direction`.
        dtype: `auto`, `float32`, `bfloat16` or `float16`.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        batch_size: rows at a time, or `auto` for as many as fit a budget of tokens; changes no answer beyond rounding.
        max_batch_size: rows at most.
        max_length: tokens that are read; the model's own limit where not given.
        max_gen_toks: tokens that are written where a task does not say.
        add_bos_token: whether texts begin with the beginning-of-sequence token; the tokenizer's way where not given.
        prefix_token_id: what stands before a text without a context; the beginning- or else the end-of-sequence token.
        seed: of sampling, where a task samples.
        steering: `direction`, `layer`, `coefficient`, `unit`, `span`, `edit`; see `steersman.bridges.steering`.

    Raises:
        InputError: for arguments that are unknown, do not go together or are out of range.
    """

    def __init__(
        self,
        model: str | Model | None = None,
        plan: str | Plan | None = None,
        *,
        pretrained: str | None = None,
        dtype: str = "auto",
        device: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        max_length: int | None = None,
        max_gen_toks: int = 256,
        add_bos_token: bool | None = None,
        prefix_token_id: int | None = None,
        seed: int = 0,
        **steering: Any,
    ) -> None:
        super().__init__()
        self.batch_size = _batch_size(batch_size, max_batch_size)
        if isinstance(model, Model):
            if steering or isinstance(plan, str):
                raise InputError("expected a Plan beside a loaded model, got the names of files")
            self.steered = Steered(model, plan or Plan())
            model.check(self.steered.plan)
        elif isinstance(plan, Plan):
            raise InputError("expected the name of a plan file beside the name of a model, got a Plan")
        else:
            named = model or pretrained or "default"
            self.steered = steered(named, {**steering, "plan": plan}, dtype=dtype, device=device or "auto")
        self._held, self._plan = self.steered.model, self.steered.plan
        self.tokenizer = self._held.tokenizer
        self._device = self._held.device
        self.max_length: int = max_length or resolve_max_length(
            self._held.hf.config, self.tokenizer, default=DEFAULT_LENGTH
        )
        self.max_gen_toks = max_gen_toks
        self._add_bos, self._prefix, self._seed = add_bos_token, prefix_token_id, seed
        logger.info("steersman: %s", self._plan if self._plan.steps else "no plan, the model is unsteered")

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> "SteersmanLM":
        """Return the model of `--model_args` as a mapping, whose words win over those of the harness's own options."""
        outside = {name: value for name, value in (additional_config or {}).items() if value is not None}
        if outside.get("device") == "cuda:0" and not torch.cuda.is_available():
            del outside["device"]  # what the harness says where nobody names a device; its own models know that too
        return cls(**(outside | arg_dict))

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> "SteersmanLM":
        """Return the model of `--model_args` as text; see `create_from_arg_obj`."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @property
    def eot_token_id(self) -> int:
        """What ends a text."""
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text without a context."""
        first = (self._prefix, self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        return next(token for token in first if token is not None)

    @property
    def tokenizer_name(self) -> str:
        """Name of the tokenizer in the names of cached requests."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def get_model_info(self) -> dict[str, Any]:
        """Return what the harness writes beside its results: the model, and the plan step by step."""
        facts = self.steered.facts()
        return {"model_dtype": facts["dtype"], "model_revision": facts["revision"], "steersman": facts}

    def set_cache_hook(self, cache_hook: CacheHook) -> None:
        """Take the harness's response cache into use where its answers are this model's under this plan.

        Raises:
            InputError: for a cache of another model or plan, whose answers would pass for this one's.
        """
        held = cache_hook.dbdict
        if held is not None:
            owner = held.get(OWNER) if len(held) else self.steered.identity
            if owner != self.steered.identity:
                raise InputError(
                    "expected a response cache (--use_cache) of the same model and plan, got one of others, whose "
                    "answers would be taken for this one's; name another file"
                )
            held[OWNER] = owner
        super().set_cache_hook(cache_hook)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Return the tokens of a text; one that begins with the beginning-of-sequence token gets no second one."""
        special = self._add_bos if add_special_tokens is None else add_special_tokens
        if add_special_tokens is None and string.startswith(self.tokenizer.decode(self.prefix_token_id)):
            special = False
        settings: dict[str, bool] = {} if special is None else {"add_special_tokens": special}
        return list(self._held.tokenizer.encode(string, **settings))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Return a conversation as the model's chat template writes it.

        Raises:
            InputError: for a model without a chat template.
        """
        if not self._held.template:
            raise InputError(
                f"expected a model with a chat template for --apply_chat_template, got {self._held.name}; leave it out"
            )
        return self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        rows = [self._row(*request) for request in requests]
        cut = sum(
            len(row.read) < len(head) + len(tail) - 1 for row, (_, head, tail) in zip(rows, requests, strict=True)
        )
        if cut:
            logger.warning("%d texts are longer than %d tokens; their beginnings are left out", cut, self.max_length)
        with tqdm(total=len(rows), disable=disable_tqdm, desc="Running loglikelihood requests") as bar:
            found = answers(self._held, rows, self._plan, batch_size=self.batch_size, notify=bar.update)
        results = [(answer.logprob, answer.greedy) for answer in found]
        for request, result in zip(requests, results, strict=True):
            if request[0] is not None:  # pieces of a longer text have no name in the cache
                self.cache_hook.add_partial("loglikelihood", request[0], result)
        return results

    def _row(self, texts: tuple[str, str] | None, head: list[int], tail: list[int]) -> Continuation:
        """Return one request's row, with the prompt as long as it truly is.

        The harness moves blanks at a context's end into the continuation (in `_encode_pair`). Where they are tokens of
        their own, as the line feed that ends most chat templates, they are still scored, and still are the prompt.
        """
        length = len(head)
        if texts is not None and texts[0] != texts[0].rstrip():
            whole = self.tok_encode(texts[0])
            if whole == [*head, *tail][: len(whole)]:
                length = len(whole)
        self._check_template([*head, *tail][:length])
        return Continuation.of(head, tail, self.max_length, length)

    def _check_template(self, prompt: Sequence[int]) -> None:
        if any(step.coefficient and step.span.name == "after_instruction" for step in self._plan):
            shown = self.apply_chat_template([{"role": "user", "content": "one"}])
            ending = self.tokenizer(shown, add_special_tokens=False)["input_ids"][-self._held.suffix :]
            if list(prompt[-len(ending) :]) != list(ending):
                raise InputError(
                    "expected prompts in the chat template for the span after_instruction, got plain text; ask for the "
                    "chat template (--apply_chat_template), or take another span"
                )

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Return the log-probability of each whole text, nats, in windows where it is longer than the model reads."""
        owners: list[int] = []
        windows: list[tuple[Any, list[int], list[int]]] = []
        for number, request in enumerate(requests):
            pieces = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            for piece in map(make_disjoint_window, pieces):
                owners.append(number)
                windows.append((None, *piece))
        totals = [0.0] * len(requests)
        for owner, (logprob, _) in zip(owners, self._loglikelihood_tokens(windows, disable_tqdm), strict=True):
            totals[owner] += logprob
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", (request.args[0],), total)
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return what the model writes behind each context, up to the first of its stop sequences."""
        asked: list[Any] = [request.args for request in requests]
        alike: dict[str, list[int]] = {}
        for number, arguments in enumerate(asked):
            if len(arguments) > 2:
                raise InputError("expected a task of text alone, got one with images or sounds")
            alike.setdefault(json.dumps(arguments[1], sort_keys=True, default=str), []).append(number)
        seen: Counter[str] = Counter()
        written: dict[int, str] = {}
        with tqdm(total=len(requests), disable=disable_tqdm, desc="Running generate_until requests") as bar:
            for numbers in alike.values():
                sampling, until = self._wish(asked[numbers[0]][1])
                room = self.max_length - sampling.max_new_tokens
                heads = [self.tok_encode(asked[number][0])[-room:] for number in numbers]
                # A task that repeats a question wants another draw each time.
                keys: list[str] = []
                for number in numbers:
                    context = asked[number][0]
                    keys.append(f"{context}|{seen[context]}" if seen[context] else context)
                    seen[context] += 1
                lengths = [len(head) + sampling.max_new_tokens for head in heads]
                for part in batches(lengths, self.batch_size):
                    texts = self._written([heads[i] for i in part], [keys[i] for i in part], sampling, until)
                    written.update(zip([numbers[i] for i in part], texts, strict=True))
                    bar.update(len(part))
        for number, arguments in enumerate(asked):
            self.cache_hook.add_partial("generate_until", arguments, written[number])
        return [written[number] for number in range(len(asked))]

    def _written(self, heads: list[list[int]], keys: list[str], sampling: Sampling, until: list[str]) -> list[str]:
        for head in heads:
            self._check_template(head)
        plans = [self._plan] * len(heads)
        stop = stopping(self.tokenizer, until)
        made = generate_tokens(self._held, heads, plans, sampling, keys=keys, ended=stop)
        return [postprocess_generated_text(each.text, until, None) for each in made]

    def _wish(self, asked: Mapping[str, Any]) -> tuple[Sampling, list[str]]:
        """Return how a task wants its texts written, and what ends them.

        Raises:
            InputError: for a setting that would change the text and is not known here.
        """
        wish: dict[str, Any] = dict(normalize_gen_kwargs(dict(asked), self.max_gen_toks))
        until = [str(text) for text in wish.pop("until") if text]
        limit, drawn = int(wish.pop("max_gen_toks")), bool(wish.pop("do_sample"))
        temperature = float(wish.pop("temperature", 0.0))
        if drawn and temperature <= 0:
            raise InputError(f"expected a temperature above 0 with do_sample, got {temperature:g}")
        if not 0 < limit < self.max_length:
            raise InputError(
                f"expected max_gen_toks from 1 to {self.max_length - 1}, less than the {self.max_length} tokens that "
                f"{self._held.name} reads, got {limit}"
            )
        top_p, penalty = wish.pop("top_p", None), float(wish.pop("repetition_penalty", 1.0))
        for name in [name for name, value in wish.items() if value in IDLE.get(name, ()) or value is None]:
            del wish[name]
        if unknown := sorted(name for name in wish if drawn or name not in IDLE_WHEN_GREEDY):
            raise InputError(
                "expected generation settings among until, max_gen_toks, do_sample, temperature, top_p and "
                f"repetition_penalty, got {', '.join(unknown)}"
            )
        if self.tokenizer.eos_token_id is not None:
            until.append(self.tokenizer.decode(self.tokenizer.eos_token_id))
        share = float(top_p) if drawn and top_p is not None else 1.0
        return Sampling(limit, temperature if drawn else 0.0, share, penalty, self._seed), until


def _batch_size(size: int | str, most: int | None) -> int | None:
    if str(size).startswith("auto"):
        return most
    if not str(size).isdigit() or int(size) < 1:
        raise InputError(f"expected a batch size of at least 1, or auto, got {size!r}")
    return min(int(size), most or int(size))


register_model("steersman")(SteersmanLM)  # not as a decorator, which would hide its type
