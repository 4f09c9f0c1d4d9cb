"""lm-evaluation-harness: without a plan what its own model says, item by item; with one, what a plain hook makes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from torch import nn

from steersman.bridges.continuations import Continuation, answers
from steersman.bridges.harness import SteersmanLM
from steersman.bridges.harness_run import run_lm_eval
from steersman.bridges.lm_eval import main
from steersman.errors import InputError, InterventionError
from steersman.model.generate import Sampling
from steersman.model.load import load
from steersman.model.loaded import Model
from steersman.plan import Plan
from tiny import direction, plan

TASKS = ["local_choice", "local_rolling", "local_writing"]


def by_hf(
    pretrained: Any, include: Path, tasks: list[str], tokenizer: Any = None, **settings: Any
) -> dict[str, list[dict[str, Any]]]:
    """Return the samples of the harness's own model."""
    run: Any = lm_eval.simple_evaluate
    held = pretrained if tokenizer else str(pretrained)
    results = run(
        model=HFLM(held, tokenizer=tokenizer, dtype="float32", device="cpu", batch_size=3),
        tasks=tasks,
        bootstrap_iters=0,
        task_manager=TaskManager(include_path=str(include), include_defaults=False),
        **settings,
    )
    return results["samples"]


def same(ours: Any, theirs: Any, within: float = 1e-5) -> None:
    """Hold the answers of two runs against each other: numbers to `within` nats, or a millionth of a large sum."""
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one["arguments"] == other["arguments"]
        for mine, his in zip(one["resps"], other["resps"], strict=True):
            assert len(mine) == len(his) == 1
            if isinstance(mine[0], str):
                assert mine == his
            elif isinstance(mine[0], tuple):
                assert mine[0][0] == pytest.approx(his[0][0], abs=within, rel=1e-6)
                assert mine[0][1] == his[0][1]
            else:
                assert mine[0] == pytest.approx(his[0], abs=within, rel=1e-6)


@pytest.mark.parametrize("shots", [0, 2])
def test_unsteered_it_agrees_with_the_harness_own_model(
    plain: Model, plain_folder: Path, local_tasks: Path, shots: int
) -> None:
    theirs = by_hf(plain_folder, local_tasks, TASKS, num_fewshot=shots)
    ours = run_lm_eval(plain, Plan(), TASKS, shots=shots, include_path=local_tasks, bootstraps=0)
    for task in TASKS:
        same(ours.samples[task], theirs[task])
    assert {row["task"] for row in ours.rows} == set(TASKS)
    assert next(row["n"] for row in ours.rows if row["task"] == "local_choice") == 7


def test_the_chat_template_and_a_system_prompt_are_the_harness_own(
    chatty: Model, chat_folder: Path, local_tasks: Path
) -> None:
    asked = {"system_instruction": "Be brief.", "apply_chat_template": True, "fewshot_as_multiturn": True}
    theirs = by_hf(chat_folder, local_tasks, ["local_choice", "local_writing"], num_fewshot=1, **asked)
    ours = run_lm_eval(
        chatty, Plan(), list(theirs), shots=1, include_path=local_tasks, system="Be brief.", chat=True, bootstraps=0
    )
    for task, samples in theirs.items():
        same(ours.samples[task], samples)
        assert samples[0]["arguments"][0][0].startswith("<system>Be brief.")


def hooked(model: Model, tokens: list[int], vector: torch.Tensor, layer: int, chosen: slice) -> torch.Tensor:
    """Return all logits of a row with a vector added by a hook of our own."""

    def add(_module: nn.Module, _args: Any, output: Any) -> Any:
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        hidden[:, chosen] += vector
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = model.hf.model.layers[layer].register_forward_hook(add)
    try:
        with torch.no_grad():
            return model.hf(torch.tensor([tokens])).logits[0]
    finally:
        handle.remove()


@pytest.mark.parametrize("span", ["all", "prompt", "generated"])
def test_steered_it_says_what_a_plain_hook_makes_of_it(plain: Model, local_tasks: Path, span: str) -> None:
    steering = plan(3, [1], span=span)
    result = run_lm_eval(plain, steering, ["local_choice"], include_path=local_tasks, bootstraps=0)
    vector = steering.steps[0].vector
    for sample in result.samples["local_choice"]:
        for (context, option), [(logprob, _)] in zip(sample["arguments"], sample["resps"], strict=True):
            head = plain.tokenizer(context)["input_ids"]
            tail = plain.tokenizer(option, add_special_tokens=False)["input_ids"]
            chosen = {"all": slice(None), "prompt": slice(len(head)), "generated": slice(len(head), None)}[span]
            logits = hooked(plain, [*head, *tail], vector, 1, chosen)[len(head) - 1 : -1]
            expected = logits.log_softmax(-1)[range(len(tail)), tail].sum()
            assert logprob == pytest.approx(float(expected), abs=1e-4)


def test_coefficient_0_is_the_plain_model_to_the_bit(plain: Model, local_tasks: Path) -> None:
    runs = [
        run_lm_eval(plain, each, TASKS, include_path=local_tasks, bootstraps=0).samples
        for each in (Plan(), plan(3, [1], coefficient=0.0), plan(3, [1]))
    ]
    said = [{task: [sample["resps"] for sample in run[task]] for task in TASKS} for run in runs]
    assert said[0] == said[1]
    assert all(said[0][task] != said[2][task] for task in TASKS)


def instance(kind: str, *arguments: Any) -> Any:
    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0, metadata=("made up", 0, 1))  # type: ignore[arg-type]


def test_blanks_that_end_a_context_are_scored_and_still_are_the_prompt(plain: Model) -> None:
    steered, bare = SteersmanLM(plain, plan(3, [1], span="prompt")), SteersmanLM(plain)
    [(found, _)] = steered.loglikelihood([instance("loglikelihood", "Say: ", "ab")], disable_tqdm=True)
    [(other, _)] = bare.loglikelihood([instance("loglikelihood", "Say: ", "ab")], disable_tqdm=True)
    head, tail = plain.tokenizer("Say:")["input_ids"], plain.tokenizer(" ab", add_special_tokens=False)["input_ids"]
    vector = plan(3, [1]).steps[0].vector
    # The blank is scored with the continuation, as the harness does, and steered with the prompt, which it is part of.
    logits = hooked(plain, [*head, *tail], vector, 1, slice(len(head) + 1))[len(head) - 1 : -1]
    assert found == pytest.approx(float(logits.log_softmax(-1)[range(3), tail].sum()), abs=1e-4)
    assert found != pytest.approx(other, abs=1e-2)


def test_texts_longer_than_the_context_lose_their_beginning(plain: Model) -> None:
    short = SteersmanLM(plain, max_length=16)
    text, option = "A long story about a fox and a goose", " went"
    [found] = short.loglikelihood([instance("loglikelihood", text, option)], disable_tqdm=True)
    head = plain.tokenizer(text)["input_ids"]
    tail = plain.tokenizer(option, add_special_tokens=False)["input_ids"]
    row = [*head, *tail][-17:]
    with torch.no_grad():
        logits = plain.hf(torch.tensor([row[:-1]])).logits[0, -len(tail) :]
    assert found[0] == pytest.approx(float(logits.log_softmax(-1)[range(len(tail)), tail].sum()), abs=1e-4)
    with pytest.raises(InputError, match="expected a continuation of 1 to 16 tokens"):
        short.loglikelihood([instance("loglikelihood", "a", "b" * 17)], disable_tqdm=True)
    whole = SteersmanLM(plain).loglikelihood_rolling([instance("loglikelihood_rolling", text)], disable_tqdm=True)
    windows = short.loglikelihood_rolling([instance("loglikelihood_rolling", text)], disable_tqdm=True)
    assert whole != windows


def test_answers_do_not_depend_on_batches_and_share_what_they_can(plain: Model) -> None:
    rows = [Continuation.of([1, 9, 10], tail, 64) for tail in ([11], [12], [13, 14], [11, 15, 16])]
    rows += [Continuation.of([1, 9, 10, 13], [20], 64, 3)]  # shares its tokens with another row, and its prompt not
    one, many = (answers(plain, rows, plan(3, [1], span="last"), batch_size=size) for size in (1, 5))
    assert [each.logprob for each in one] == pytest.approx([each.logprob for each in many], abs=1e-5)
    assert [each.greedy for each in one] == [each.greedy for each in many]
    seen: list[int] = []
    answers(plain, rows, Plan(), batch_size=1, notify=seen.append)
    assert sorted(seen) == [1, 2, 2]


def test_a_step_that_nothing_read_could_show_is_refused(plain: Model, chatty: Model) -> None:
    late = SteersmanLM(plain, plan(3, [1], span="generated"))
    with pytest.raises(InputError, match="expected a span that holds tokens of the prompt, got 'generated'"):
        late.loglikelihood([instance("loglikelihood", "Say", "a")], disable_tqdm=True)
    after = SteersmanLM(chatty, plan(3, [1], span="after_instruction"))
    with pytest.raises(InputError, match="expected prompts in the chat template for the span after_instruction"):
        after.loglikelihood([instance("loglikelihood", "Say", " a")], disable_tqdm=True)
    asked = after.apply_chat_template([{"role": "user", "content": "Say"}])
    assert after.loglikelihood([instance("loglikelihood", asked, " a")], disable_tqdm=True)


def test_written_texts_are_ours_cut_at_the_first_stop(plain: Model) -> None:
    steering = plan(3, [1])
    settings = {"until": ["q", "zz"], "max_gen_toks": 15}
    [found] = SteersmanLM(plain, steering).generate_until(
        [instance("generate_until", "A fox", settings)], disable_tqdm=True
    )
    [whole] = plain.complete(["A fox"], [steering], Sampling(15), chat=False)
    assert found == whole.text.split("q")[0].split("zz")[0]
    drawn = {"max_gen_toks": 8, "do_sample": True, "temperature": 1.5, "top_p": 0.9}
    asked = [instance("generate_until", "A fox", drawn) for _ in range(3)]
    texts = SteersmanLM(plain, seed=4).generate_until(asked, disable_tqdm=True)
    assert len(set(texts)) == 3
    assert texts == SteersmanLM(plain, seed=4, batch_size=3).generate_until(asked, disable_tqdm=True)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"num_beams": 4}, "expected generation settings among until, .*, got num_beams"),
        ({"do_sample": True, "temperature": 1.0, "top_k": 5}, "got top_k"),
        ({"do_sample": True}, "expected a temperature above 0 with do_sample, got 0"),
        ({"max_gen_toks": 256}, "expected max_gen_toks from 1 to 255, .* got 256"),
    ],
)
def test_settings_that_would_change_a_text_unnoticed_are_refused(
    plain: Model, settings: dict[str, Any], sentence: str
) -> None:
    asked = [instance("generate_until", "A", {"max_gen_toks": 8} | settings)]
    with pytest.raises(InputError, match=sentence):
        SteersmanLM(plain).generate_until(asked, disable_tqdm=True)


def test_a_response_cache_of_another_plan_is_refused(plain: Model, tmp_path: Path) -> None:
    for steering in (Plan(), Plan()):
        CachingLM(SteersmanLM(plain, steering), str(tmp_path / "cache.db")).dbdict.close()
    with pytest.raises(InputError, match=r"expected a response cache .* of the same model and plan"):
        CachingLM(SteersmanLM(plain, plan(3, [1])), str(tmp_path / "cache.db"))


def test_it_is_made_from_model_arguments(plain_folder: Path, direction_file: Path, plain: Model) -> None:
    made = SteersmanLM.create_from_arg_string(
        f"model={plain_folder},direction={direction_file},layer=1,coefficient=0.5,unit=raw,dtype=float32",
        {"batch_size": "auto", "device": None},
    )
    assert made.steered.plan == Plan(direction(1, [1, 2]).at(1), coefficient=0.5, unit="raw")
    assert made.get_model_info()["steersman"]["digest"] == made.steered.plan.digest()
    assert made.tokenizer_name == str(plain_folder).replace("/", "__")
    with pytest.raises(InputError, match="expected a batch size of at least 1, or auto, got 0"):
        SteersmanLM(plain, batch_size=0)
    with pytest.raises(InputError, match="expected a Plan beside a loaded model"):
        SteersmanLM(plain, "plan.safetensors")
    with pytest.raises(InputError, match="expected a model with a chat template"):
        SteersmanLM(plain).apply_chat_template([{"role": "user", "content": "Hi"}])


def test_the_command_knows_the_model(
    plain_folder: Path, direction_file: Path, local_tasks: Path, tmp_path: Path
) -> None:
    arguments = f"model={plain_folder},direction={direction_file},layer=1,coefficient=2,unit=raw,dtype=float32"
    command = [sys.executable, "-m", "steersman.bridges.lm_eval", "run", "--model", "steersman", "--model_args"]
    command += [arguments, "--tasks", str(local_tasks / "local_choice.yaml"), "--output_path", str(tmp_path)]
    ran = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=400
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "local_choice" in ran.stdout
    [path] = tmp_path.rglob("results_*.json")
    config = json.loads(path.read_text(encoding="utf-8"))["config"]
    assert config["model"] == "steersman"
    assert config["steersman"]["plan"][0]["coefficient"] == 2


def test_the_command_ends_with_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for error, code in ((InputError("expected this,\ngot that"), 2), (InterventionError("never applied"), 1)):

        def fail(error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("lm_eval.__main__.cli_evaluate", fail)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
        assert capsys.readouterr().err == f"steersman-lm-eval: {' '.join(str(error).split())}\n"


@pytest.mark.slow
def test_on_the_default_model_both_agree_and_steering_shows(local_tasks: Path) -> None:
    model = load(dtype="float32")
    theirs = by_hf(model.hf, local_tasks, TASKS, tokenizer=model.tokenizer, num_fewshot=1)
    ours = run_lm_eval(model, Plan(), TASKS, shots=1, include_path=local_tasks, bootstraps=0)
    for task in TASKS:
        same(ours.samples[task], theirs[task], 1e-4)
    made = direction(1, [12], depth=model.depth, width=model.width)
    steered = run_lm_eval(model, Plan(made, coefficient=8.0), TASKS, shots=1, include_path=local_tasks, bootstraps=0)
    for task in TASKS:
        before, after = ([sample["resps"] for sample in run.samples[task]] for run in (ours, steered))
        assert before != after
