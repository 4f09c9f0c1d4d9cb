"""Steering without steersman: one row, one full pass, no padding, no cache, no hook; modules named by path.

The truth that every law of `test_every_combination.py` is held against. Each family's parts are written down by hand.
"""

from contextlib import ExitStack, contextmanager

import torch

from reference.plain_edits import FORMULAS
from tiny import HEADS, VOCABULARY, WIDTH

HEAD = WIDTH // HEADS
PARTS = {
    "llama": {"block": "model.layers.{}", "attn_out": ".self_attn", "mlp_out": ".mlp", "head": ".self_attn.o_proj"},
    "qwen2": {"block": "model.layers.{}", "attn_out": ".self_attn", "mlp_out": ".mlp", "head": ".self_attn.o_proj"},
    "gpt2": {"block": "transformer.h.{}", "attn_out": ".attn", "mlp_out": ".mlp", "head": ".attn.c_proj"},
    # What Gemma 2 writes to the stream comes out of the norms behind its attention and its MLP.
    "gemma2": {
        "block": "model.layers.{}",
        "attn_out": ".post_attention_layernorm",
        "mlp_out": ".post_feedforward_layernorm",
        "head": ".self_attn.o_proj",
    },
}


def chosen(span, tokens, prompt, suffix):
    """The positions of a span in a text, from its written form."""
    length, skip = len(tokens), str(span).endswith("-bos") and tokens[0] == VOCABULARY["<bos>"]
    name, _, rest = str(span).removesuffix("-bos").partition("(")
    numbers = [int(number) for number in rest.rstrip(")").split(",") if number]
    where = {
        "all": range(length),
        "prompt": range(prompt),
        "generated": range(prompt, length),
        "completion": range(prompt, length),
        "last": [prompt - 1],
        "after_instruction": range(prompt - suffix, length),
        "first": range(min(numbers[0], length)) if numbers else [],
        "positions": [
            place for place in range(length) if place in numbers or (place < prompt and place - prompt in numbers)
        ],
    }[name]
    return [position for position in where if position or not skip]


def edit_positions(hidden, step, positions):
    """Return `[1, seq, d]` hidden states with the step's formula applied at some positions."""
    part = slice(step.site.head * HEAD, (step.site.head + 1) * HEAD) if step.site.point == "head" else slice(None)
    edited = hidden.clone()
    second = None if step.second is None else step.second.double().numpy()
    for position in positions:
        value = FORMULAS[step.edit.name](
            hidden[0, position, part].double().numpy(),
            step.vector.double().numpy(),
            step.coefficient,
            second=second,
            **vars(step.edit),
        )
        edited[0, position, part] = torch.from_numpy(value).to(hidden.dtype)
    return edited


def fires(gate, hidden, position):
    """The gate's reading of one position, written out."""
    h, w = hidden[0, position].double(), gate.vector.double()
    reading = float(h @ w)
    if gate.measure == "probe":
        reading += gate.bias
    else:
        reading /= float(w.norm()) * (float(h.norm()) if gate.measure == "cosine" else 1.0)
    return (reading > gate.threshold) != gate.below


@contextmanager
def patched(module, before, changes):
    """Replace a module's forward for a while by one that changes what goes in, or what comes out."""
    forward = module.forward

    def change(hidden):
        for each in changes:
            hidden = each(hidden)
        return hidden

    def replaced(*args, **arguments):
        if before:
            if args:
                return forward(change(args[0]), *args[1:], **arguments)
            return forward(**arguments | {"hidden_states": change(arguments["hidden_states"])})
        output = forward(*args, **arguments)
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    module.forward = replaced
    try:
        yield
    finally:
        module.forward = forward


@torch.no_grad()
def plain_logits(model, family, tokens, prompt, plan):
    """Return `[seq, vocab]` logits of one text under a plan, step by step."""
    decided, readings, changes = {}, {}, {}
    for step in plan:
        if step.gate is not None:

            def decide(hidden, gate=step.gate):
                each = [fires(gate, hidden, position) for position in range(hidden.shape[1])]
                decided[id(gate)] = [each[prompt - 1]] * len(each) if gate.when == "prompt" else each
                return hidden

            readings.setdefault(module_at(model, family, step.gate.site), []).append(decide)

        span = chosen(step.span, tokens, prompt, model.suffix)

        def change(hidden, step=step, positions=span):
            return edit_positions(hidden, step, [p for p in positions if not step.gate or decided[id(step.gate)][p]])

        changes.setdefault(module_at(model, family, step.site), []).append(change)
    with ExitStack() as stack:
        for place in {**readings, **changes}:
            # What a gate reads at a place, it reads before the steps there, which act in the plan's order.
            stack.enter_context(patched(*place, [*readings.get(place, []), *changes.get(place, [])]))
        return model.hf(input_ids=torch.tensor([tokens])).logits[0]


def module_at(model, family, site):
    """The module at a site, and whether its input or its output is meant."""
    block = PARTS[family]["block"].format(site.layer)
    path = block if site.point.startswith("resid") else block + PARTS[family][site.point]
    return model.hf.get_submodule(path), site.point in ("resid_pre", "head")
