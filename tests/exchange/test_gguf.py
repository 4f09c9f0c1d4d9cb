"""GGUF control vectors: what goes in comes out, what they cannot hold is named, and no file can crash the reader."""

import struct

import gguf
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steersman.edits import Ablate
from steersman.errors import FileError, InputError, MismatchError
from steersman.exchange.gguf import added_vectors, export_gguf, import_gguf
from steersman.gates import Gate
from steersman.plan import Plan
from steersman.where import Site
from tiny import DEPTH, WIDTH, direction, plan, tiny_model


def written(path, tensors, arch="controlvector", **more):
    """Write a control vector as repeng does: a hint, a count, one tensor per layer and nothing else."""
    writer = gguf.GGUFWriter(path, arch)
    writer.add_string(f"{arch}.model_hint", "llama")
    writer.add_uint32(f"{arch}.layer_count", len(tensors))
    for name, value in more.items():
        writer.add_string(f"steersman.{name}", value)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def ramp(width=WIDTH):
    return np.linspace(-1, 1, width, dtype=np.float32)


# There and back


@pytest.mark.parametrize(("coefficient", "unit"), [(0.3, "norm"), (-1.7, "raw")])
def test_a_file_does_what_the_plan_did(tmp_path, coefficient, unit):
    fitted = direction(3, [1, 3])
    export_gguf(fitted, tmp_path / "v.gguf", coefficient=coefficient, unit=unit)
    back = import_gguf(tmp_path / "v.gguf")
    expected = Plan(fitted, coefficient=coefficient, unit=unit)
    for ours, theirs in zip(expected, Plan(back, unit="raw"), strict=True):
        assert ours.site == theirs.site
        assert torch.equal(ours.coefficient * ours.vector, theirs.vector)
    assert back.norms == fitted.norms
    assert back.origin == fitted.origin
    assert f"x {coefficient:g} {unit}" in back.method


def test_the_file_is_laid_out_as_llama_cpp_wants_it_and_says_what_was_multiplied_in(tmp_path):
    made = export_gguf(direction(3, [1, 3]), tmp_path / "v.gguf", coefficient=0.25, hint="llama")
    reader = gguf.GGUFReader(made.path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.architecture"] == "controlvector"
    assert fields["controlvector.model_hint"] == "llama"
    assert fields["controlvector.layer_count"] == 2
    assert fields["steersman.coefficient"] == 0.25
    assert (fields["steersman.unit"], fields["steersman.span"]) == ("norm", "all")
    assert fields["steersman.method"] == "made up, seed 3"
    assert fields["steersman.revision"] == "0" * 64
    assert [tensor.name for tensor in reader.tensors] == ["direction.1", "direction.3"]
    for tensor in reader.tensors:
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
        assert tensor.data.shape == (WIDTH,)
    assert "0.25 norm, multiplied in" in made.words
    assert made.lengths == pytest.approx((0.25 * 7, 0.25 * 9), rel=1e-5)


def test_steps_at_one_layer_add_up(tmp_path):
    both = plan(1, [2], coefficient=0.5) + plan(2, [2, 3], coefficient=-2.0)
    export_gguf(both, tmp_path / "v.gguf")
    back = import_gguf(tmp_path / "v.gguf")
    first, second = direction(1, [2]), direction(2, [2, 3])
    sum_ = 0.5 * first.vectors[Site(2)] - 2 * second.vectors[Site(2)]
    assert torch.allclose(back.vectors[Site(2)], sum_, atol=1e-6)
    assert back.sites == [Site(2), Site(3)]


def test_an_imported_direction_steers_as_the_exported_one(tmp_path):
    model = tiny_model("llama")
    export_gguf(plan(1, [1, 2], coefficient=0.8), tmp_path / "v.gguf")
    back = Plan(import_gguf(tmp_path / "v.gguf", model), unit="raw")
    assert model.score("Hi", [" there"], back)[0].tokens == pytest.approx(
        model.score("Hi", [" there"], plan(1, [1, 2], coefficient=0.8))[0].tokens, abs=1e-5
    )


# What the format cannot hold


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (lambda: plan(1, [0, 2]), r"layers from 1, got layer 0.*refuses a whole file.*leave it out"),
        (lambda: plan(1, [2], span="generated"), "the span 'all', got 'generated' at resid_post.2"),
        (lambda: plan(1, [2], span="all-bos"), "the span 'all', got 'all-bos'"),
        (lambda: Plan(direction(1, [2]), Ablate()), "the edit 'add', got 'ablate'"),
        (lambda: Plan(direction(1, [2]).everywhere(("attn_out",))), "sites resid_post, got attn_out.0"),
        (lambda: Plan(direction(1, [2]), gate=Gate(Site(1), torch.ones(WIDTH), 0.0)), "without a gate, got one"),
        (lambda: Plan(), "something to add, got no step"),
        (lambda: plan(1, [2], coefficient=0.0), "something to add, got no step"),
        (lambda: plan(1, [2], coefficient=3e38), "finite numbers at layer 2"),
    ],
)
def test_what_gguf_cannot_hold_is_named(tmp_path, refused, words):
    with pytest.raises(InputError, match=words):
        export_gguf(refused(), tmp_path / "v.gguf")
    assert not list(tmp_path.iterdir())


def test_a_step_of_coefficient_nought_does_not_stand_in_the_way(tmp_path):
    harmless = plan(1, [0], coefficient=0.0) + plan(2, [2])
    assert export_gguf(harmless, tmp_path / "v.gguf").layers == (2,)


def test_a_direction_needs_a_coefficient_and_a_plan_has_its_own(tmp_path):
    with pytest.raises(InputError, match="expected a coefficient to multiply"):
        export_gguf(direction(1, [2]), tmp_path / "v.gguf")
    with pytest.raises(InputError, match=r"no coefficient beside a plan.*plan\.scaled"):
        export_gguf(plan(1, [2]), tmp_path / "v.gguf", coefficient=1.0)


def test_nothing_is_overwritten_without_the_word(tmp_path):
    path = export_gguf(plan(1, [2]), tmp_path / "v.gguf").path
    before = path.read_bytes()
    with pytest.raises(FileError, match="exists already"):
        export_gguf(plan(2, [2]), path)
    assert path.read_bytes() == before
    export_gguf(plan(2, [2]), path, force=True)
    assert path.read_bytes() != before
    with pytest.raises(FileError, match=r"ending in \.gguf"):
        export_gguf(plan(2, [2]), tmp_path / "v.safetensors")


def test_steps_that_cancel_out_add_nothing():
    with pytest.raises(InputError, match="cancel each other"):
        added_vectors([*plan(1, [2]), *-plan(1, [2])])


# Files of others


def test_repengs_layers_are_blocks_counted_from_nought(tmp_path):
    path = written(tmp_path / "r.gguf", {f"direction.{layer}": ramp() * (layer + 1) for layer in range(DEPTH)})
    back = import_gguf(path, depth=DEPTH)
    assert back.sites == [Site(layer) for layer in range(DEPTH)]
    assert torch.equal(back.vectors[Site(2)], torch.from_numpy(ramp() * 3))
    assert "residual norms unknown" in back.method
    assert back.norms[Site(0)] == pytest.approx(float(np.linalg.norm(ramp())), rel=1e-6)


def test_a_model_lends_its_norms(tmp_path):
    model = tiny_model("llama", chat=True)
    back = import_gguf(written(tmp_path / "r.gguf", {"direction.2": ramp()}), model)
    seen = []
    hook = model.layout.blocks[2].register_forward_hook(lambda module, args, output: seen.append(output.detach()))
    model.hf(torch.tensor([model.tokenizer("How do I bake bread?")["input_ids"]]))
    hook.remove()
    typical = float(seen[0][0, 1:].norm(dim=-1).mean())
    assert back.norms[Site(2)] == pytest.approx(typical, rel=0.3)
    assert back.origin.model == model.name
    assert "norms measured on tiny-llama" in back.method


def test_norms_can_be_given(tmp_path):
    path = written(tmp_path / "r.gguf", {"direction.2": ramp()})
    assert import_gguf(path, depth=DEPTH, norms={2: 50.0}).norms == {Site(2): 50.0}
    with pytest.raises(InputError, match=r"a norm for each of the layers \[2\], got \[1\]"):
        import_gguf(path, depth=DEPTH, norms={1: 50.0})


def test_without_a_depth_there_is_no_direction(tmp_path):
    path = written(tmp_path / "r.gguf", {"direction.2": ramp()})
    with pytest.raises(InputError, match="number of layers"):
        import_gguf(path)
    with pytest.raises(MismatchError, match=r"below 2, got direction\.2"):
        import_gguf(path, depth=2)
    with pytest.raises(MismatchError, match="expected width 32"):
        import_gguf(written(tmp_path / "w.gguf", {"direction.2": ramp(16)}), tiny_model("llama"))
    export_gguf(plan(1, [2]), tmp_path / "own.gguf")
    with pytest.raises(MismatchError, match="for 9 layers, got one for 4"):
        import_gguf(tmp_path / "own.gguf", depth=9)


@pytest.mark.parametrize(
    ("tensors", "arch", "words"),
    [
        ({"direction.2": ramp()}, "llama", "expected a GGUF control vector, got the architecture 'llama'"),
        ({"blk.2": ramp()}, "controlvector", r"named direction\.k, got 'blk\.2'"),
        ({"direction.-1": ramp()}, "controlvector", r"named direction\.k"),
        ({"direction.2": ramp().astype(np.float16)}, "controlvector", "a float32 vector at direction.2, got F16"),
        ({"direction.2": ramp().reshape(4, 8)}, "controlvector", "a float32 vector at direction.2"),
        ({"direction.2": ramp() * np.nan}, "controlvector", "finite numbers"),
        ({"direction.2": ramp() * 0}, "controlvector", "positive length"),
        ({"direction.2": ramp(), "direction.3": ramp(16)}, "controlvector", r"one width, got \[16, 32\]"),
        ({}, "controlvector", "one width, got none"),
    ],
)
def test_what_is_no_control_vector_is_refused(tmp_path, tensors, arch, words):
    with pytest.raises(FileError, match=words):
        import_gguf(written(tmp_path / "r.gguf", tensors, arch), depth=DEPTH)


@pytest.mark.parametrize("origin", ["[1]", "{}", "nonsense", "[" * 5000, '{"model": 1}'])
def test_a_strange_word_on_where_it_comes_from_is_no_reason_to_fall(tmp_path, origin):
    path = written(tmp_path / "r.gguf", {"direction.2": ramp()}, origin=origin)
    assert import_gguf(path, depth=DEPTH).origin.model == "llama"


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "none.gguf", tmp_path):
        with pytest.raises(FileError, match="which does not exist"):
            import_gguf(path, depth=DEPTH)


def test_every_truncation_is_a_clear_error(tmp_path):
    whole = export_gguf(plan(1, [2]), tmp_path / "v.gguf").path.read_bytes()
    for size in [*range(60), *range(60, len(whole) - 1, 37), len(whole) - 1 - 31]:
        (tmp_path / "cut.gguf").write_bytes(whole[:size])
        with pytest.raises(FileError, match=r"cut\.gguf: expected a"):
            import_gguf(tmp_path / "cut.gguf", depth=DEPTH)


@pytest.mark.parametrize("place", [8, 16])
@pytest.mark.parametrize("count", [1 << 24, 1 << 62, (1 << 64) - 1])
def test_a_count_out_of_all_proportion_is_refused_at_once(tmp_path, place, count):
    whole = bytearray(export_gguf(plan(1, [2]), tmp_path / "v.gguf").path.read_bytes())
    whole[place : place + 8] = struct.pack("<Q", count)
    (tmp_path / "big.gguf").write_bytes(whole)
    with pytest.raises(FileError, match="bytes can hold"):
        import_gguf(tmp_path / "big.gguf", depth=DEPTH)


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_flipped_bytes_never_crash(tmp_path, data):
    path = tmp_path / "v.gguf"
    whole = bytearray(export_gguf(plan(1, [2]), path, force=True).path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    try:
        read = import_gguf(path, depth=DEPTH)
    except InputError:
        return
    assert all(torch.isfinite(vector).all() for vector in read.vectors.values())
