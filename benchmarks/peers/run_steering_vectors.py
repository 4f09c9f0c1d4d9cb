"""Run inside steering-vectors' own environment: fit its mean vector at every layer and write it to an .npz file.

python run_steering_vectors.py MODEL_FOLDER TEXTS.json OUT.npz
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from steering_vectors import train_steering_vector
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    folder, texts, out = sys.argv[1:]
    pairs = [tuple(pair) for pair in json.loads(Path(texts).read_text(encoding="utf-8"))]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    vector = train_steering_vector(model, tokenizer, pairs, batch_size=16)
    found = {f"mean.{layer}": values.numpy() for layer, values in vector.layer_activations.items()}
    tokens = [tokenizer(text)["input_ids"] for pair in pairs for text in pair]
    np.savez(out, tokens=json.dumps(tokens), **found)


if __name__ == "__main__":
    main()
