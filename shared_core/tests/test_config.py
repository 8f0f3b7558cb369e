"""Settings: trees, YAML, fingerprints and the command line agree, and refuse what they must."""

import json
import math
import re
import subprocess
import sys
import typing
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared_core.config import (
    differences,
    dump_yaml,
    fingerprint,
    from_dict,
    load_yaml,
    numbers,
    parse,
    setting,
    to_dict,
)
from shared_core.errors import ConfigError, UsageError


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """An encoder."""

    hidden_size: int = 512
    """Width."""
    dropout: float = 0.1
    """Share of values dropped."""

    def __post_init__(self) -> None:
        if self.hidden_size < 1:
            raise ConfigError("hidden_size", self.hidden_size, "1 or more")


@dataclass(frozen=True, kw_only=True)
class FclstmXl:
    """A recurrent network."""

    hidden_size: int = 256
    """Width."""
    both_ways: bool = True
    """Whether it reads backwards too."""


@dataclass(frozen=True, kw_only=True)
class Compat:
    """Quirks."""

    padding: bool = False
    """Pad as the authors do."""
    masks_in_ccc: bool = False
    """Mask as the authors do."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """What every command has."""

    run: Path = setting(Path("runs/run"), changes_numbers=False)
    """Run folder."""
    resume: bool = setting(False, changes_numbers=False)
    """Continue the run."""
    seed: int = 0
    """Key of everything random."""
    max_steps: int | None = None
    """Stop after that many updates."""


@dataclass(frozen=True, kw_only=True)
class Config(Base):
    """Settings of a run."""

    name: str = "a name"
    """What it is called."""
    learning_rate: float = 3e-5
    """Peak learning rate."""
    clip: float | None = 5.0
    """Largest norm."""
    width: float | Literal["auto"] = "auto"
    """A width."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Number format."""
    trackers: tuple[Literal["tensorboard", "trackio"], ...] = ("tensorboard",)
    """Services."""
    size: tuple[int, float] = (1, 0.5)
    """A size."""
    weights: dict[str, float] = field(default_factory=dict)
    """Weight of each loss."""
    videos: Annotated[tuple[Path, ...], "a marker"] = ()
    """Files."""
    model: Encoder | FclstmXl = field(default_factory=Encoder)
    """Which network."""
    compat: Compat = field(default_factory=lambda: Compat(padding=True))
    """Quirks of the authors' code."""
    teacher: Encoder | None = None
    """A second network."""


@dataclass(frozen=True, kw_only=True)
class Required:
    """Settings without defaults."""

    data: Path
    """Data root."""
    model: Encoder | FclstmXl = field(default_factory=FclstmXl)
    """Which network."""
    steps: int = 1
    """Steps."""

    def __post_init__(self) -> None:
        if self.steps > 10:
            raise ConfigError("steps", self.steps, "at most 10")


fast = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
floats = st.floats(allow_nan=False)
paths = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])).map(Path)
encoders = st.builds(Encoder, hidden_size=st.integers(1), dropout=floats)
configs = st.builds(
    Config,
    run=paths,
    resume=st.booleans(),
    seed=st.integers(),
    max_steps=st.none() | st.integers(),
    name=st.text()
    | st.sampled_from(["3e-4", "null", "~", "yes", "on", "1_000", "12:30", ".inf", "2022-03-01"]),
    learning_rate=floats,
    clip=st.none() | floats,
    width=st.just("auto") | floats,
    precision=st.sampled_from(["fp32", "bf16"]),
    trackers=st.lists(st.sampled_from(["tensorboard", "trackio"])).map(tuple),
    size=st.tuples(st.integers(), floats),
    weights=st.dictionaries(st.text(), floats),
    videos=st.lists(paths).map(tuple),
    model=encoders | st.builds(FclstmXl, hidden_size=st.integers(), both_ways=st.booleans()),
    compat=st.builds(Compat, padding=st.booleans(), masks_in_ccc=st.booleans()),
    teacher=st.none() | encoders,
)


def line(*words: str, cls: type = Config, presets: str | None = None) -> typing.Any:
    return parse(cls, words, program="tool train", presets=presets)


# --- trees and YAML -------------------------------------------------------------------------------


@fast
@given(configs)
def test_yaml_gives_the_config_back(config):
    assert load_yaml(Config, dump_yaml(config)) == config


@fast
@given(configs)
def test_tree_survives_json_and_gives_the_config_back(config):
    assert from_dict(Config, json.loads(json.dumps(to_dict(config)))) == config


@fast
@given(configs)
def test_reading_and_writing_again_changes_no_character(config):
    text = dump_yaml(config)
    assert dump_yaml(load_yaml(Config, text)) == text


def test_tree_holds_plain_values_and_the_kind_of_a_union():
    tree = to_dict(Config(model=FclstmXl(), videos=(Path("a/b.mp4"),), learning_rate=1))
    assert tree["model"] == {"kind": "fclstm-xl", "hidden_size": 256, "both_ways": True}
    assert tree["videos"] == ["a/b.mp4"]
    assert tree["compat"] == {"padding": True, "masks_in_ccc": False}
    assert type(tree["learning_rate"]) is float


@pytest.mark.parametrize("spelling", ["3e-4", "3E-4", "0.0003", "+3e-4", "'3e-4'", ".0003"])
def test_a_number_may_be_written_with_an_exponent(spelling):
    assert load_yaml(Config, f"learning_rate: {spelling}").learning_rate == 3e-4


def test_a_float_takes_a_whole_number_and_written_infinity():
    assert load_yaml(Config, "learning_rate: 2").learning_rate == 2.0
    assert load_yaml(Config, "learning_rate: -.inf").learning_rate == -math.inf


@pytest.mark.parametrize("word", ["on", "no", "yes", "off", "12:30", "0o17", "2022-03-01", "1_000"])
def test_only_what_looks_like_a_value_today_is_more_than_text(word):
    assert load_yaml(Config, f"name: {word}").name == word


def test_a_file_names_only_what_differs_from_the_defaults():
    config = load_yaml(Config, "compat: {masks_in_ccc: true}\nmodel: {kind: encoder, dropout: 0}")
    assert config == Config(
        compat=Compat(padding=True, masks_in_ccc=True), model=Encoder(dropout=0)
    )


def test_an_empty_file_is_the_defaults(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    assert load_yaml(Config, path) == Config()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rat: 1", "unknown setting 'learning_rat'; did you mean 'learning_rate'?"),
        ("learning-rate: 1", "unknown setting 'learning-rate'; did you mean 'learning_rate'?"),
        ("compat: {paddin: true}", "compat: unknown setting 'paddin'; did you mean 'padding'?"),
        ("model: {kind: fclstm}", "model.kind: unknown kind 'fclstm'; did you mean 'fclstm-xl'?"),
        ("model: {kind: 3}", "model.kind: unknown kind 3; there are: encoder, fclstm-xl."),
        ("model: {dropout: 0}", "model: 'kind' must be given: encoder or fclstm-xl."),
        ("seed: 1.5", "seed: expected a whole number, found 1.5."),
        ("seed: true", "seed: expected a whole number, found True."),
        ("seed: '1'", "seed: expected a whole number, found '1'."),
        ("resume: 1", "resume: expected true or false, found 1."),
        ("name: 12", "name: expected text, found 12."),
        ("learning_rate: fast", "learning_rate: expected a number, found 'fast'."),
        ("learning_rate: .nan", "learning_rate: expected a number, found '.nan'."),
        ("learning_rate: true", "learning_rate: expected a number, found True."),
        ("learning_rate: null", "learning_rate: expected a number, found None."),
        ("width: wide", "width: expected a number or one of 'auto', found 'wide'."),
        ("clip: high", "clip: expected a number, found 'high'."),
        ("precision: fp8", "precision: expected one of 'fp32', 'bf16', found 'fp8'."),
        ("trackers: [x]", "trackers.0: expected one of 'tensorboard', 'trackio', found 'x'."),
        ("trackers: tensorboard", "trackers: expected a list of items that are each one of"),
        ("size: [1]", "size: expected a list of 2: a whole number, a number, found [1]."),
        ("weights: {a: b}", "weights.a: expected a number, found 'b'."),
        ("compat: 3", "compat: expected a mapping of settings, found 3."),
        ("model: encoder", "model: expected a mapping of settings or a mapping of settings"),
        ("teacher: {hidden_size: 0}", "teacher.hidden_size: expected 1 or more, found 0."),
        ("[1]", "expected a mapping of settings, found [1]."),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_was_expected(text, message, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        load_yaml(Config, path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


def test_a_missing_setting_is_named():
    with pytest.raises(UsageError, match="'data' must be given"):
        from_dict(Required, {"steps": 2})


def test_nan_is_no_setting():
    with pytest.raises(ConfigError, match=r"model.dropout: expected a number, found nan"):
        dump_yaml(Config(model=Encoder(dropout=math.nan)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nname: b", "line 2: 'name' is given twice."),
        ("a: &x 1\nb: *x", "line 1: anchors and aliases"),
        ("a: [x]\nb: *x", "line 2: anchors and aliases"),
        ("name: !!python/object/apply:os.system [ls]", "line 1: tags"),
        ("name: !!binary aGk=", "line 1: tags"),
        ("[" * 100_000, "line 1: nested deeper than 16 levels."),
        ("a: " + "{b: " * 60, "line 1: nested deeper than 16 levels."),
        ("1: a", "line 1: expected text as a key, found 1."),
        ("{[a]: b}", "line 1: expected text as a key"),
        ("a: b: c", "line 1: mapping values are not allowed here."),
        ("name: 'open", "line 1: found unexpected end of stream."),
        ("a: 1\n---\nb: 2", "line 2: but found another document."),
        ("learning_rate: 1e999", "line 1: the number is too large; infinity is written .inf."),
        (f"seed: {'9' * 5000}", "line 1: the number is too large"),
        ("name: \0", "unacceptable character"),
    ],
)
def test_hostile_yaml_is_refused_with_its_line(text, message):
    with pytest.raises(UsageError) as error:
        load_yaml(Config, text)
    assert str(error.value).startswith(message)


def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"absent.yaml: cannot read the settings: No such file"):
        load_yaml(Config, tmp_path / "absent.yaml")
    path = tmp_path / "x.yaml"
    path.write_bytes(b"name: \xff")
    with pytest.raises(UsageError, match=r"x.yaml: expected UTF-8 text"):
        load_yaml(Config, path)
    path.write_text("#" * 70_000)
    with pytest.raises(UsageError, match=r"x.yaml: expected at most 65536 bytes"):
        load_yaml(Config, path)


# --- fingerprint ----------------------------------------------------------------------------------


def test_fingerprint_is_the_sha256_of_canonical_json():
    canonical = '{"data":"d","model":{"both_ways":true,"hidden_size":256,"kind":"fclstm-xl"},'
    canonical += '"steps":1}'
    assert fingerprint(Required(data=Path("d"))) == sha256(canonical.encode()).hexdigest()


def test_fingerprint_ignores_what_does_not_change_the_numbers():
    config = Config()
    assert fingerprint(replace(config, run=Path("x"), resume=True)) == fingerprint(config)
    assert not {"run", "resume"} & set(numbers(config))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"learning_rate": math.nextafter(3e-5, 1)},
        {"learning_rate": math.inf},
        {"model": FclstmXl(hidden_size=512)},
        {"compat": Compat()},
        {"trackers": ()},
        {"teacher": Encoder()},
    ],
)
def test_fingerprint_changes_with_the_numbers(change):
    assert fingerprint(replace(Config(), **change)) != fingerprint(Config())


def test_fingerprint_knows_no_spelling():
    assert fingerprint(Config(learning_rate=1)) == fingerprint(Config(learning_rate=1.0))
    assert fingerprint(Config(weights={"a": 1.0, "b": 2.0})) == fingerprint(
        Config(weights={"b": 2, "a": 1})
    )


def test_differences_name_the_settings_and_both_values():
    a = Config(seed=1, model=Encoder(hidden_size=3), weights={"x": 1.0})
    b = Config(seed=2, model=Encoder(hidden_size=4), name="é")
    assert differences(numbers(a), numbers(b)) == [
        "seed: 1 -> 2",
        'name: "a name" -> "é"',
        "weights.x: 1.0 -> (absent)",
        "model.hidden_size: 3 -> 4",
    ]
    assert differences(numbers(a), numbers(a)) == []


def test_differences_of_two_kinds_are_their_kind():
    a, b = Config(), Config(model=FclstmXl())
    assert differences(numbers(a), numbers(b)) == ['model.kind: "encoder" -> "fclstm-xl"']


@fast
@given(
    configs.flatmap(
        lambda config: st.tuples(
            st.just(config),
            st.builds(
                replace,
                st.just(config),
                run=paths,
                learning_rate=st.sampled_from([config.learning_rate, -config.learning_rate]),
                model=st.sampled_from([config.model, Encoder(), FclstmXl()]),
            ),
        )
    )
)
def test_there_are_differences_exactly_when_fingerprints_differ(pair):
    a, b = pair
    assert bool(differences(numbers(a), numbers(b))) == (fingerprint(a) != fingerprint(b))


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    """An importable package that ships presets."""
    root = tmp_path_factory.mktemp("site")
    folder = root / "package_of_presets" / "presets"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "upstream-fclstm.yaml").write_text(
        "# The authors' recurrent network; not measured.\n"
        "learning_rate: 3e-4\nmodel:\n  kind: fclstm-xl\n  hidden_size: 77\n"
        "weights: {ccc: 0.5}\ncompat: {padding: true}\n"
    )
    (folder / "demo.yaml").write_text("seed: 7\n")
    (folder / "for-another-command.yaml").write_text("window: 3\n")
    (folder / "README.md").write_text("not a preset")
    sys.path.insert(0, str(root))
    yield "package_of_presets"
    sys.path.remove(str(root))


def test_no_flags_are_the_defaults():
    assert line() == Config()


def test_flags_of_every_type():
    config = line(
        *("--run", "out", "--resume", "--seed", "3", "--max-steps", "None"),
        *("--learning-rate", "3e-4", "--clip", "None", "--width", "2", "--precision", "bf16"),
        *("--trackers", "tensorboard", "trackio", "--size", "3", "4"),
        *("--weights", "a", "1", "b", "2", "--compat.no-padding", "--compat.masks-in-ccc"),
    )
    assert config == Config(
        run=Path("out"),
        resume=True,
        seed=3,
        learning_rate=3e-4,
        clip=None,
        width=2.0,
        precision="bf16",
        trackers=("tensorboard", "trackio"),
        size=(3, 4.0),
        compat=Compat(padding=False, masks_in_ccc=True),
        weights={"a": 1.0, "b": 2.0},
    )


def test_a_union_is_a_sub_command_and_needs_none_for_its_default():
    assert line("--model.hidden-size", "64", "--seed", "1").model == Encoder(hidden_size=64)
    config = line("model:fclstm-xl", "--model.hidden-size", "64", "--seed", "1")
    assert config == Config(seed=1, model=FclstmXl(hidden_size=64))
    assert line("teacher:encoder", "--teacher.dropout", "0").teacher == Encoder(dropout=0)


def test_two_unions_on_a_line_in_either_order():
    model, teacher = ["model:fclstm-xl", "--model.no-both-ways"], ["teacher:encoder", "--seed", "1"]
    expected = Config(seed=1, model=FclstmXl(both_ways=False), teacher=Encoder())
    assert line(*model, *teacher) == line(*teacher, *model) == expected
    assert line("--model.dropout", "0", *teacher) == line(*teacher, "--model.dropout", "0")


@pytest.mark.parametrize(
    "words",
    [
        ["--config", "upstream-fclstm", "--seed", "1"],
        ["--seed", "1", "--config=upstream-fclstm"],
        ["model:fclstm-xl", "--seed", "1", "--config", "upstream-fclstm"],
    ],
)
def test_config_may_stand_anywhere_and_flags_win(words, presets):
    config = line(*words, presets=presets)
    assert (config.seed, config.learning_rate) == (1, 3e-4)
    assert config.model == FclstmXl(hidden_size=77)
    assert config.compat == Compat(padding=True)


def test_a_flag_keeps_the_rest_of_the_presets_union(presets):
    config = line("--config", "upstream-fclstm", "--model.no-both-ways", presets=presets)
    assert config.model == FclstmXl(hidden_size=77, both_ways=False)
    other = line("--config", "upstream-fclstm", "model:encoder", presets=presets)
    assert other == replace(config, model=Encoder())


def test_entries_of_a_presets_dictionary_have_flags(presets):
    words = ["--config", "upstream-fclstm", "--weights.ccc", "2"]
    assert line(*words, presets=presets).weights == {"ccc": 2.0}


def test_config_takes_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("seed: 5")
    assert line("--config", str(path)).seed == 5


def test_a_preset_need_not_hold_what_a_flag_gives(tmp_path):
    path = tmp_path / "steps.yaml"
    path.write_text("steps: 3\nmodel: {kind: encoder, hidden_size: 0}")
    config = line("--config", str(path), "--data", "d", "--model.hidden-size", "4", cls=Required)
    assert config == Required(data=Path("d"), steps=3, model=Encoder(hidden_size=4))


def test_rules_judge_the_result_also_where_no_flag_was_given(tmp_path):
    path = tmp_path / "steps.yaml"
    path.write_text("data: d\nmodel: {kind: encoder, hidden_size: 0}")
    with pytest.raises(ConfigError, match="hidden_size: expected 1 or more, found 0"):
        line("--config", str(path), cls=Required)
    with pytest.raises(ConfigError, match="steps: expected at most 10, found 11"):
        line("--data", "d", "--steps", "11", cls=Required)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lerning-rate", "1"], "no flag is called '--lerning-rate'; did you mean '--learning-r"),
        (["--compat.paddin"], "no flag is called '--compat.paddin'; did you mean '--compat.paddin"),
        (["--model.hiden-size=3"], "no flag is called '--model.hiden-size'; did you mean '--mode"),
        (["--confg", "x"], "no flag is called '--confg'; did you mean '--config'?"),
        (["--config"], "--config: expected the name of a preset or a file, found nothing."),
        (["--config", "--seed"], "--config: expected the name of a preset or a file"),
        (["--config", "demo", "--config=demo"], "--config: expected once, found 2 times."),
        (["--config", "dmo"], "--config: no preset is called 'dmo'; did you mean 'demo'? A file"),
        (
            ["--config", "zz"],
            "--config: no preset is called 'zz'; there are: demo, upstream-fclstm.",
        ),
        (["--config", "no/such.yaml"], "no/such.yaml: cannot read the settings"),
        (["--config", "for-another-command"], "preset for-another-command: unknown setting 'wind"),
        (["--learning-rate", "nan"], "learning_rate: expected a number, found nan."),
    ],
)
def test_a_mistake_on_the_line_is_one_sentence(words, message, presets):
    with pytest.raises(UsageError) as error:
        line(*words, presets=presets)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seed", "x"], "--seed"),
        (["--precision", "fp8"], "fp32"),
        (["model:lstm"], "model:fclstm-xl"),
        (["--model.both-ways"], "model:fclstm-xl"),
    ],
)
def test_a_wrong_value_ends_with_status_2_and_says_what_there_is(words, said, capsys):
    with pytest.raises(SystemExit) as end:
        line(*words)
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_dump_config_prints_what_a_run_would_take(presets, capsys):
    with pytest.raises(SystemExit) as end:
        line("--dump-config", "--config", "upstream-fclstm", "--seed", "4", presets=presets)
    assert end.value.code == 0
    config = load_yaml(Config, capsys.readouterr().out)
    assert config == line("--config", "upstream-fclstm", "--seed", "4", presets=presets)


def test_help_tells_presets_flags_and_the_values_a_preset_gives(presets, capsys):
    with pytest.raises(SystemExit) as end:
        line("--config", "upstream-fclstm", "--help", presets=presets)
    page = " ".join(re.sub(r"[\u2500-\u257f]", " ", capsys.readouterr().out).split())
    assert end.value.code == 0
    for said in (
        "Settings of a run.",
        "--config NAME|FILE",
        "--dump-config",
        "upstream-fclstm The authors' recurrent network; not measured.",
        "Peak learning rate. (default: 0.0003)",
        "--model.hidden-size INT Width. (default: 77)",
        "--resume, --no-resume",
    ):
        assert said in page
    assert "for-another-command" not in page


@settings(fast, max_examples=15)
@given(configs.filter(lambda config: config.teacher is None))
def test_a_written_config_read_by_the_line_is_the_same(config):
    # Through a file, as a run folder's config.yaml is used again.
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.yaml")
        path.write_text(dump_yaml(config), encoding="utf-8", newline="")
        assert line("--config", str(path)) == config


def test_importing_config_imports_neither_tyro_nor_torch():
    code = "import sys, shared_core.config; print({'tyro', 'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
