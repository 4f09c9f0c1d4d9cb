"""Inspect AI: the provider is found by its entry point, answers as `model.generate` does, and the log says the plan."""

import asyncio
import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    ContentImage,
    ContentText,
    GenerateConfig,
    ModelOutput,
)
from inspect_ai.tool import ToolInfo

from steersman.bridges.provider import SteersmanAPI
from steersman.errors import InputError, InterventionError
from steersman.model.generate import Sampling, generate_tokens
from steersman.model.loaded import Model
from steersman.plan import Plan
from tiny import PROMPTS, direction

STEERING = {"layer": 1, "coefficient": 1.0, "unit": "raw"}


@pytest.fixture(scope="module")
def api(chat_folder: Path, direction_file: Path) -> SteersmanAPI:
    return SteersmanAPI(str(chat_folder), dtype="float32", direction=str(direction_file), batch_size=3, **STEERING)


@pytest.fixture(scope="module")
def steering() -> Plan:
    return Plan(direction(1, [1, 2]).at(1), coefficient=1.0, unit="raw")


def ask(api: SteersmanAPI, *conversations: list[ChatMessage], **settings: Any) -> list[ModelOutput]:
    """Return the answers to conversations that are all asked at once."""

    async def together() -> list[ModelOutput]:
        config = GenerateConfig(**settings)
        return await asyncio.gather(*(api.generate(each, [], "none", config) for each in conversations))

    return asyncio.run(together())


def user(text: str) -> list[ChatMessage]:
    return [ChatMessageUser(content=text)]


def test_answers_are_those_of_generate_under_the_same_plan(api: SteersmanAPI, chatty: Model, steering: Plan) -> None:
    found = ask(api, *map(user, PROMPTS), max_tokens=9)
    expected = chatty.generate(PROMPTS, steering, max_new_tokens=9)
    assert [each.completion for each in found] == expected
    assert expected != chatty.generate(PROMPTS, max_new_tokens=9)
    systems = ask(api, [ChatMessageSystem(content="Be kind."), *user(PROMPTS[0])], max_tokens=9)
    assert systems[0].completion == chatty.generate(PROMPTS[0], steering, max_new_tokens=9, system="Be kind.")[0]


def test_sampling_draws_as_generate_does_and_anew_each_time(api: SteersmanAPI, chatty: Model, steering: Plan) -> None:
    settings = {"max_tokens": 12, "temperature": 1.3, "top_p": 0.95, "seed": 5}
    first, again = (ask(api, user("Draw!"), **settings)[0].completion for _ in range(2))
    [expected] = chatty.generate("Draw!", steering, max_new_tokens=12, temperature=1.3, top_p=0.95, seed=5)
    assert first == expected != again
    several = ask(api, user("Several!"), num_choices=3, **settings)[0]
    assert len({choice.message.text for choice in several.choices}) == 3


def test_a_conversation_is_the_templates(api: SteersmanAPI, chatty: Model, steering: Plan) -> None:
    turns: list[ChatMessage] = [
        ChatMessageUser(content="Hi"),
        ChatMessageAssistant(content="Hello."),
        ChatMessageUser(content=[ContentText(text="And"), ContentText(text="you?")]),
    ]
    text = "<user>Hi<eos><assistant>Hello.<eos><user>And\nyou?<eos><assistant>"
    written = ask(api, turns, max_tokens=9)[0]
    tokens = chatty.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert written.usage is not None
    assert written.usage.input_tokens == len(tokens)
    [expected] = generate_tokens(chatty, [tokens], [steering], Sampling(9), keys=[""])
    assert written.completion == expected.text


def test_stop_sequences_end_an_answer_and_limits_are_told(api: SteersmanAPI) -> None:
    [whole] = ask(api, user("Hi"), max_tokens=20)
    stop = whole.completion[5:7]
    [cut] = ask(api, user("Hi"), max_tokens=20, stop_seqs=[stop])
    assert cut.completion == whole.completion.split(stop)[0]
    assert cut.stop_reason == "stop"
    assert whole.stop_reason == "max_tokens"
    assert whole.usage is not None
    assert whole.usage.output_tokens == 20
    [long] = ask(api, user("x" * 300), max_tokens=5)
    assert (long.stop_reason, long.completion) == ("model_length", "")


def test_logprobs_are_those_of_the_steered_model(api: SteersmanAPI, chatty: Model, steering: Plan) -> None:
    [found] = ask(api, user("Hi"), max_tokens=6, logprobs=True, top_logprobs=2)
    [score] = chatty.score("Hi", [found.completion], steering)
    assert found.choices[0].logprobs is not None
    content = found.choices[0].logprobs.content
    assert [each.logprob for each in content] == pytest.approx(list(score.tokens), abs=1e-4)
    assert all(each.top_logprobs and each.top_logprobs[0].logprob == each.logprob for each in content)  # greedy


def test_what_it_cannot_do_is_said_in_a_sentence(api: SteersmanAPI, plain_folder: Path) -> None:
    tool = ToolInfo(name="search", description="finds")
    with pytest.raises(InputError, match=r"expected no tools, .* got search"):
        asyncio.run(api.generate(user("Hi"), [tool], "auto", GenerateConfig()))
    with pytest.raises(InputError, match="expected a conversation of text, got a message with image"):
        ask(api, [ChatMessageUser(content=[ContentImage(image="data:image/png;base64,AAAA")])])
    with pytest.raises(InputError, match="got a tool call"):
        ask(api, [*user("Hi"), ChatMessageTool(content="4")])
    with pytest.raises(InputError, match="got top_k"):
        ask(api, user("Hi"), top_k=3)
    bare = SteersmanAPI(str(plain_folder), dtype="float32")
    with pytest.raises(InputError, match="which has no chat template, got user, assistant, user"):
        ask(bare, [*user("Hi"), ChatMessageAssistant(content="Yes?"), *user("Bye")])
    with pytest.raises(InputError, match="expected a batch_size of at least 1"):
        SteersmanAPI(str(plain_folder), batch_size=0)


def test_a_plan_that_never_acts_is_an_error_of_its_own_request(chat_folder: Path, direction_file: Path) -> None:
    late = SteersmanAPI(
        str(chat_folder), dtype="float32", direction=str(direction_file), span="positions(200)", **STEERING
    )
    with pytest.raises(InterventionError, match="never applied"):
        ask(late, user("Hi"), max_tokens=3)


def test_the_entry_point_names_the_provider() -> None:
    [found] = entry_points(group="inspect_ai", name="steersman")
    assert found.value == "steersman.bridges.provider"


TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import match
from inspect_ai.solver import generate

@task
def foxes():
    return Task(dataset=[Sample(input=text, target="x") for text in {prompts!r}], solver=generate(), scorer=match())
"""


def test_the_inspect_command_runs_it_and_its_log_says_the_plan(
    chat_folder: Path, direction_file: Path, tmp_path: Path, chatty: Model, steering: Plan
) -> None:
    (tmp_path / "foxes.py").write_text(TASK.format(prompts=PROMPTS[:3]), encoding="utf-8")
    arguments = {"direction": direction_file, "dtype": "float32", **STEERING}
    command = [str(Path(sys.executable).with_name("inspect")), "eval", "foxes.py", "--log-format", "json"]
    command += ["--model", f"steersman/{chat_folder}", "--max-tokens", "8", "--display", "none", "--log-dir", "logs"]
    command += [part for name, value in arguments.items() for part in ("-M", f"{name}={value}")]
    ran = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=400
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    [path] = (tmp_path / "logs").glob("*.json")
    log = json.loads(path.read_text(encoding="utf-8"))
    assert log["status"] == "success"
    assert log["eval"]["model_args"]["direction"] == str(direction_file)
    outputs = [sample["output"] for sample in sorted(log["samples"], key=lambda each: each["id"])]
    assert [each["choices"][0]["message"]["content"] for each in outputs] == chatty.generate(
        PROMPTS[:3], steering, max_new_tokens=8
    )
    assert {each["metadata"]["steersman"]["digest"] for each in outputs} == {steering.digest()}
