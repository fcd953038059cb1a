"""Which options a mode takes, which checkpoints it uses, and what surrounds a command."""

import ast
import csv
import errno
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.images import write_images

import main
import metad2a
from metad2a import spaces
from metad2a.__main__ import find_command
from metad2a.commands.registry import COMMANDS
from metad2a.commands.search import COMMAND as SEARCH
from metad2a.core.cli import as_started, guarded, report_error
from metad2a.core.errors import UserError, did_you_mean
from metad2a.core.files import ASSETS
from metad2a.core.messages import counted
from metad2a.core.options import MISSING, SIZES, broken_rule, flag, option_fields, smaller_options
from metad2a.core.values import check_name
from metad2a.metatrain.models import find_checkpoint, trained_here
from metad2a.metatrain.options import FitOptions
from metad2a.searches.options import PUBLISHED_DATASETS

ROOT = Path(__file__).parents[1]
CHECKPOINTS = {"generator": "ckpt_400.pt", "predictor": "ckpt_max_corr.pt"}
PROGRAMS = (
    "main.py",
    "build_database.py",
    "process_dataset.py",
    "evaluation/main.py",
)
CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"


@pytest.mark.parametrize(
    ("line", "option", "owner"),
    [
        ("--model search --max-epoch 5", "--max-epoch", "meta-train"),
        ("search --lr 3", "--lr", "meta-train"),
        ("search cifar10 --arch foo", "--arch", "train"),
        ("search cifar10 --export onnx", "--export", "--budget"),
        ("--model search --data-name cifar10 --overwrite", "--overwrite", "--budget"),
        ("--model search --test", "--test", "--model generator or predictor"),
        ("--model generator --data-name pets", "--data-name", "search"),
        ("--model build --lr 1", "--lr", "meta-train"),
        ("meta-train --model generator --within-task-loss 1", "--within-task-loss", "--model predictor"),
        ("--model predictor --test --generator-checkpoint x", "--generator-checkpoint", "--model generator"),
        ("--model generator --test --num-draws 3", "--num-draws", "--model predictor"),
        ("--model predictor --test --epochs 3", "--epochs", "--train-arch true"),
        ("meta-test --model generator --train-arch true", "--train-arch", "--model predictor"),
        ("search cifar10 --budget 1m --num-runs 3", "--num-runs", "--budget"),
        ("compare --data-name cifar10 --channels 4", "--channels", "--form real"),
        ("train --arch x --data-name pets --seeds 1,2 --num-runs 2", "--num-runs", "--seeds"),
        ("build-database --model predictor --num-sampled 3 --imgnet x", "--num-sampled", "--model generator"),
        ("build-database --model generator --num-arch 3", "--num-arch", "--model predictor"),
        ("build-database --model predictor", "--imgnet", "missing"),
        ("build-database --model predictor --collect --index 3", "--index", "--collect"),
        ("build-database --model predictor --collect --num-tasks 3", "--num-tasks", "--collect"),
        ("get-files mnist --search-space ofa_mbv3", "--search-space", "preprocessed-data"),
    ],
)
def test_an_option_in_the_wrong_place_is_refused(refuses, line, option, owner):
    message = refuses(line)
    assert option in message
    assert owner in message


def test_a_command_names_the_option_to_use_instead(refuses):
    assert "Did you mean --epochs?" in refuses("train --max-epoch 1 --data-name pets")
    assert "Did you mean --max-epoch?" in refuses("--model predictor --epochs 1")
    assert "Did you mean --max-flops?" in refuses("search cifar10 --max-flop 60")
    assert "Did you mean --split-seed?" in refuses("train --arch x --data-name pets --seed 5")
    assert "Did you mean search?" in refuses("serach cifar10")
    assert "Did you mean predictor?" in refuses("--model predicter")
    assert "first word" in refuses("--data-name cifar10")


@pytest.mark.parametrize(
    ("published", "name"),
    [
        ("--model search", "search"),
        ("--model=train_arch", "train"),
        ("--gpu 0 --model_name predict", "predict"),
        ("--model compare", "compare"),
        ("--model build", "build-database"),
        ("--gpu 0 --model generator --hs 56 --nz 56", "meta-train"),
        ("--gpu 0 --model predictor --hs 512 --nz 56 --test --num-gen-arch 50", "meta-test"),
    ],
)
def test_the_published_spelling_is_the_same_command(published, name):
    command, words = find_command(published.split())
    assert command.name == name
    if "--model" in words:
        assert words[1] == ("generator" if "generator" in published or "build" in published else "predictor")


def test_defaults_stand_only_in_the_dataclasses():
    """What the user does not give keeps the dataclass's default; underscores and synonyms are read."""
    command, words = find_command(["--model", "predictor", "--batch_size", "7", "--graph_data_name", "ofa_mbv3"])
    options = command.prepare(command.read(words, COMMANDS.values()))
    assert options.fit == FitOptions(batch_size=7)
    assert (options.model, options.search_space, options.data_path) == ("predictor", "ofa_mbv3", "data")
    assert (options.hs, options.resume, options.device.type) == (None, False, options.device.type)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_short_and_of_this_command_only(name, command):
    code, out, _ = command(f"{name} --help")
    assert code == 0
    assert len(out.splitlines()) <= 60
    assert max(map(len, out.splitlines())) <= 120
    own = option_fields(COMMANDS[name].options)
    listed = set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", out, flags=re.MULTILINE))
    named = {flag(option) for option, spec in own.items() if not spec.metadata["positional"]}
    assert listed == named | {"--help", "--quiet", "--debug"}
    for spec in own.values():
        assert spec.metadata["help"][0].isupper()
        assert spec.metadata["help"].endswith(".")
        if isinstance(spec.default, int | float) and spec.default is not False:
            shown = spec.metadata["help"]
            assert "default" in shown, spec.name


def test_the_overview_fits_a_screen(command):
    code, out, _ = command("--help")
    assert code == 0
    assert len(out.splitlines()) <= 32
    for name, one in COMMANDS.items():
        assert f"  {name} " in out
        assert one.example in out
        found, words = find_command(one.example.replace("'500 evaluations'", "500evaluations").split())
        assert found is one
        one.read(words, COMMANDS.values())


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_advised_when_memory_is_short_is_accepted(name):
    """Each option can be given beside those that the user gave."""
    one = COMMANDS[name]
    needed = {n: "generator" if n == "model" else "mnist" for n, s in option_fields(one.options).items()
              if s.default is MISSING}  # fmt: skip
    for more in ({}, {"budget": "1m"}, {"collect": True, "model": "predictor"}, {"form": "real"}):
        given = needed | more
        if not set(given) <= set(option_fields(one.options)):
            continue
        options = one.prepare(given)
        for option in smaller_options(options, ()):
            size = option[2:].replace("-", "_")
            assert size in SIZES
            assert broken_rule(one.prepare(given | {size: 2}), size) is None


@pytest.mark.parametrize(
    "name", ["../../evil", "/tmp/evil", "", "..", ".hidden", "a/b", "a\\b", "-x", "x" * 101, "a\nb"]
)
def test_names_that_lead_elsewhere_are_refused(name, capsys):
    with pytest.raises(UserError):
        check_name(name, "--dataset")
    for line in (["search", f"--data-name={name}"], ["--model", "train_arch", "--arch=x", f"--data-name={name}"]):
        assert main.main(line) == 2
    assert "cannot be a name" in capsys.readouterr().err


def test_options_that_cannot_be_read_get_one_paragraph(refuses, capsys):
    assert "--help" in refuses("search cifar10 --gpu")
    assert "--max-flops must be a finite number" in refuses("search cifar10 --max-flops nan")
    assert "--num-runs must be at least 1" in refuses("search cifar10 --num-runs 0")
    assert "--help" in refuses("--data-name cifar10 --modle search")
    assert "--help" in refuses("--data-name cifar10 --model")
    assert "leave it out" in refuses("search cifar10 cifar100")
    report_error("a\n  b, '/two  spaces'")
    assert capsys.readouterr().err == "error: a b, '/two  spaces'\n"


@pytest.mark.parametrize("name", ["cifar10", "imagenet16-120", "meine Bilder", "データ", "a.b_c"])
def test_ordinary_names_are_names(name):
    assert check_name(name, "--dataset") == name


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """Official files come from an empty folder: there are none, and no network is asked."""
    empty = tmp_path / "mirror"
    empty.mkdir()
    monkeypatch.setenv("METAD2A_MIRROR", str(empty))


@pytest.mark.usefixtures("authors_data", "toy_checkpoints", "offline")
@pytest.mark.parametrize("data_name", ["", "--data-name all"])
def test_all_datasets_are_done_as_far_as_their_files_are_there(command, data_name):
    options = f"--test --num-runs 1 --num-gen-arch 3 --num-sample 3 {data_name}"
    code, _, err = command(f"--model generator {options}")
    assert code == 2
    assert all(name in err.splitlines()[-1] for name in ("cifar100", "svhn", "aircraft"))
    assert "cifar10," not in err.splitlines()[-1]
    assert "pets" not in err.splitlines()[-1]
    assert {path.parts[-3] for path in Path("results/meta_test").glob("*/generated_arch/run_1.txt")} == {
        "cifar10",
        "pets",
    }
    code, _, err = command(f"--model predictor {options}")
    assert code == 2
    for name in ("cifar10", "pets"):
        assert float(Path(f"results/meta_test/{name}/time.txt").read_text().split()[0]) > 0
        assert Path(f"results/meta_test/{name}/best_arch/architecture.txt").is_file()


@pytest.mark.usefixtures("offline")
def test_a_mistyped_dataset_gets_a_suggestion(refuses):
    assert "Did you mean cifar10?" in refuses("--model search --data-name cifra10")
    assert did_you_mean("cifar100", ["cifar10", "cifar100"]) == ""  # it is known, and something else is missing
    assert "Did you mean aircraft?" in refuses("--model search --data-name aircaft")
    assert "Did you mean svhn?" in refuses(f"--model train_arch --arch {CELL} --data-name svnh")


@pytest.mark.usefixtures("authors_data")
def test_the_checkpoints_are_always_named(command, toy_checkpoints):
    line = "--model search --data-name pets --num-gen-arch 3 --num-sample 3"
    code, _, err = command(line)
    assert code == 0, err
    for kind, path in toy_checkpoints.items():
        assert f"{kind}: {path.relative_to(Path.cwd())}, epoch 400" in err
    code, _, err = command("--model search --data-name cifar10 --num-gen-arch 3 --save-path elsewhere --data-path none")
    assert code == 0, err
    assert "generator: shipped metad2a/assets/checkpoints/nasbench201/generator.pt, epoch" in err
    assert "validation loss" in err
    assert "predictor: shipped metad2a/assets/checkpoints/nasbench201/predictor.pt, epoch" in err
    assert "validation correlation" in err


def rewrite_epoch(path, epoch, target=None):
    value = torch.load(path, weights_only=True)
    value["epoch"] = epoch
    torch.save(value, target or path)


def rewrite_bias(path):
    """Have a generator make nothing but the largest operation."""
    value = torch.load(path, weights_only=True)
    value["state"]["decoder.add_vertex.2.bias"][5] = 50.0
    torch.save(value, path)


@pytest.mark.usefixtures("authors_data")
def test_an_untrained_checkpoint_is_refused(refuses, toy_checkpoints):
    rewrite_epoch(toy_checkpoints["generator"], 0)
    message = refuses("--model search --data-name pets --num-gen-arch 3")
    assert "has not finished an epoch" in message
    assert str(toy_checkpoints["generator"].name) in message


@pytest.mark.usefixtures("authors_data")
def test_the_generator_in_use_is_that_of_the_last_epoch(command, toy_checkpoints):
    path = toy_checkpoints["generator"]
    rewrite_epoch(path, 20, path.with_name("ckpt_20.pt"))
    rewrite_epoch(path, 37, path.with_name("ckpt_last.pt"))
    path.unlink()
    code, _, err = command("--model search --data-name pets --num-gen-arch 3 --num-sample 3")
    assert code == 0, err
    assert "ckpt_last.pt, epoch 37" in err


def half_trained(path, epoch, target):
    """Make a checkpoint that of an epoch in a training of 400."""
    value = torch.load(path, weights_only=True)
    torch.save(value | {"epoch": epoch, "history": {"max_epoch": 400}}, target)


def find(kind, load_epoch=None, given=None):
    return find_checkpoint(kind, spaces.get("nasbench201"), "results", load_epoch, given)


@pytest.fixture
def messages(monkeypatch):
    said = []
    monkeypatch.setattr("metad2a.metatrain.models.log.info", said.append)
    return said


@pytest.mark.parametrize("kind", ["generator", "predictor"])
def test_an_unfinished_model_of_ones_own_gives_way_to_the_shipped_one(toy_checkpoints, messages, kind):
    own, shipped = toy_checkpoints[kind], ASSETS / "checkpoints" / "nasbench201" / f"{kind}.pt"
    last = own.with_name("ckpt_last.pt")
    half_trained(own, 8, last)
    assert find(kind) == shipped
    assert "unfinished, epoch 8 of 400: the shipped one is used" in messages[-1]
    taken = last if kind == "generator" else own
    assert f"--{kind}-checkpoint {taken.relative_to(Path.cwd())}" in messages[-1]
    assert not trained_here(kind, spaces.get("nasbench201"), "results")
    half_trained(own, 400, last)
    assert find(kind).name == taken.name
    assert f"add --{kind}-checkpoint shipped" in messages[-1]
    assert find(kind, given="shipped") == shipped
    assert find(kind, given="a.pt") == Path("a.pt")


def test_an_epoch_that_is_asked_for_is_used_however_far_the_training_is(toy_checkpoints, messages):
    half_trained(toy_checkpoints["generator"], 8, toy_checkpoints["generator"].with_name("ckpt_last.pt"))
    half_trained(toy_checkpoints["generator"], 8, toy_checkpoints["generator"].with_name("ckpt_8.pt"))
    assert find("generator", 8).name == "ckpt_8.pt"


def test_the_published_epoch_is_the_shipped_one_if_an_own_run_lacks_it(toy_checkpoints, messages):
    last = toy_checkpoints["generator"].rename(toy_checkpoints["generator"].with_name("ckpt_last.pt"))
    assert find("generator", 400).is_relative_to(ASSETS)
    advised = re.search(r"leave out --load-epoch and add --generator-checkpoint (\S+)\.$", messages[-1])[1]
    assert find("generator", given=advised).samefile(last)
    with pytest.raises(UserError, match=r"ckpt_77\.pt is missing"):
        find("generator", 77)


@pytest.mark.parametrize("line", ["search", "--model search", "search --budget 1m", "search --image-folder x"])
def test_a_search_asks_for_its_dataset(refuses, line):
    message = refuses(line)
    assert "python main.py search cifar10" in message
    assert "all does the paper's six" in message


def test_all_is_typed(command, monkeypatch):
    """And then all six are searched for."""
    done = []
    monkeypatch.setattr("metad2a.searches.instant.search", lambda options: done.append(options.data_name))
    for line in ("search all", "--model search --data-name all"):
        assert command(line)[0] == 0
        assert done == list(PUBLISHED_DATASETS)
        done.clear()


def test_a_place_that_cannot_be_written_is_found_before_the_work(refuses, monkeypatch):
    for one in ("search", "train", "predict", "process-dataset"):
        monkeypatch.setitem(COMMANDS.replaced, one, replace(COMMANDS[one], run=None))
    Path("file").touch()
    assert "--save-path file/results cannot be written" in refuses("search cifar10 --save-path file/results")
    assert "is no folder" in refuses(f"train --arch {CELL} --data-name pets --save-path file")
    assert "--output file/a.csv" in refuses("predict --network x --images y --output file/a.csv")
    assert "--data-path file/x" in refuses("process-dataset --dataset mnist --data-path file/x")
    assert "may not be written by you" in refuses("search cifar10 --save-path /proc/results")  # even if it is root's


def test_the_places_of_new_files_are_told(command, tmp_path, monkeypatch):
    monkeypatch.setitem(COMMANDS.replaced, "search", replace(SEARCH, run=lambda _: None))
    assert f"Files go to {tmp_path / 'results'} (--save-path)." in command("search cifar10")[2]
    Path("results").mkdir()
    assert "Files go to" not in command("search cifar10")[2]


def test_only_commands_change_the_allocator(command, monkeypatch):
    from metad2a import api
    from metad2a.core import environment

    called = []
    monkeypatch.setattr(environment.platform, "libc_ver", lambda: called.append(1) or ("", ""))
    api.search("cifar10", max_flops=60)
    assert not called
    assert command("search cifar10 --max-flops 60")[0] == 0
    assert called


@pytest.mark.usefixtures("authors_data", "toy_checkpoints")
def test_a_limit_that_fewer_meet_than_are_wanted_needs_no_generating(command, monkeypatch, space):
    monkeypatch.setattr("metad2a.searches.generate.generate", None)
    code, out, err = command("--model search --data-name pets --num-gen-arch 3000 --num-sample 3 --max-flops 12")
    assert code == 0, err
    archs = space.all_architectures()
    fitting = sum(space.cost(arch, 5)["flops"] <= 12 and space.can_learn(arch) for arch in archs)
    assert f"all {fitting} architectures of nasbench201 within" in err
    assert f"{fitting} architectures ranked" in out


@pytest.mark.usefixtures("authors_data")
def test_a_limit_below_what_is_generated_ranks_what_fits(command, toy_checkpoints):
    rewrite_bias(toy_checkpoints["generator"])
    code, _, err = command("--model search --data-name pets --num-gen-arch 5 --num-sample 3 --max-flops 12")
    assert code == 0, err
    assert "ranking all" in err
    with Path("results/search/pets/001/ranking_run_1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 100
    assert max(float(row["mflops"]) for row in rows) <= 12


@pytest.mark.usefixtures("authors_data", "toy_checkpoints")
def test_an_earlier_time_is_kept(command):
    assert command("--model generator --test --data-name pets --num-gen-arch 3 --num-sample 3")[0] == 0
    for _ in range(2):
        assert command("--model predictor --test --data-name pets --num-gen-arch 3 --num-sample 3")[0] == 0
    assert Path("results/meta_test/pets/time.txt.old-1").is_file()


@pytest.mark.usefixtures("authors_data", "toy_checkpoints")
def test_a_result_folder_stands_for_its_first_choice(command, refuses):
    from metad2a.networks.train_arch import first_choice

    command("--model search --data-name pets --num-gen-arch 3 --num-sample 3")
    with Path("results/search/pets/001/ranking_run_1.csv").open() as file:
        best = next(csv.DictReader(file))["architecture"]
    assert first_choice("results/search/pets/001") == best
    assert first_choice(CELL) == CELL
    assert "folder without results" in refuses("--model train_arch --arch results --data-name pets")


@pytest.mark.parametrize(
    "option",
    ["--num-sample", "--num-draws", "--latency-batch", "--batch-size", "--hs", "--num-tasks", "--num-gen-arch"],
)
@pytest.mark.parametrize("number", ["1000000000", "9" * 30, "1_0", "0x10", "-1"])
def test_numbers_that_no_machine_has_memory_for_are_refused(option, number, capsys):
    name = next(name for name, one in COMMANDS.items() if option[2:].replace("-", "_") in option_fields(one.options))
    given = {"generator", "predictor"} if name in ("meta-train", "meta-test", "build-database") else set()
    assert main.main([name, *(["--model", "generator"] if given else []), f"{option}={number}"]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 7 TiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_out_of_memory_says_what_to_make_smaller(error, capsys, monkeypatch):
    def run(options):
        raise error

    monkeypatch.setitem(COMMANDS.replaced, "search", replace(SEARCH, run=run))
    assert main.main(["search", "cifar10", "--num-draws", "9999"]) == 2
    message = capsys.readouterr().err
    assert "error: Memory is not enough" in message
    assert "Make smaller: --num-draws." in message
    assert main.main(["search", "cifar10", "--budget", "1m"]) == 2
    assert "Make smaller: --num-workers." in capsys.readouterr().err


def test_without_a_number_given_what_usually_helps_is_named():
    options = COMMANDS["meta-train"].prepare({"model": "predictor"})
    assert "--batch-size" in smaller_options(options, {"model"})


def test_other_errors_of_the_program_keep_their_traceback():
    def work():
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError):
        guarded(work)


def test_an_installed_program_advises_what_it_has(monkeypatch):
    """It has no scripts of a clone."""
    advice = "Do: python main.py meta-train --model predictor, or: python get_files/get_predictor_checkpoint.py"
    assert as_started(advice) == advice
    monkeypatch.setattr(sys, "argv", ["/usr/bin/metad2a", "search"])
    assert as_started(advice) == "Do: metad2a meta-train --model predictor, or: metad2a get-files predictor-checkpoint"


def in_shell(*words, env=None):
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, errors="replace", env={**os.environ, **(env or {})}
    )


def test_isolated_python_finds_the_program(tmp_path):
    """-I and -P leave the script's folder out of the path."""
    for script in (*PROGRAMS, "get_files/get_mnist.py"):
        result = in_shell("-I", "-P", str(ROOT / script), "--help")
        assert result.returncode == 0, result.stderr
        assert "python main.py" in result.stdout


@pytest.mark.usefixtures("toy_checkpoints")
def test_a_terminal_without_the_letters_does_no_harm(tmp_path, authors_data):
    """Class names, folders and datasets have letters that ASCII lacks, and the locale knows no other."""
    (tmp_path / "データ").mkdir()
    shutil.copy(authors_data / "petsbylabel.pt", tmp_path / "データ" / "größebylabel.pt")
    line = "--data-path データ --save-path größe --num-gen-arch 2 --num-sample 2 --num-draws 1 --gpu cpu "
    line += " ".join(f"--{kind}-checkpoint results/{kind}/model/{name}" for kind, name in CHECKPOINTS.items())
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    result = in_shell(str(ROOT / "main.py"), *f"--model search --data-name größe {line}".split(), env=ascii_only)
    assert result.returncode == 0, result.stderr
    assert "gr\\xf6" in result.stdout
    assert (tmp_path / "größe" / "search" / "größe" / "001" / "summary.json").is_file()
    no_locale = ascii_only | {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "LANG": "C"}
    result = in_shell(str(ROOT / "main.py"), *f"--model search --data-name größe {line}".split(), env=no_locale)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    line = line.replace("データ", "data").replace("größe", "plain")
    result = in_shell(str(ROOT / "main.py"), *f"--model search --data-name pets {line}".split(), env=no_locale)
    assert result.returncode == 0, result.stderr


def test_the_program_tells_its_version(command):
    for line in ("--version", "process-dataset --version", "--model search --version"):
        code, out, _ = command(line)
        assert (code, out) == (0, f"MetaD2A {metad2a.__version__}\n")


def test_help_and_wrong_options_need_no_pytorch():
    code = (
        "import sys, main\n"
        "assert main.main(['--model', 'search', '--max-epoch', '5']) == 2\n"
        "assert main.main(['--help']) == 0\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_an_old_python_gets_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "version_info", (3, 8, 18, "final", 0))
    source = (ROOT / "metad2a" / "__init__.py").read_text(encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        exec(compile(source, "metad2a", "exec"), {})
    assert stop.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("name", [*PROGRAMS, "metad2a/__init__.py"])
def test_an_old_python_can_parse_what_tells_it(name):
    ast.parse((ROOT / name).read_text(encoding="utf-8"), feature_version=(3, 8))


def works(python):
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
FOUND = [path for minor in (7, 8, 9, 10) if (path := shutil.which(f"python3.{minor}"))]
OLD = [path for path in [*FOUND, *PYENV.glob("3.[789]*/bin/python3"), *PYENV.glob("3.10*/bin/python3")] if works(path)]


@pytest.mark.old_python
@pytest.mark.skipif(not OLD, reason="there is no older Python here")
@pytest.mark.parametrize("name", [*PROGRAMS, "get_files/get_mnist.py"])
def test_programs_on_an_old_python(name):
    for python in OLD:
        done = subprocess.run([python, ROOT / name, "--help"], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert re.fullmatch(r"error: MetaD2A needs Python 3\.11\.4 or later; this is 3\.\d+\.\d+\.\n", done.stderr)


def test_an_old_python_has_no_torch_and_needs_none():
    """The check ends every program before it imports what an old Python need not have."""
    scripts = (
        "main.py",
        "build_database.py",
        "process_dataset.py",
        "evaluation/main.py",
    )
    code = (
        "import runpy, sys\n"
        "sys.version_info = (3, 8, 18)\n"
        "sys.modules.update(dict.fromkeys(('torch', 'requests', 'numpy')))\n"  # not to be had
        "sys.argv = [sys.argv[1], '--help']\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    for script in (*scripts, "get_files/get_mnist.py"):
        result = in_shell("-c", code, str(ROOT / script))
        assert result.returncode == 2, result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_formats_that_cannot_be_written_are_refused_before_anything_is_ranked(refuses, monkeypatch):
    from metad2a.networks import export

    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    message = refuses("--model predictor --test --data-name cifar10 --train-arch true --export onnx")
    assert 'pip install ".[onnx]"' in message


@pytest.mark.usefixtures("authors_data", "toy_checkpoints")
def test_messages_can_be_fewer_or_more(command):
    line = "--model search --data-name pets --num-gen-arch 3 --num-sample 3"
    code, out, err = command(f"{line} --quiet")
    assert code == 0
    assert err == ""
    assert "architectures ranked" in out
    assert "generator:" in command(line)[2]
    code, _, err = command("--model search --data-name nowhere --debug")
    assert code == 2
    assert "Traceback" in err
    assert "Traceback" not in command("--model search --data-name nowhere")[2]
    assert command(f"{line} --quiet --debug")[0] == 2


def test_a_command_works_without_standard_error(tmp_path):
    """As in a cron job that has closed it: the work is done, and no file gets the number of the closed stream."""
    write_images(Path("photos"), n=3)
    words = [
        sys.executable,
        str(ROOT / "main.py"),
        *["process-dataset", "--dataset", "photos", "--image-folder", "photos"],
    ]
    done = subprocess.run(["sh", "-c", f"{shlex.join(words)} 2>&-"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert Path("data/photosbylabel.pt").is_file()
    done = subprocess.run(["sh", "-c", f"{shlex.join(words[:2])} nonsense 2>&-"], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")


def test_a_removed_folder_is_named(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    words = shlex.join([sys.executable, str(ROOT / "main.py"), "search", "cifar10"])
    script = f"cd {shlex.quote(str(gone))} && rmdir {shlex.quote(str(gone))} && {words}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: The current folder has been removed. Change to another: cd\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize(
    "line",
    [
        "process-dataset --dataset mine --image-folder . --class-order pipe",
        "finetune --data-name cifar10 --model-config pipe",
        "search cifar10 --generator-checkpoint pipe",
        "predict --network pipe --images .",
    ],
)
def test_a_pipe_is_not_waited_for(refuses, line):
    os.mkfifo("pipe")
    assert "pipe is a pipe or a device" in refuses(line)


def test_digits_of_other_scripts_are_no_device_number(refuses):
    assert "device number or cpu" in refuses("search cifar10 --gpu ²")


def test_an_interruption_is_told_once(command, monkeypatch, tmp_path):
    from metad2a.core.training_run import TrainingRun

    def run(options):
        with TrainingRun(tmp_path / "run", ("*.pt",), False, False):
            (tmp_path / "run" / "a.pt").touch()
            raise KeyboardInterrupt

    monkeypatch.setitem(COMMANDS.replaced, "search", replace(SEARCH, run=run))
    code, _, err = command("search cifar10")
    assert code == 130
    assert err.lower().count("interrupted") == 1
    assert "--resume" in err


def test_a_sentence_ends_once(refuses):
    assert ".." not in refuses("meta-train --model")
    assert ".." not in refuses("search cifar10 --gpu")


def test_numbers_and_their_nouns():
    assert [counted(n, "class") for n in (0, 1, 2)] == ["0 classes", "1 class", "2 classes"]
    assert [counted(n, "image") for n in (1, 4930)] == ["1 image", "4930 images"]
    assert [counted(n, "epoch") for n in (1, 2)] == ["1 epoch", "2 epochs"]
    assert [counted(2, noun) for noun in ("batch", "search")] == ["2 batches", "2 searches"]
