"""Judges that run here: phrases, log-odds, classifiers, guards; and their names on a command line."""

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from sklearn.metrics import roc_auc_score
from transformers import AutoConfig, AutoModelForSequenceClassification, DistilBertConfig, LlamaConfig

from fakes import FakeEngine
from steersman.errors import InputError, ModelError
from steersman.judges import (
    EndpointJudge,
    Exchange,
    GuardJudge,
    OddsJudge,
    PhraseJudge,
    is_disclaimer,
    is_firm_refusal,
    is_refusal,
    judge_named,
    load_classifier,
    load_guard,
)
from steersman.judges.odds import REFUSAL_WORDING, filled
from steersman.maths.agreement import cohen_kappa
from steersman.model.load import load, wrap
from steersman.prompts import find_set
from tiny import HEADS, VOCABULARY, WIDTH, tiny_network, tokenizer

TEXTS = (
    "I can't help with that.",
    "Sure! Boil the eggs for eight minutes, then put them into cold water.",
    "As a chatbot, I don't have access to your files.",
    "",
    "x",
)
EXCHANGES = [Exchange(f"Question {i}?", text) for i, text in enumerate(TEXTS)]
LABELS = {0: "harmless", 1: "Harm-ful", 2: "other"}
GUARDING = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "Is the last message safe?{% if add_generation_prompt %}<assistant>{% endif %}"
)


def test_the_phrase_judge_says_what_its_lists_say():
    judge = PhraseJudge("list")
    verdicts = judge.judge(EXCHANGES)
    for text, verdict in zip(TEXTS, verdicts, strict=True):
        assert dict(verdict.values) == {
            "refusal_by_list": float(is_refusal(text)),
            "firm_refusal_by_list": float(is_firm_refusal(text)),
            "disclaimer_by_list": float(is_disclaimer(text)),
        }
    assert verdicts[0].words == "refusal: yes, disclaimer: no"
    assert [metric.kind for metric in judge.metrics] == ["rate", "rate", "rate"]
    assert judge.key() == PhraseJudge("another name").key()


def test_log_odds_are_those_of_the_two_answers():
    engine = FakeEngine()
    judge = OddsJudge(engine)
    for each, verdict in zip(EXCHANGES, judge.judge(EXCHANGES), strict=True):
        asked = filled(REFUSAL_WORDING, each)
        assert each.prompt in asked
        assert each.completion in asked
        ((yes, no),) = engine.score_options([asked], [["Yes", "No"]])
        odds = yes.total - no.total
        assert verdict.values == {"refusal_by_odds": float(odds > 0), "refusal_log_odds_by_odds": odds}


def test_the_threshold_moves_the_decision_and_not_the_log_odds():
    low, high = (OddsJudge(FakeEngine(), threshold=t).judge(EXCHANGES) for t in (-1e3, 1e3))
    assert [v.values["refusal_by_odds"] for v in (*low, *high)] == [1.0] * 5 + [0.0] * 5
    assert [v.values["refusal_log_odds_by_odds"] for v in low] == [v.values["refusal_log_odds_by_odds"] for v in high]


def test_log_odds_do_not_depend_on_the_batch(model):
    singly = OddsJudge(model, batch_size=1).judge(EXCHANGES)
    together = OddsJudge(model, batch_size=5).judge(EXCHANGES)
    for one, other in zip(singly, together, strict=True):
        assert one.values == pytest.approx(other.values, abs=1e-4)


def test_log_odds_that_are_none_leave_a_text_unscored():
    engine = FakeEngine(rate=lambda prompt, completion, plan, system: (-math.inf,))
    assert "not finite" in OddsJudge(engine).judge(EXCHANGES[:1])[0].reason


def test_a_wording_without_its_concept_is_not_asked():
    engine = FakeEngine()
    judge = OddsJudge(engine, question="joy", wording="Is {completion} about {concept}?")
    verdicts = judge.judge([Exchange("p", "c"), Exchange("p", "{concept}", "joy {prompt}")])
    assert verdicts[0].reason == "no concept was given to ask for"
    assert set(verdicts[1].values) == {"joy_by_odds", "joy_log_odds_by_odds"}
    assert [call[1] for call in engine.log] == [("Is {concept} about joy {prompt}?",)]


def test_another_model_or_wording_is_another_judge(llama):
    keys = {
        OddsJudge(llama).key(),
        OddsJudge(wrap(tiny_network("llama", 1), tokenizer(), name="other")).key(),
        OddsJudge(llama, wording="?").key(),
        OddsJudge(llama, threshold=1.0).key(),
        OddsJudge(FakeEngine(), context="a").key(),
        OddsJudge(FakeEngine(), context="b").key(),
    }
    assert len(keys) == 6
    assert OddsJudge(llama, "other").key() == OddsJudge(llama).key()


@pytest.mark.slow
def test_the_default_model_is_the_poor_judge_that_the_page_says():
    lines = [json.loads(line) for line in find_set("refusal", "pairs").read_text(encoding="utf-8").splitlines()][:40]
    prompts = [line["positive"]["prompt"] for line in lines]
    refusals = [Exchange(p, line["positive"]["completion"]) for p, line in zip(prompts, lines, strict=True)]
    answers = [Exchange(p, line["compliance"]) for p, line in zip(prompts, lines, strict=True)]
    written = [True] * len(refusals) + [False] * len(answers)
    odds = [v.values["refusal_log_odds_by_odds"] for v in OddsJudge(load()).judge(refusals + answers)]
    kappa = cohen_kappa([value > 0 for value in odds], written).kappa
    assert kappa is not None
    assert abs(kappa) < 0.2
    assert roc_auc_score(written, odds) < 0.5
    phrases = cohen_kappa([is_refusal(each.completion) for each in refusals + answers], written).kappa
    assert phrases is not None
    assert phrases > 0.9


def classifier_folder(folder: Path, *, labels: int = 3, decoder: bool = False, **more) -> Path:
    common = {"vocab_size": len(VOCABULARY), "num_labels": labels, "pad_token_id": VOCABULARY["<pad>"]}
    if labels == 3:
        common |= {"id2label": LABELS, "label2id": {name: index for index, name in LABELS.items()}}
    if decoder:
        sizes = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": HEADS}
        config = LlamaConfig(**common, **sizes, max_position_embeddings=256, initializer_range=0.3, **more)
    else:
        sizes = {"dim": WIDTH, "hidden_dim": 64, "n_layers": 2, "n_heads": HEADS, "max_position_embeddings": 64}
        config = DistilBertConfig(**common, **sizes, initializer_range=0.3, **more)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForSequenceClassification.from_config(config).float().eval().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("decoder", [False, True])
@pytest.mark.parametrize("reads", ["completion", "exchange"])
def test_a_classifier_is_read_as_transformers_reads_it(decoder, reads, tmp_path):
    folder = classifier_folder(tmp_path, decoder=decoder)
    judge = load_classifier(str(folder), "harm-ful", threshold=0.3, reads=reads, device="cpu")
    assert [metric.name for metric in judge.metrics] == ["harm_ful_by_classifier", "harm_ful_probability_by_classifier"]
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    words = tokenizer()
    verdicts = judge.judge([each for each in EXCHANGES if len(each.completion) < 40])
    seen = set()
    for each, verdict in zip([e for e in EXCHANGES if len(e.completion) < 40], verdicts, strict=True):
        pair = ([each.prompt], [each.completion]) if reads == "exchange" else ([each.completion],)
        with torch.inference_mode():
            own = plain(**words(*pair, return_tensors="pt")).logits[0].softmax(-1)[1].item()
        assert verdict.values["harm_ful_probability_by_classifier"] == pytest.approx(own, abs=1e-5)
        assert verdict.values["harm_ful_by_classifier"] == float(own >= 0.3)
        seen.add(round(own, 4))
    assert len(seen) > 1


def test_a_long_text_is_cut_and_says_so(tmp_path):
    judge = load_classifier(str(classifier_folder(tmp_path)), 0, question="calm", device="cpu")
    long, longer = judge.judge([Exchange("", "a" * 61), Exchange("", "a" * 100)])
    assert long.words.endswith(")")
    assert "read to" not in long.words
    assert "read to token 62 of 101" in longer.words
    assert judge.judge([Exchange("", "a" * 500)])[0].values == pytest.approx(longer.values, abs=1e-5)


@pytest.mark.parametrize(("labels", "more"), [(1, {}), (2, {"problem_type": "multi_label_classification"})])
def test_labels_that_do_not_exclude_each_other_are_read_alone(labels, more, tmp_path):
    folder = classifier_folder(tmp_path, labels=labels, **more)
    judge = load_classifier(str(folder), labels - 1, question="toxic", device="cpu")
    with torch.inference_mode():
        logits = judge.model(**tokenizer()("x", return_tensors="pt")).logits[0]
    assert judge.judge([Exchange("", "x")])[0].values["toxic_probability_by_classifier"] == pytest.approx(
        logits[-1].sigmoid().item(), abs=1e-5
    )


def test_a_single_label_needs_no_name(tmp_path):
    assert load_classifier(str(classifier_folder(tmp_path, labels=1))).label == 0


def test_a_classifier_that_breaks_leaves_texts_unscored(tmp_path):
    judge = load_classifier(str(classifier_folder(tmp_path)), 0)
    with torch.no_grad():
        judge.model.classifier.bias.fill_(float("nan"))
    (verdict,) = judge.judge([Exchange("", "x")])
    assert "which is no probability" in verdict.reason


@pytest.mark.parametrize("label", [None, "angry", 3, "-1"])
def test_a_label_that_is_not_there_is_refused(label, tmp_path):
    folder = classifier_folder(tmp_path)
    with pytest.raises(InputError, match=r"0 \(harmless\), 1 \(Harm-ful\), 2 \(other\)"):
        load_classifier(str(folder), label)


def test_a_model_without_a_head_is_refused(tmp_path):
    tiny_network("llama").save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"is no whole classifier: 1 of its weights are missing .*score\.weight"):
        load_classifier(str(tmp_path), 0)


def test_a_pickle_is_refused(tmp_path):
    folder = classifier_folder(tmp_path)
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="could not be loaded"):
        load_classifier(str(folder), 0)
    assert AutoConfig.from_pretrained(folder).num_labels == 3


def test_the_default_model_is_no_classifier(tmp_path):
    with pytest.raises(ModelError, match="A model is"):
        load_classifier(str(tmp_path / "nothing"))


def guard(template: str = GUARDING, *, says: str | None = None, **more) -> GuardJudge:
    words = tokenizer(chat=True)
    words.chat_template = template
    network = tiny_network("llama")
    made = wrap(network, words, name="guard")
    judge = GuardJudge(made, **more)
    if says is not None:
        object.__setattr__(judge, "model", made)
        _say(network, says)
    return judge


def _say(network, text: str) -> None:
    """Make the network write a text, whatever it is given: each token's successor by its embedding alone."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.model.norm.weight.fill_(1.0)
        chain = [VOCABULARY["<assistant>"], *(VOCABULARY[letter] for letter in text), VOCABULARY["<eos>"]]
        assert len(set(chain)) == len(chain) <= WIDTH
        for place, (token, following) in enumerate(pairwise(chain)):
            network.model.embed_tokens.weight[token, place] = 1.0
            network.lm_head.weight[following, place] = 10.0


@pytest.mark.parametrize(
    ("says", "value"), [("yes", 1.0), ("\nyes", 1.0), ("no", 0.0), (" No!", 0.0), ("maybe", None), ("nope", None)]
)
def test_a_guard_is_heard_by_its_first_word(says, value):
    judge = guard(says=says, words=("Yes", "No"), question="harm")
    for verdict in judge.judge(EXCHANGES):
        if value is None:
            assert verdict.reason == f"the guard said {says!r}, expected 'yes' or 'no'"
        else:
            assert dict(verdict.values) == {"harm_by_guard": value}


def test_a_guard_reads_the_whole_exchange_and_its_beginning_once():
    judge = guard()
    text = judge._text(Exchange("Ask?", "Reply."))
    assert text == "user: Ask?\nassistant: Reply.\nIs the last message safe?<assistant>"
    ids = judge.model.tokenizer(text)["input_ids"]
    assert ids.count(VOCABULARY["<bos>"]) == 1
    assert ids[-1] == VOCABULARY["<assistant>"]


def test_a_guards_odds_are_those_of_its_words():
    judge = guard(reading="odds", lead=" ")
    verdicts = judge.judge(EXCHANGES)
    for each, verdict in zip(EXCHANGES, verdicts, strict=True):
        yes, no = judge.model.score([judge._text(each)] * 2, [" unsafe", " safe"], chat=False)
        assert verdict.values["unsafe_log_odds_by_guard"] == pytest.approx(yes.total - no.total, abs=1e-4)
        assert verdict.values["unsafe_by_guard"] == float(yes.total > no.total)


def test_a_guard_has_to_see_both_turns(bare):
    with pytest.raises(ModelError, match="expected a guard model with a chat template"):
        GuardJudge(bare)
    with pytest.raises(ModelError, match="leaves one out"):
        guard("{{ messages[0]['content'] }}<assistant>")
    with pytest.raises(ModelError, match="refuses a user's and an assistant's turn"):
        guard("{% if messages|length > 1 %}{{ raise_exception('one turn only') }}{% endif %}x")
    with pytest.raises(InputError, match="two different verdict words"):
        guard(words=("safe", "Safe "))


def test_a_guard_is_loaded_from_a_folder(tmp_path):
    words = tokenizer(chat=True)
    words.chat_template = GUARDING
    words.save_pretrained(tmp_path)
    tiny_network("llama").save_pretrained(tmp_path)
    judge = load_guard(str(tmp_path), reading="odds")
    assert judge.judge(EXCHANGES)[1].scored
    assert judge.model.revision in judge.key()
    named = judge_named(f"mine=guard:{tmp_path}")
    assert isinstance(named, GuardJudge)
    assert named.metrics[0].name == "unsafe_by_mine"


def test_judges_by_name(tmp_path, llama):
    assert judge_named("phrases") == PhraseJudge()
    assert judge_named("list=phrases").name == "list"
    odds = judge_named("odds", engine=llama)
    assert isinstance(odds, OddsJudge)
    assert odds.engine is llama
    folder = classifier_folder(tmp_path / "a b")
    judge = judge_named(f"classifier:{folder}#Harm-ful=refusal")
    assert judge.metrics[0].name == "refusal_by_classifier"
    assert judge_named(f"classifier:{folder}#2").metrics[0].name == "other_by_classifier"


@pytest.mark.parametrize(
    ("spec", "protocol", "model", "base_url", "name"),
    [
        ("openai:gpt-4o-mini", "openai", "gpt-4o-mini", None, "gpt-4o-mini"),
        ("openai:llama3:8b@http://localhost:8000/v1", "openai", "llama3:8b", "http://localhost:8000/v1", "llama3-8b"),
        ("openai:owner/name@https://h/v1", "openai", "owner/name", "https://h/v1", "owner-name"),
        ("a=anthropic:claude@http://127.0.0.1:9", "anthropic", "claude", "http://127.0.0.1:9", "a"),
    ],
)
def test_endpoints_by_name(spec, protocol, model, base_url, name, tmp_path):
    judge = judge_named(spec, questions=("refusal",), cache=tmp_path / "v", limit=3, key_variable="MINE")
    assert isinstance(judge, EndpointJudge)
    end = judge.endpoint
    assert (end.protocol, end.model, end.base_url, end.key_variable) == (protocol, model, base_url, "MINE")
    assert (judge.name, judge.limit, judge.cache) == (name, 3, tmp_path / "v")


@pytest.mark.parametrize(
    "spec",
    ["", "phrase", "phrases:x", "guard", "guard:", "classifier", "openai", "anthropic:", "a b=phrases", "=phrases"],
)
def test_what_names_no_judge_is_refused(spec):
    with pytest.raises(InputError, match=r"expected a judge as phrases, odds\[:MODEL\], .*, got '"):
        judge_named(spec)


def test_an_address_without_its_scheme_is_refused():
    with pytest.raises(InputError, match="expected a base URL that begins with http://"):
        judge_named("openai:m@localhost:8000")
