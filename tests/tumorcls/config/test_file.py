import json
import math
import os

import pytest
import tomli_w

from search.results.export import _none_in, _without_none
from search.study_file import env as search_settings
from tumorcls.config import variables
from tumorcls.config.file import Member, check_seed, read_config
from tumorcls.config.train_config import TrainConfig
from tumorcls.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    def write_file(content):
        path = tmp_path / "best.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


CONFIG = '[config]\ndata = ["a"]\nepochs = 7\n'


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("[config", "must be TOML"),
        ("x = 1", "[config] table"),
        (b"\xff\xfe", "not UTF-8"),
        (CONFIG.encode("utf-16"), "not UTF-8"),
        ("x = " + "[" * 1000 + "]" * 1000, "nested 20 deep"),
        ("x = " + "[" * 30 + "]" * 30, "nested 20 deep"),
        ("x = " + "1" * 5000, "must be TOML; Exceeds the limit"),
        ("x = " + "1" * 400, "must fit in 64 bits; got one of 400 digits"),
        ("#" * 2**21, "at most 1 MiB"),
        (CONFIG + "epochs = 8\n", "must be TOML; Cannot overwrite a value"),
        ("provenance = 3\n" + CONFIG, "provenance: must be a table; got 3"),
        ("environment = 3\n" + CONFIG, "environment: must name variables; got 3"),
        ('environment = ["a b"]\n' + CONFIG, "environment: must name variables"),
        ("environment = [3]\n" + CONFIG, "environment: must name variables"),
        ("none = 3\n" + CONFIG, "none: must be an array of places; got 3"),
        ("none = [[]]\n" + CONFIG, "none: must be an array of places"),
        ('none = [["data", 1]]\n' + CONFIG, "none: must name places of [config]; got ['data', 1]"),
        ('none = [["a", "b"]]\n' + CONFIG, "none: must name places of [config]"),
        ('none = [["epochs"]]\n' + CONFIG, "epochs: "),
        ('none = [["data", -1]]\n' + CONFIG, "none: must name places of [config]; got ['data', -1]"),
        ('none = [["data", true]]\n' + CONFIG, "none: must name places of [config]; got ['data', True]"),
        ("members = 3\n" + CONFIG, "members: must be tables; got 3"),
        (CONFIG + "[[members]]\nseed = 1\n", "members[0]: must have a table config; got {'seed': 1}"),
        (CONFIG + "[[members]]\n" * 51, "members: must be at most 50; got 51"),
        (CONFIG + '[[members]]\nseed = -1\n[members.config]\ndata = ["a"]\n', "members[0].seed: must be a whole number from 0"),
        (
            '[config]\ndata = "${HOME}"',
            "config.data: a variable must begin with TUMORCLS_",
        ),
        (
            '[config]\ndata = ["a", "${HOME}"]',
            "config.data[1]: a variable must begin with TUMORCLS_",
        ),
        (
            '[config]\ndata = "${TUMORCLS_SURELY_UNSET}"',
            "config.data: the environment variable TUMORCLS_SURELY_UNSET must",
        ),
    ],
)
def test_a_file_that_is_no_config_is_one_line(content, rule, write):
    path = write(content)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert rule in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_only_a_regular_file_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "a\0b"):
        with pytest.raises(ConfigError, match=r"a config must be a (regular file|readable TOML file)"):
            read_config(path)


def test_a_config_that_is_missing_is_told_as_missing(tmp_path):
    path = tmp_path / "none.toml"
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value) == f"{path}: a config must exist; got no such file. Write one with `search export`."


@pytest.mark.parametrize("change", [str.encode, lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()])
def test_a_config_file_is_read(change, write):
    assert read_config(write(change(CONFIG))).config.epochs == 7


def test_variables_are_expanded_and_kept_as_written(write, monkeypatch):
    monkeypatch.setenv("TUMORCLS_DATA", "/here")
    monkeypatch.setenv("MINE", "w.h5")
    path = write('environment = ["MINE"]\n[config]\ndata = ["${TUMORCLS_DATA:-data}/sartaj"]\nweights = "${MINE}"\n')
    file = read_config(path)
    assert (file.config.data, file.config.weights) == (("/here/sartaj",), "w.h5")
    assert variables.written_parts(file.written) == {"data": ["${TUMORCLS_DATA:-data}/sartaj"], "weights": "${MINE}"}
    assert variables.expand_known(file.written, {"TUMORCLS_DATA": "/x"}) == {"data": ["/x/sartaj"], "weights": "${MINE}"}


def test_a_model_s_config_is_expanded_as_far_as_it_may_be_and_reads_no_other_variable():
    """A stranger's file would otherwise have a message, or what is made of it, show what a machine keeps there."""
    environ = {"TUMORCLS_A": "/a", "SECRET": "s"}
    written = {"data": ["${TUMORCLS_A}", "${TUMORCLS_B}", "${SECRET}"], "weights": "${SECRET}"}
    assert variables.expand_known(written, environ) == {**written, "data": ["/a", "${TUMORCLS_B}", "${SECRET}"]}


@pytest.mark.parametrize("environ", [{}, {"TUMORCLS_A": ""}, {"TUMORCLS_A": "a"}, {"TUMORCLS_A": "${B}", "B": "b"}])
@pytest.mark.parametrize(
    "text", ["${TUMORCLS_A:-d}/x", "$A ${a b} {A}", "${TUMORCLS_A:-}", "${B:-x}${TUMORCLS_A:-y}", "${b_1:-x}${1b:-y}"]
)
def test_the_rule_is_that_of_a_study_file(text, environ):
    ours = variables.expand({"key": [text]}, environ, ["B", "b_1"], "config")
    assert ours == search_settings.expand({"key": [text]}, environ, "objective")
    assert variables.PREFIX == search_settings.PREFIX


def test_a_variable_that_is_set_to_nothing_is_set_as_in_a_study_file():
    text, environ = {"key": "${TUMORCLS_A}/x"}, {"TUMORCLS_A": ""}
    assert variables.expand(text, environ, (), "x") == search_settings.expand(text, environ, "x") == {"key": "/x"}


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, math.nan, True, "7", None, [1]])
def test_a_wrong_seed_is_one_line(seed):
    with pytest.raises(ConfigError, match=r"^x: must be a whole number from 0 to 2\*\*63 - 1; got"):
        check_seed(seed, "x")
    assert check_seed(2**63 - 1, "x") == 2**63 - 1


def document(member, **more):
    """Returns a file of one config and of one member that differs from it by some values."""
    config = {"data": ["a", "b"], "views": 4}
    return tomli_w.dumps({"config": config, "members": [{"config": {**config, **member}, **more}]})


@pytest.mark.parametrize(
    "changed",
    [
        {"data": ["b", "a"]},
        {"slices": "all"},
        {"split": {"seed": 1}},
        {"weights": "w.h5"},
        {"image_size": 96},
        {"trainable_from": "block7"},
        {"batch_norm": "train", "trainable_from": "all"},
        {"views": 3},
        {"noises": ["gaussian"]},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_members_that_have_no_meaning_together_are_refused(changed, write):
    with pytest.raises(
        ConfigError, match=r": members\[0\]\.config\.(\w+): members of one model must have the same; got "
    ) as caught:
        read_config(write(document(changed)))
    assert any(f".config.{name}: " in str(caught.value) for name in changed)


def test_a_member_has_a_seed_and_a_name_and_what_it_may_differ_in(write, monkeypatch):
    monkeypatch.setenv("TUMORCLS_HERE", "a")
    [member] = read_config(write(document({"data": ["${TUMORCLS_HERE}", "b"], "epochs": 3}, seed=8, trial=5))).members
    assert member == Member(member.config, 8, "trial 5")
    assert (member.config.data, member.config.epochs) == (("a", "b"), 3)
    [nameless] = read_config(write(document({}))).members
    assert (nameless.seed, nameless.name) == (0, "member 0")


VALUES = {
    "none": None,
    "deep": {"none": None, "list": [1, None, [None, {"x": None}], ""]},
    "numbers": [math.inf, -math.inf, -0.0, 0.0, 1e-320, 2**63 - 1, -(2**63), 1, 1.0, True],
    "empty": [[], {}, ""],
    'a "key" with .dots and ü': "\n\t\x7f\0 \\ '\"",
}


def test_every_value_survives_an_exported_file(write):
    document = {"none": list(_none_in(VALUES)), "config": _without_none(VALUES, fill=True)}
    path = write(tomli_w.dumps(document))
    with pytest.raises(ConfigError):  # these are no settings of ours
        read_config(path)
    from tumorcls.config.file import _read_toml, _set_none

    read = _read_toml(path)
    _set_none(path, read)
    dumped = json.dumps(read["config"], sort_keys=True)  # which tells types and signs apart
    assert dumped == json.dumps(VALUES, sort_keys=True)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"measured_noises": [], "score": "clean_f1"},
        {"rotation_degrees": 0.0, "dropout": -0.0, "learning_rate": 1e-300},
        {"noise_intensity": 6 * 0.05, "split": {"seed": 3, "binary": True}},
        {"data": ["a b", "ü#?", "phantoms:8"], "weights": "w\n.h5"},
    ],
)
def test_a_config_is_the_same_after_an_export(changed, write):
    config = TrainConfig.parse({"data": "x", **changed}, where="x")
    dumped = config.model_dump(mode="json")
    read = read_config(
        write(tomli_w.dumps({"none": list(_none_in(dumped)), "config": _without_none(dumped, fill=True)}))
    ).config
    assert read == config
    assert repr(read) == repr(config)


def test_a_path_is_kept_so_that_it_means_the_same_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    assert variables.lasting("data", {}) == str(tmp_path / "data")
    assert variables.lasting("data/none", {}) == "data/none"
    assert variables.lasting("imagenet", {}) == "imagenet"
    assert variables.lasting("data", {"TUMORCLS_DATA": "data"}) == "data", "the variable will stand in its place"
    assert variables.lasting(str(tmp_path), {"TUMORCLS_DATA": ""}) == str(tmp_path)
    assert variables.lasting("data", {"TUMORCLS_DATA": "", "OTHER": "data"}) == str(tmp_path / "data"), "no file names these"
    (tmp_path / "data" / "w.h5").touch()
    (tmp_path / "link").symlink_to("data")
    assert variables.lasting("data/w.h5", {}) == str(tmp_path / "data" / "w.h5")
    assert variables.lasting("data/w.h5", {"TUMORCLS_DATA": "data"}) == "data/w.h5"
    assert variables.lasting("link", {}) == str(tmp_path / "link"), "where it leads may change"


@pytest.mark.parametrize(("version", "later"), [("0.2.0", True), ("0.1.0", False)])
def test_a_setting_that_a_later_version_has_is_no_mistake_of_the_user(write, version, later):
    path = write(f'{CONFIG}sharpness = 2\n[provenance.recorded]\ntumorcls = "{version}"\n')
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    rule = f"{path}: must be a config of tumorcls 0.1.0 or earlier; got one of 0.2.0. Install tumorcls 0.2.0 or later."
    assert (str(caught.value) == rule) == later
    assert ("sharpness" in str(caught.value)) != later
