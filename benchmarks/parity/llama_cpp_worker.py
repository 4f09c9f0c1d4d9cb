"""The other engine's side: next-token logits from llama.cpp alone; runs where steersman is not installed.

python llama_cpp_worker.py REQUEST.json ANSWER.npy

The request names a GGUF model, rows of token ids, and for each setting a control vector file or null. The vector's file
is opened with llama.cpp's own GGUF reader. What turns it into the buffer of `llama_set_adapter_cvec` is in llama.cpp's
`common` library, which the Python package does not ship; it is done here by the same rules: `direction.k` goes to place
k - 1 of the buffer, files with `direction.0`, other types or other shapes are refused whole.
"""

import ctypes
import json
import sys
from pathlib import Path

import llama_cpp
import numpy as np

F32 = 0  # GGML_TYPE_F32


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text())
    llama_cpp.llama_backend_init()
    quiet = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(quiet, None)
    weights = llama_cpp.llama_model_load_from_file(request["model"].encode(), model_settings())
    if not weights:
        raise SystemExit(f"llama.cpp cannot load {request['model']}")
    context = llama_cpp.llama_init_from_model(weights, context_settings(max(map(len, request["rows"])), request))
    width, depth = llama_cpp.llama_model_n_embd(weights), llama_cpp.llama_model_n_layer(weights)
    size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(weights))
    answers = []
    for vector in request["vectors"]:
        set_vector(context, vector, width, depth)
        answers.append([next_token(context, row, size) for row in request["rows"]])
    np.save(sys.argv[2], np.array(answers, dtype=np.float32))


def model_settings() -> llama_cpp.llama_model_params:
    settings = llama_cpp.llama_model_default_params()
    settings.n_gpu_layers = 0
    return settings


def context_settings(longest: int, request: dict) -> llama_cpp.llama_context_params:
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = max(64, longest)
    settings.n_threads = settings.n_threads_batch = request["threads"]
    # By default both are float16, and logits differ by some hundredths.
    settings.type_k = settings.type_v = F32
    settings.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return settings


def set_vector(context: int, path: str | None, width: int, depth: int) -> None:
    if path is None:
        code = llama_cpp.llama_set_adapter_cvec(context, None, 0, 0, 0, 0)
    else:
        buffer = np.zeros((depth - 1, width), dtype=np.float32)
        for layer, vector in directions(path).items():
            if vector.shape != (width,) or layer >= depth:
                raise SystemExit(f"{path}: direction.{layer} of shape {vector.shape} does not fit the model")
            buffer[layer - 1] += vector
        pointer = buffer.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        code = llama_cpp.llama_set_adapter_cvec(context, pointer, buffer.size, width, 1, depth)
    if code:
        raise SystemExit(f"llama.cpp refused the control vector {path} ({code})")


def directions(path: str) -> dict[int, np.ndarray]:
    """Return a control vector's tensors by layer, read by llama.cpp's own GGUF code."""
    library = next((Path(llama_cpp.__file__).parent / "lib").glob("*ggml-base*"))
    ggml = ctypes.CDLL(str(library))

    class Settings(ctypes.Structure):
        _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))

    handle, number = ctypes.c_void_p, ctypes.c_int64
    for name, result, arguments in (
        ("gguf_init_from_file", handle, [ctypes.c_char_p, Settings]),
        ("gguf_get_n_tensors", number, [handle]),
        ("gguf_get_tensor_name", ctypes.c_char_p, [handle, number]),
        ("gguf_get_tensor_type", ctypes.c_int, [handle, number]),
        ("gguf_get_tensor_size", ctypes.c_size_t, [handle, number]),
        ("gguf_get_tensor_offset", ctypes.c_size_t, [handle, number]),
        ("gguf_get_data_offset", ctypes.c_size_t, [handle]),
        ("gguf_free", None, [handle]),
    ):
        function = getattr(ggml, name)
        function.restype, function.argtypes = result, arguments
    file = ggml.gguf_init_from_file(path.encode(), Settings(True, None))
    if not file:
        raise SystemExit(f"llama.cpp cannot read {path}")
    content, found = Path(path).read_bytes(), {}
    for index in range(ggml.gguf_get_n_tensors(file)):
        name = ggml.gguf_get_tensor_name(file, index).decode()
        prefix, _, layer = name.partition(".")
        if prefix != "direction" or not layer.isdigit() or int(layer) == 0:
            raise SystemExit(f"{path}: llama.cpp refuses a control vector with the tensor {name!r}")
        if ggml.gguf_get_tensor_type(file, index) != F32:
            raise SystemExit(f"{path}: llama.cpp refuses a control vector that is not float32")
        start = ggml.gguf_get_data_offset(file) + ggml.gguf_get_tensor_offset(file, index)
        found[int(layer)] = np.frombuffer(content, np.float32, ggml.gguf_get_tensor_size(file, index) // 4, start)
    ggml.gguf_free(file)
    return found


def next_token(context: int, row: list[int], size: int) -> np.ndarray:
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    tokens = (llama_cpp.llama_token * len(row))(*row)
    if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, len(row))):
        raise SystemExit("llama.cpp could not decode a row")
    return np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, -1), shape=(size,)).copy()


if __name__ == "__main__":
    main()
