"""The official client against a server that really runs: what it gets is what the model says."""

import base64
import random
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
import torch
from openai import OpenAI
from running import NAME, client_of, running

from steersman.activations import Origin
from steersman.direction import Direction
from steersman.edits import Ablate, Clamp, Rotate
from steersman.files import save_plan
from steersman.gates import Gate
from steersman.model.load import load
from steersman.plan import Plan
from steersman.range import Range
from steersman.serving import Shelf
from steersman.where import Site
from tiny import PROMPTS, direction, plan, tiny_model

SPANS = ("all", "prompt", "generated", "last", "first(3)")


def chat(client: OpenAI, prompt: str, steering=None, **more):
    extra = {} if steering is None else {"steering": steering}
    turns = [{"role": "user", "content": prompt}]
    return client.chat.completions.create(model=NAME, messages=turns, extra_body=extra, **{"max_tokens": 12, **more})


def said(answer) -> str:
    return answer.choices[0].message.content


def streamed(pieces, index=0) -> str:
    return "".join(
        piece.choices[0].delta.content or "" for piece in pieces if piece.choices and piece.choices[0].index == index
    )


def test_the_model_is_listed_and_described(client, chatty):
    (listed,) = client.models.list().data
    assert listed.id == chatty.name == client.models.retrieve(chatty.name).id
    with pytest.raises(openai.NotFoundError, match="expected the model"):
        client.models.retrieve("gpt-4")


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_plain_answer_is_what_generate_says(client, chatty, prompt):
    answer = chat(client, prompt)
    assert [said(answer)] == chatty.generate(prompt, max_new_tokens=12)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert streamed(chat(client, prompt, stream=True)) == said(answer)
    text = client.completions.create(model=NAME, prompt=prompt, max_tokens=12)
    bare = tiny_model("llama")
    assert [text.choices[0].text] == bare.generate(prompt, max_new_tokens=12)
    pieces = client.completions.create(model=NAME, prompt=prompt, max_tokens=12, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == text.choices[0].text


def test_a_chat_of_several_turns_is_written_by_the_template(client, chatty):
    turns = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": [{"type": "text", "text": "Why"}, {"type": "text", "text": "?"}]},
    ]
    answer = client.chat.completions.create(model=NAME, messages=turns, max_completion_tokens=9)
    turns[0]["role"], turns[3]["content"] = "system", "Why?"
    ids = chatty.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    text = client.completions.create(model=NAME, prompt=list(ids), max_tokens=9)
    assert said(answer) == text.choices[0].text
    assert answer.usage.prompt_tokens == len(ids)
    with_system = chat(client, "Hi")
    assert with_system.usage.prompt_tokens < answer.usage.prompt_tokens


@pytest.mark.parametrize("span", SPANS)
def test_a_steered_answer_is_what_generate_says_with_that_plan(client, chatty, span):
    plan = Plan(direction(1, [1]), span=span, coefficient=0.8)
    wanted = chatty.generate(PROMPTS[0], plan, max_new_tokens=12)
    asked = [{"direction": "one", "coefficient": 0.8, "span": span}]
    answer = chat(client, PROMPTS[0], asked)
    assert [said(answer)] == wanted
    assert [said(answer)] != chatty.generate(PROMPTS[0], max_new_tokens=12) or span == "last"
    assert streamed(chat(client, PROMPTS[0], asked, stream=True)) == said(answer)
    (step,) = answer.steering["steps"]
    assert (step["site"], step["coefficient"], step["unit"]) == ("resid_post.1", 0.8, "norm")


def test_steering_of_every_kind(client, chatty):
    many, one = direction(2, [0, 1, 2]), direction(1, [1])
    gate = Gate(Site(0), many.at(0).vectors[Site(0)].float(), -1e6, below=True)
    kinds = [
        ([{"direction": "many", "coefficient": 2, "layer": 2, "unit": "raw"}],
         Plan(many.at(2), coefficient=2, unit="raw")),
        ([{"direction": "many", "coefficient": 0.4, "layer": [0, "resid_post.2"]}],
         Plan(many.at(0, 2), coefficient=0.4)),
        ([{"direction": "one", "coefficient": 1, "edit": "ablate"}], Plan(one, Ablate(), coefficient=1)),
        ([{"direction": "one", "coefficient": 1, "edit": "clamp", "value": 0.5, "side": "below"}],
         Plan(one, Clamp(0.5, "below"), coefficient=1)),
        ([{"direction": "one", "coefficient": 1, "edit": "rotate", "degrees": 30, "toward": "many"}],
         Plan(one, Rotate(30.0), coefficient=1, second=many.at(1))),
        ([{"direction": "one", "coefficient": 0.5}, {"direction": "many", "layer": 2, "coefficient": -0.5}],
         Plan(one, coefficient=0.5) + Plan(many.at(2), coefficient=-0.5)),
        ([{"direction": "one", "coefficient": 0.9,
           "gate": {"direction": "many", "layer": 0, "threshold": -1e6, "below": True}}],
         Plan(one, coefficient=0.9, gate=gate)),
        ([], Plan()),
    ]  # fmt: skip
    for asked, made in kinds:
        answer = chat(client, PROMPTS[2], asked)
        assert [said(answer)] == chatty.generate(PROMPTS[2], made, max_new_tokens=12), asked
        assert answer.steering["gates"] == ([{"resid_post.0": False}] if "gate" in str(asked) else [{}])


def test_a_whole_plan_travels_as_its_file(client, chatty, tmp_path):
    made = plan(3, [0, 2], span="generated") + plan(4, [1], coefficient=-0.5)
    content = save_plan(made, tmp_path / "plan.safetensors").read_bytes()
    asked = {"plan": base64.b64encode(content).decode()}
    assert [said(chat(client, "Hi", asked))] == chatty.generate("Hi", made, max_new_tokens=12)
    for broken, words in (
        (content[:-9], "damaged"),
        (content[:300] + b"x" + content[301:], "the plan"),
        (b"/etc/passwd", "damaged"),
    ):
        with pytest.raises(openai.BadRequestError, match=words):
            chat(client, "Hi", {"plan": base64.b64encode(broken).decode()})
    with pytest.raises(openai.BadRequestError, match="base64"):
        chat(client, "Hi", {"plan": "/etc/passwd"})


def test_what_a_direction_recommends_is_taken_and_beyond_it_is_warned(chatty):
    found = Range(Site(1), 1, tried=1.0, recommended=0.4, alarm=0.7)
    own = Shelf({"known": direction(2, [0, 1, 2]).with_ranges(found)}, chatty)
    with running(chatty, own) as server, client_of(server) as client:
        answer = chat(client, "Hi", [{"direction": "known"}])
        assert [said(answer)] == chatty.generate(
            "Hi", Plan(direction(2, [0, 1, 2]).at(1), coefficient=0.4), max_new_tokens=12
        )
        assert answer.steering["warnings"] == []
        (warning,) = chat(client, "Hi", [{"direction": "known", "coefficient": 0.9}]).steering["warnings"]
        assert "0.7" in warning
        described = client.get("/steering/known", cast_to=object)
        assert described["recommended"]["coefficient"] == 0.4
        assert described["recommended"]["limit"] == 0.7
        assert [each["site"] for each in described["sites"]] == ["resid_post.0", "resid_post.1", "resid_post.2"]
        assert [each["id"] for each in client.get("/steering", cast_to=object)["data"]] == ["known"]


def test_sixty_four_at_once_with_sixty_four_plans_are_each_as_if_alone(server, chatty):
    dice = random.Random(0)
    asked = [
        {"direction": "many", "coefficient": round(dice.uniform(-1.5, 1.5), 3), "layer": dice.choice([0, 1, 2]),
         "span": dice.choice(SPANS)}
        for _ in range(64)
    ]  # fmt: skip
    prompts = [dice.choice(PROMPTS) + "!" * (number % 3) for number in range(64)]
    lengths = [dice.randrange(3, 20) for _ in range(64)]
    whole = direction(2, [0, 1, 2])
    plans = [Plan(whole.at(each["layer"]), span=each["span"], coefficient=each["coefficient"]) for each in asked]
    assert len({each.digest() for each in plans}) == 64
    with client_of(server) as client, ThreadPoolExecutor(64) as pool:

        def one(number: int) -> str:
            how = {"max_tokens": lengths[number], "steering": [asked[number]]}
            if number % 2:
                return streamed(chat(client, prompts[number], stream=True, **how))
            return said(chat(client, prompts[number], **how))

        answers = list(pool.map(one, range(64)))
    for number, answer in enumerate(answers):
        assert [answer] == chatty.generate(prompts[number], plans[number], max_new_tokens=lengths[number])


def test_sampling_is_seeded_as_generate_is(client, chatty):
    how = {"temperature": 1.2, "top_p": 0.9, "seed": 5}
    wanted = chatty.generate("Hi", max_new_tokens=12, **how)
    assert [said(chat(client, "Hi", **how))] == wanted
    answer = chat(client, "Hi", n=3, **how)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) == 3
    assert [said(answer)] == wanted
    pieces = list(chat(client, "Hi", n=3, stream=True, **how))
    assert [streamed(pieces, index) for index in range(3)] == [choice.message.content for choice in answer.choices]
    free = {said(chat(client, "Hi", temperature=1.5)) for _ in range(3)}
    assert len(free) > 1


def test_stop_texts_and_limits_end_an_answer(client, chatty):
    (whole,) = chatty.generate(PROMPTS[0], max_new_tokens=12)
    answer = chat(client, PROMPTS[0], stop=[whole[4:6], "never said"])
    assert said(answer) == whole[: whole.index(whole[4:6])]
    assert answer.choices[0].finish_reason == "stop"
    assert chat(client, PROMPTS[0], max_tokens=3).choices[0].finish_reason == "length"
    assert chat(client, PROMPTS[0], max_tokens=3).usage.completion_tokens == 3


def test_usage_at_the_end_of_a_stream(client):
    pieces = list(chat(client, "Hi", stream=True, stream_options={"include_usage": True}))
    whole = chat(client, "Hi")
    assert pieces[-1].choices == []
    assert pieces[-1].usage == whole.usage
    assert all(piece.usage is None for piece in pieces[:-1])
    assert pieces[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert pieces[0].choices[0].delta.role == "assistant"


@torch.inference_mode()
def test_log_probabilities(client, chatty):
    answer = chat(client, "Hi", logprobs=True, top_logprobs=4, max_tokens=5)
    content = answer.choices[0].logprobs.content
    assert "".join(each.token for each in content) == said(answer)
    ids = chatty.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, return_dict=False
    )
    first = chatty.hf(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    assert content[0].logprob == pytest.approx(float(first.max()), abs=1e-4)
    assert [each.logprob for each in content[0].top_logprobs] == pytest.approx(first.topk(4).values.tolist(), abs=1e-4)
    text = client.completions.create(model=NAME, prompt="Hi", logprobs=2, max_tokens=5)
    told = text.choices[0].logprobs
    assert "".join(told.tokens) == text.choices[0].text
    assert told.text_offset == [0, 1, 2, 3, 4]
    for each, own in zip(told.top_logprobs, told.token_logprobs, strict=True):
        assert len(each) == 2
        assert max(each.values()) == own


def test_several_prompts_of_texts(client):
    bare = tiny_model("llama")
    answer = client.completions.create(model=NAME, prompt=["Hi", "2+2="], max_tokens=6, n=1)
    assert [choice.text for choice in answer.choices] == bare.generate(["Hi", "2+2="], max_new_tokens=6)
    assert answer.usage.prompt_tokens == 3 + 5


def test_a_model_without_a_template_answers_texts_and_refuses_chats():
    bare = tiny_model("gpt2")
    with running(bare) as server, client_of(server) as client:
        text = client.completions.create(model=NAME, prompt="Hi", max_tokens=6)
        assert [text.choices[0].text] == bare.generate("Hi", max_new_tokens=6)
        with pytest.raises(openai.BadRequestError, match="chat template"):
            chat(client, "Hi")


@pytest.mark.slow
def test_the_default_model_is_served_steered_and_plain():
    model = load(dtype="float32")
    found = Direction(
        {Site(14): torch.randn(model.width, generator=torch.Generator().manual_seed(0))},
        {Site(14): 120.0},
        Origin(model.name, model.revision, model.template, model.width, model.depth, "last", "0" * 64, 8),
        "made up",
    )
    with running(model, Shelf({"odd": found}, model)) as server, client_of(server) as client:
        prompt = "What is the capital of France?"
        assert [said(chat(client, prompt))] == model.generate(prompt, max_new_tokens=12)
        steered = chat(client, prompt, [{"direction": "odd", "coefficient": 0.3}])
        assert [said(steered)] == model.generate(prompt, Plan(found, coefficient=0.3), max_new_tokens=12)
