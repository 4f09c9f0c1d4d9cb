"""Run inside repeng's own environment: fit its two PCA vectors at every layer and write them to an .npz file.

python run_repeng.py MODEL_FOLDER TEXTS.json OUT.npz
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from repeng import ControlVector
from repeng.extract import DatasetEntry
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    folder, texts, out = sys.argv[1:]
    pairs = json.loads(Path(texts).read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    dataset = [DatasetEntry(*pair) for pair in pairs]
    # It leaves layer 0 out unless asked.
    layers = list(range(model.config.num_hidden_layers))
    found = {}
    for method in ("pca_diff", "pca_center"):
        np.random.seed(0)  # noqa: NPY002 - scikit-learn's randomised solver, which it uses unseeded, draws from this
        vector = ControlVector.train(model, tokenizer, dataset, method=method, hidden_layers=layers)
        found |= {f"{method}.{layer}": vector.directions[layer] for layer in layers}
    tokens = [tokenizer(text)["input_ids"] for pair in pairs for text in pair]
    np.savez(out, tokens=json.dumps(tokens), **found)


if __name__ == "__main__":
    main()
