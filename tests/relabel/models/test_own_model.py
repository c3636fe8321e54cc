"""A person's own network is made from their file, once they agree, and explains itself."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import traceback
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import tracin_core
from relabel.features.text import TextEncoder
from relabel.models.build import build_model
from relabel.models.builtin import model_config_from_json
from relabel.models.networks.image import SmallCNNConfig
from relabel.models.user.code import (
    explain_network_errors,
    find_own_line,
    list_functions,
    run_file,
    suggest_functions,
)
from relabel.models.user.config import (
    OwnModelConfig,
    describe_own_model,
    needs_consent,
    require_consent,
)
from relabel.models.user.inputs import OwnEncoder, check_repeatable
from relabel.models.user.load import load_own_model
from relabel.workspace import REPOSITORY_ROOT
from tracin_core import OwnModel
from tracin_core.errors import ConfigurationError, InputError

CLASSES = ("ant", "bee", "cat")
CNN = SmallCNNConfig(height=8, width=8, channels=1, num_outputs=2)


def write(folder: Path, source: str, name: str = "net.py") -> Path:
    path = folder / name
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return path


def describe(folder: Path, source: str, function: str = "build", **options) -> OwnModelConfig:
    path = write(folder, source)
    options = {"kind": "text", "classes": CLASSES} | options
    return describe_own_model(f"{path}:{function}", **options)


def load(folder: Path, source: str, function: str = "build", **options) -> OwnModel:
    return load_own_model(describe(folder, source, function, **options), run_my_code=True)


def refused(folder: Path, source: str, function: str = "build", **options) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(folder, source, function, **options)
    return str(caught.value)


def encode_all(made: OwnModel, contents, **options) -> object:
    config = OwnModelConfig(file="/net.py", function="build", sha256="", kind="text")
    return OwnEncoder(made, config, **options).encode_batch(contents, range(len(contents)))


def png(width: int, height: int, mode: str = "RGB") -> bytes:
    pixels = np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3)
    file = BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG")
    return file.getvalue()


LINEAR = """
    from torch import nn
    def build(): return nn.Linear(4, 3)
"""


# What the function gets and returns.


def test_a_network_alone_gets_the_loss_of_its_task(tmp_path: Path):
    made = load(tmp_path, LINEAR)
    assert isinstance(made.model, nn.Linear)
    assert (made.loss, made.transform, made.collate) == ("cross_entropy", None, None)
    assert load(tmp_path, LINEAR, task="regression", classes=()).loss == "mse"


def test_an_own_model_brings_transform_loss_and_collate(tmp_path: Path):
    made = load(
        tmp_path,
        """
        import torch
        from torch import nn
        from tracin_core import OwnModel
        def build(num_classes):
            return OwnModel(nn.Linear(2, num_classes), transform=lambda t: torch.ones(2) * len(t),
                            loss=lambda outputs, targets: outputs.sum(1), collate=torch.stack)
        """,
    )
    assert torch.equal(made.transform("four"), torch.tensor([4.0, 4.0]))
    assert callable(made.loss)
    assert made.collate is torch.stack
    assert made.model.out_features == 3


def test_only_the_arguments_that_the_function_names_are_passed(tmp_path: Path):
    source = """
        from torch import nn
        def build(classes, *, task, width=5):
            net = nn.Linear(width, len(classes)); net.seen = (classes, task); return net
        def everything(**known):
            net = nn.Linear(1, 1); net.seen = known; return net
        class Net(nn.Linear):
            def __init__(self, num_classes): super().__init__(2, num_classes)
    """
    assert load(tmp_path, source).model.seen == (CLASSES, "classification")
    assert load(tmp_path, source, "everything").model.seen == {
        "classes": CLASSES,
        "num_classes": 3,
        "kind": "text",
        "task": "classification",
    }
    assert load(tmp_path, source, "Net").model.out_features == 3
    regression = load(tmp_path, source, "Net", task="regression", classes=())
    assert regression.model.out_features == 1


def test_files_beside_it_are_found_and_never_mistaken_for_older_ones(tmp_path: Path):
    for name, width in (("first", 3), ("second", 5)):
        folder = tmp_path / name
        folder.mkdir()
        write(folder, f"WIDTH = {width}", "layout.py")
        source = "from torch import nn\nfrom layout import WIDTH\ndef build(): "
        made = load(folder, source + "return nn.Linear(WIDTH, 3)")
        assert made.model.in_features == width
    assert str(tmp_path) not in "".join(sys.path)


def test_the_function_that_can_be_called_is_suggested_first():
    source = textwrap.dedent(
        """
        def to_input(image): ...
        class Net: ...
        def small(classes, *, width=5): ...
        def build(*, num_classes): ...
        def train(folder, *, epochs): ...
        """
    ).encode()
    assert suggest_functions(source) == ["build", "small", "Net", "train", "to_input"]
    assert list_functions(source) == ["to_input", "Net", "small", "build", "train"]
    assert suggest_functions(b"not python (") == []


def test_the_program_part_of_a_script_is_not_run(tmp_path: Path):
    source = LINEAR + "\n    if __name__ == '__main__': raise SystemExit('training')\n"
    assert isinstance(load(tmp_path, source).model, nn.Linear)


def test_the_same_file_gives_the_same_weights_and_moves_no_random_state(tmp_path: Path):
    config = describe(tmp_path, LINEAR)
    before = torch.random.get_rng_state()
    first, second = (build_model(config, run_my_code=True) for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(before, torch.random.get_rng_state())


# Consent, and files that change.


def test_nothing_runs_without_consent(tmp_path: Path):
    trace = tmp_path / "ran"
    config = describe(tmp_path, f"import os; os.mkdir({str(trace)!r})\n" + textwrap.dedent(LINEAR))
    with pytest.raises(ConfigurationError, match=r"--run-my-code"):
        load_own_model(config, run_my_code=False)
    with pytest.raises(ConfigurationError, match=r"net\.py"):
        build_model(config)
    assert not trace.exists()
    load_own_model(config, run_my_code=True)
    assert trace.exists()


def test_consent_is_needed_for_own_code_only(tmp_path: Path):
    config = describe(tmp_path, LINEAR)
    assert needs_consent(config)
    assert needs_consent(config.to_json())
    assert needs_consent("nets/my.py:build")
    assert not any(map(needs_consent, ["small_cnn", "auto", CNN, CNN.to_json()]))
    require_consent(CNN, agreed=False)
    for model in (config, config.to_json(), "nets/my.py:build"):
        with pytest.raises(ConfigurationError, match=r"\.py.*--run-my-code"):
            require_consent(model, agreed=False)


def test_a_file_that_changed_since_is_refused(tmp_path: Path):
    config = describe(tmp_path, LINEAR)
    write(tmp_path, LINEAR + "\n")
    with pytest.raises(ConfigurationError, match=r"has changed since.*--model"):
        load_own_model(config, run_my_code=True)


def test_a_file_that_is_gone_is_named(tmp_path: Path):
    config = describe(tmp_path, LINEAR)
    (tmp_path / "net.py").unlink()
    with pytest.raises(ConfigurationError, match=r"net\.py does not exist"):
        load_own_model(config, run_my_code=True)


@pytest.mark.parametrize("reference", ["net.py", "net.py:", ":build", "net.pt:build", "net.py:a b"])
def test_a_reference_that_is_none_shows_an_example(reference: str):
    with pytest.raises(ConfigurationError, match=r"--model my_model\.py:build"):
        describe_own_model(reference, kind="text", classes=CLASSES)


def test_the_configuration_survives_json(tmp_path: Path):
    config = describe(tmp_path, LINEAR)
    assert model_config_from_json(json.loads(json.dumps(config.to_json()))) == config


# Mistakes in the file, with the line.


def test_an_error_in_the_function_names_its_line(tmp_path: Path):
    source = """
        from torch import nn
        def build():
            raise KeyError("no such width")
    """
    message = refused(tmp_path, source)
    assert "KeyError: 'no such width' (net.py, line 4: raise KeyError" in message


def test_an_error_deep_in_a_library_names_the_last_own_line(tmp_path: Path):
    source = """
        import json
        def build():
            return json.loads("{")
    """
    assert 'net.py, line 4: return json.loads("{")' in refused(tmp_path, source)


def test_an_error_while_the_file_is_read_names_its_line(tmp_path: Path):
    assert "line 2: width = 1 +" in refused(tmp_path, "x = 1\nwidth = 1 +\n")
    assert "net.py, line 1: 1 / 0" in refused(tmp_path, "1 / 0\n")
    assert "SystemExit: no weights" in refused(tmp_path, "import sys\nsys.exit('no weights')\n")


def test_a_missing_package_says_to_install_it(tmp_path: Path):
    message = refused(tmp_path, "import a_package_that_is_not_there\n")
    assert "a_package_that_is_not_there" in message
    assert "Install what is missing" in message


def test_a_missing_function_lists_those_that_are_there(tmp_path: Path):
    source = LINEAR + "\n    class Net: pass\n    other = 3\n"
    assert "it defines: build, Net" in refused(tmp_path, source, "make")
    assert "an int, no function, called other" in refused(tmp_path, source, "other")


def test_an_argument_that_nobody_passes_is_named(tmp_path: Path):
    source = "def build(num_classes, width, depth=2): pass"
    assert "asks for width;" in refused(tmp_path, source)


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        ("None", "None"),
        ("nn.Linear", "a type"),
        ("nn.Linear(1, 3).state_dict()", "an OrderedDict"),
        ("OwnModel(3)", "an int"),
    ],
)
def test_what_is_no_network_is_refused(tmp_path: Path, returned: str, found: str):
    source = "from torch import nn\nfrom tracin_core import OwnModel\ndef build(): return "
    assert f"net.py:build returned {found}; expected a network" in refused(
        tmp_path, source + returned
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("loss='hinge'", "loss='hinge'"),
        ("loss='mse'", "does not fit a classification project"),
        ("transform=3", "transform=an int"),
        ("classes=('ant', 'bee', 'dog')", "'ant', 'bee', 'dog'"),
        ("target_std=0.0", "target_std=0.0"),
    ],
)
def test_options_that_cannot_be_right_are_refused(tmp_path: Path, options: str, named: str):
    source = "from torch import nn\nfrom tracin_core import OwnModel\ndef build(): "
    assert named in refused(tmp_path, source + f"return OwnModel(nn.Linear(2, 3), {options})")


def test_only_what_passed_through_their_code_is_explained_where_asked(tmp_path: Path):
    source = "from torch import nn\ndef build(): return nn.Linear(1, 3)\ndef fail(): 1 / 0"
    path = write(tmp_path, source)
    fail = run_file(path, path.read_bytes()).fail
    with (
        pytest.raises(ConfigurationError, match=r"net\.py, line 3"),
        explain_network_errors(path, "It"),
    ):
        fail()
    with pytest.raises(ZeroDivisionError), explain_network_errors(path, "It"):
        1 / 0  # noqa: B018
    with pytest.raises(ZeroDivisionError), explain_network_errors(None, "It"):
        fail()


def test_a_file_beside_the_program_hides_no_fault_of_the_program():
    beside_the_program = REPOSITORY_ROOT / "my_model.py"
    with pytest.raises(ConfigurationError) as caught:
        TextEncoder(vocabulary=(), max_tokens=0)
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert any("relabel" in Path(frame.filename).parts for frame in frames)
    ours = caught.value.with_traceback(caught.tb.tb_next)  # without this test's own frame
    assert find_own_line(ours, beside_the_program) is None


# The order of the classes.


def test_outputs_in_another_order_of_classes_are_brought_into_the_projects(tmp_path: Path):
    source = """
        from torch import nn
        from tracin_core import OwnModel
        def build(): return OwnModel(nn.Linear(4, 3), classes=["cat", "ant", "bee"])
    """
    model, inputs = load(tmp_path, source).model, torch.randn(2, 4)
    theirs = nn.functional.linear(inputs, model.weight, model.bias)
    assert torch.equal(model(inputs), theirs[:, [1, 2, 0]])
    assert list(model.state_dict()) == ["weight", "bias"]


def test_a_transformers_configuration_tells_the_order_by_itself(tmp_path: Path):
    source = """
        import torch
        from transformers import BertConfig, BertForSequenceClassification
        def build(classes, order=(2, 0, 1)):
            named = {i: classes[k] for i, k in enumerate(order)}
            return BertForSequenceClassification(BertConfig(
                vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
                intermediate_size=8, id2label=named))
        def unnamed(classes):
            return build(("LABEL_0", "LABEL_1", "LABEL_2"), (0, 1, 2))
    """
    logits = [
        load(tmp_path, source, name).model.eval()(input_ids=torch.tensor([[1, 2]])).logits
        for name in ("build", "unnamed")
    ]
    assert torch.equal(logits[0], logits[1][:, [1, 2, 0]])


# Inputs.


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1), ("P", 3), ("RGBA", 3)])
def test_images_without_a_transform_become_floats_at_their_own_size(mode: str, channels: int):
    batch = encode_all(OwnModel(nn.Identity()), [png(6, 4, mode)] * 2)
    assert batch.shape == (2, channels, 4, 6)
    assert batch.dtype == torch.float32
    assert 0 <= batch.min() < batch.max() <= 1


def test_images_of_different_sizes_ask_for_a_transform():
    with pytest.raises(ConfigurationError, match=r"position 1 .*\(3, 4, 5\).*transform"):
        encode_all(OwnModel(nn.Identity()), [png(6, 4), png(5, 4)])


def test_texts_without_a_transform_ask_for_one():
    with pytest.raises(ConfigurationError, match="texts need one"):
        encode_all(OwnModel(nn.Identity()), ["hello"])


def test_a_transform_gets_a_pillow_image_a_text_or_a_row():
    seen = []

    def transform(example):
        seen.append(example)
        return torch.zeros(1)

    row = {"age": 3.0, "town": None}
    encode_all(OwnModel(nn.Identity(), transform), [png(6, 4, "L"), "hello", row])
    assert (seen[0].mode, seen[0].size) == ("L", (6, 4))
    assert seen[1:] == ["hello", row]
    assert seen[2] is not row  # theirs to change


@pytest.mark.parametrize(
    ("made", "shape"),
    [
        (np.zeros((2, 3), np.float32), (4, 2, 3)),
        ([1, 2, 3], (4, 3)),
        (2.5, (4,)),
        ([torch.zeros(2), torch.zeros(3)], [(4, 2), (4, 3)]),
        ({"a": torch.zeros(2), "b": np.zeros(3)}, {"a": (4, 2), "b": (4, 3)}),
    ],
)
def test_arrays_lists_tuples_and_dictionaries_are_taken(made, shape):
    batch = encode_all(OwnModel(nn.Identity(), lambda text: made), ["x"] * 4)
    if isinstance(shape, dict):
        assert {name: tuple(value.shape) for name, value in batch.items()} == shape
    elif isinstance(shape, list):
        assert [tuple(value.shape) for value in batch] == shape
    else:
        assert tuple(batch.shape) == shape


def tokenize(text: str, *, axis: bool = False, mask: bool = True):
    ids = torch.arange(1, len(text) + 1)
    made = {"input_ids": ids} | ({"attention_mask": torch.ones_like(ids)} if mask else {})
    return {name: value[None] for name, value in made.items()} if axis else made


@pytest.mark.parametrize("axis", [False, True])
def test_tokens_are_padded_where_a_mask_tells_so(axis: bool):
    batch = encode_all(OwnModel(nn.Identity(), lambda t: tokenize(t, axis=axis)), ["abc", "a"])
    assert batch["input_ids"].tolist() == [[1, 2, 3], [1, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_tokens_without_a_mask_are_not_padded():
    with pytest.raises(ConfigurationError, match="attention_mask"):
        encode_all(OwnModel(nn.Identity(), lambda t: tokenize(t, mask=False)), ["abc", "a"])


def test_padding_is_the_models_own_word_for_it():
    model = nn.Identity()
    model.config = type("Config", (), {"pad_token_id": 7})()
    batch = encode_all(OwnModel(model, tokenize), ["abc", "a"])
    assert batch["input_ids"].tolist() == [[1, 2, 3], [1, 7, 7]]


def test_an_own_collate_makes_the_batch():
    made = OwnModel(nn.Identity(), torch.tensor, collate=lambda items: {"x": torch.stack(items)})
    assert encode_all(made, [[1.0], [2.0]])["x"].shape == (2, 1)


@pytest.mark.parametrize("made", [None, "text", object(), Image.new("L", (2, 2)), []])
def test_what_no_network_takes_is_refused(made):
    with pytest.raises(ConfigurationError, match=r"position 0.*expected a tensor"):
        encode_all(OwnModel(nn.Identity(), lambda text: made), ["x"])


def test_an_error_in_the_transform_names_line_and_example(tmp_path: Path):
    source = """
        from torch import nn
        from tracin_core import OwnModel
        def to_input(text):
            return {"a": 0}[text]
        def build(): return OwnModel(nn.Linear(1, 3), to_input)
    """
    config = describe(tmp_path, source)
    encoder = OwnEncoder(load_own_model(config, run_my_code=True), config)
    with pytest.raises(ConfigurationError) as caught:
        encoder.encode_batch(["a", "b"], [40, 41])
    assert "Example at position 41" in str(caught.value)
    assert "KeyError: 'b' (net.py, line 5: return {\"a\": 0}[text])" in str(caught.value)


def test_a_damaged_image_is_named_by_its_position():
    with pytest.raises(InputError, match="position 1"):
        encode_all(OwnModel(nn.Identity()), [png(6, 4), b"no image"])


def test_a_transform_with_chance_in_it_is_refused():
    config = OwnModelConfig(file="/net.py", function="build", sha256="", kind="text")
    check_repeatable(OwnEncoder(OwnModel(nn.Identity(), tokenize), config), "abc")
    noisy = OwnEncoder(OwnModel(nn.Identity(), lambda text: torch.randn(2)), config)
    with pytest.raises(ConfigurationError, match="two different inputs"):
        check_repeatable(noisy, "abc")


# The public name.


def test_own_model_is_exported_and_costs_no_torch():
    assert tracin_core.OwnModel is OwnModel
    code = "import sys; from tracin_core import OwnModel; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
