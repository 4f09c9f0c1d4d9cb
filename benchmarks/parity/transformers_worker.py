"""Next-token logits and tokens of a folder under another transformers; runs where steersman is not installed.

python transformers_worker.py REQUEST.json ANSWER.npz
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers


@torch.inference_mode()
def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text())
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(request["threads"])
    model = transformers.AutoModelForCausalLM.from_pretrained(request["folder"], dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(request["folder"])
    tokens = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in request["texts"]]
    logits = [model(torch.tensor([row])).logits[0, -1].numpy() for row in request["rows"]]
    np.savez(sys.argv[2], logits=np.array(logits), tokens=json.dumps(tokens))


if __name__ == "__main__":
    main()
