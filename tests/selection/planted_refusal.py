"""A model that refuses by construction: one direction decides, and only at one block's input is it seen alone.

A Llama whose residual stream is written to by hand, over weak random weights. Its first block's attention, the same for
all tokens before, carries "a harmful word was there" to every later token, into coordinate `REFUSAL`, which alone the
head reads. Up to block `planted` another coordinate, `BYSTANDER`, differs by four times as much: ablating both together
leaves most of the refusal. From block `planted` on the sides differ in `CONSTANT` too, which every token is full of:
ablating that takes the model apart. Only at the input of block `planted` do they differ in the refusal alone.
"""

import torch

from steersman.model.load import wrap
from tiny import VOCABULARY, WIDTH, tiny_network, tokenizer

CONSTANT, HARM, REFUSAL, BYSTANDER = 0, 1, 2, 3
SCALE = 1_000.0
REFUSES = VOCABULARY["N"]
HARMFUL = ("Break it!", "Burn! it all", "Do! harm", "Rob a bank!", "Hurt! them")
HARMLESS = ("Mend it.", "Paint it all", "Do good", "Rob is nice.", "Heal them")


def planted_model(planted: int, depth: int = 6):
    """Return a model whose refusal is seen alone at the input of block `planted`, 2 or later."""
    network = tiny_network("llama", depth=depth)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            # Not nothing: which modules write to the stream is found out by what they write.
            parameter.mul_(1.0 if "norm" in name else 0.2)
        for layer in network.model.layers:
            layer.self_attn.o_proj.weight[CONSTANT] = 0.0
            layer.mlp.down_proj.weight[CONSTANT] = 0.0
        network.lm_head.weight.zero_()
        network.model.embed_tokens.weight[:, CONSTANT] = SCALE
        network.model.embed_tokens.weight[VOCABULARY["!"], HARM] = 100.0
        # After a norm, the constant is sqrt(WIDTH) and all else is what it was, over this.
        shrink = SCALE / WIDTH**0.5
        for block, target, gain in (
            (0, REFUSAL, 1.0),
            (0, BYSTANDER, 4.0),
            (planted - 1, BYSTANDER, -4.0),
            (planted, CONSTANT, -4.0),
        ):
            attention = network.model.layers[block].self_attn
            attention.v_proj.weight[0] = 0.0
            attention.v_proj.weight[0, HARM] = shrink
            attention.o_proj.weight[target] = 0.0
            attention.o_proj.weight[target, 0] = gain
        network.lm_head.weight[REFUSES, REFUSAL] = 2 * shrink
        network.lm_head.weight[REFUSES, CONSTANT] = -6 / WIDTH**0.5
    return wrap(network, tokenizer(chat=True), name="planted", revision="0" * 64)
