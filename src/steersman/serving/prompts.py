"""From what a request says to what the model is asked for."""

import secrets
from dataclasses import replace

from steersman.errors import InputError
from steersman.model.encode import prompt_tokens
from steersman.model.generate import Sampling
from steersman.model.handle import Handle
from steersman.model.live import Request
from steersman.serving.refusals import Refusal
from steersman.serving.schema import Asked, ChatAsked, Message, TextAsked
from steersman.serving.settings import Settings
from steersman.serving.shelf import Shelf


def requests_of(asked: ChatAsked | TextAsked, shelf: Shelf, settings: Settings, window: int) -> list[Request]:
    """Return one request for each answer, prompt by prompt.

    Args:
        asked: what came.
        shelf: the directions.
        settings: the server's limits.
        window: positions that the model was made for; 0 where unknown.

    Raises:
        Refusal: for what the server does not do.
        InputError: for values that do not go together.
    """
    model = shelf.model
    if isinstance(asked, ChatAsked):
        texts = [(chat_tokens(model, asked.messages), asked.messages[-1].text)]
    else:
        texts = [_tokens(model, prompt) for prompt in asked.prompts]
    if len(texts) * asked.n > settings.choices:
        raise Refusal(
            400, f"expected at most {settings.choices} answers, got {len(texts)} prompts and n={asked.n}", "n"
        )
    try:
        plan = shelf.plan(asked.steering)
    except InputError as error:
        raise Refusal(400, str(error), "steering") from None
    limit = asked.limit
    if limit is not None and limit > settings.max_tokens:
        raise Refusal(400, f"expected max_tokens of at most {settings.max_tokens}, got {limit}", "max_tokens")
    found: list[Request] = []
    for tokens, key in texts:
        room = window - len(tokens) if window else settings.max_tokens
        if room < 1:
            raise Refusal(
                400,
                f"expected a prompt of fewer than {window} tokens, got {len(tokens)}",
                code="context_length_exceeded",
            )
        whole = tuple(tokens)
        sampling = _sampling(asked, limit or min(room, settings.max_tokens))
        for number in range(asked.n):
            own = replace(sampling, seed=sampling.seed + number)
            found.append(Request(whole, plan, own, key, asked.stops, asked.likeliest))
    return found


def chat_tokens(model: Handle, messages: list[Message]) -> list[int]:
    """Return a chat as tokens, as the model's template writes it, with the beginning of its answer.

    Raises:
        Refusal: for a model without a template, or turns that the template does not take.
    """
    if not model.template:
        raise Refusal(
            400, f"expected a model with a chat template, and {model.name} has none; ask /v1/completions", "model"
        )
    # 'developer' is what OpenAI calls the system's turn since; templates know the older word.
    turns = [{"role": "system" if each.role == "developer" else each.role, "content": each.text} for each in messages]
    try:
        text = model.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # templates are programs of their authors', and raise what they like
        raise Refusal(400, f"expected turns that the model's chat template takes: {error}", "messages") from None
    tokens = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    if not tokens:
        raise Refusal(400, "expected messages of at least one token, got none", "messages")
    return list(tokens)


def _tokens(model: Handle, prompt: str | list[int]) -> tuple[list[int], str]:
    if not isinstance(prompt, str):
        return prompt, ""
    return prompt_tokens(model, prompt, chat=False), prompt


def _sampling(asked: Asked, limit: int) -> Sampling:
    # Without a seed the draws are new ones every time.
    seed = secrets.randbelow(2**62) if asked.seed is None else asked.seed
    given = {
        name: value
        for name in ("temperature", "top_p", "repetition_penalty")
        if (value := getattr(asked, name)) is not None
    }
    return Sampling(limit, seed=seed, **given)
