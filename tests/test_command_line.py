"""Which options a mode takes, which checkpoints it uses, and what surrounds a command."""

import ast
import csv
import errno
import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import main
import metad2a
from metad2a import __main__ as program
from metad2a.commands import build_database
from metad2a.core.cli import _report_error, run, smaller_options
from metad2a.core.errors import UserError, did_you_mean
from metad2a.core.names import check_name
from metad2a.core.options import fill
from metad2a.metatrain.options import FitOptions, TrainOptions

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
    ("line", "option", "mode"),
    [
        ("--model search --max-epoch 5", "--max-epoch", "generator | predictor"),
        ("--model search --lr 3", "--lr", "generator | predictor"),
        ("--model search --arch foo", "--arch", "train_arch"),
        ("--model search --export onnx", "--export", "--budget"),
        ("--model search --overwrite", "--overwrite", "--budget"),
        ("--model search --test", "--test", "generator | predictor"),
        ("--model generator --data-name pets", "--data-name", "search"),
        ("--model build --lr 1", "--lr", "generator | predictor"),
        ("--model predictor --test --generator-checkpoint x", "--generator-checkpoint", "search"),
        ("--model predictor --test --epochs 3", "--epochs", "train_arch"),
    ],
)
def test_an_option_that_a_mode_does_not_use_is_refused(refuses, line, option, mode):
    message = refuses(line)
    assert option in message
    assert mode in message


def test_a_mode_names_the_option_to_use_instead(refuses):
    assert "use --epochs here" in refuses("--model train_arch --max-epoch 1 --data-name pets")
    assert "use --max-epoch here" in refuses("--model predictor --epochs 1")


def test_defaults_stand_in_the_dataclasses_alone():
    """What is not given is not in the arguments, so that the dataclass's own default holds."""
    args = program.build_parser().parse_args(["--model", "predictor", "--batch_size", "7"])
    fit = fill(FitOptions, args)
    assert fit == FitOptions(batch_size=7)
    train = fill(TrainOptions, args, kind="predictor", device=torch.device("cpu"), fit=fit)
    assert (train.search_space, train.data_path, train.hs, train.resume) == ("nasbench201", "data", None, False)


@pytest.mark.parametrize(
    "name", ["../../evil", "/tmp/evil", "", "..", ".hidden", "a/b", "a\\b", "-x", "x" * 101, "a\nb"]
)
def test_names_that_lead_elsewhere_are_refused(name, capsys):
    with pytest.raises(UserError):
        check_name(name, "--dataset")
    for line in (["--model", "search", f"--data-name={name}"], ["--model", "train_arch", f"--data-name={name}"]):
        with pytest.raises(SystemExit) as stop:
            main.main(line)
        assert stop.value.code == 2
    assert "cannot be a name" in capsys.readouterr().err


def test_options_that_cannot_be_read_get_one_paragraph(refuses, capsys):
    for line in ("--max-flops nan", "--num-runs 0", "--modle search", "--model"):
        assert "--help" in refuses(f"--data-name cifar10 {line}")
    _report_error("a\n  b, '/two  spaces'")
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
    assert "generator: shipped assets/checkpoints/nasbench201/generator.pt, epoch" in err
    assert "validation loss" in err
    assert "predictor: shipped assets/checkpoints/nasbench201/predictor.pt, epoch" in err
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


@pytest.mark.usefixtures("authors_data")
def test_an_epoch_that_an_own_run_lacks_is_not_the_shipped_one(refuses, toy_checkpoints):
    toy_checkpoints["generator"].rename(toy_checkpoints["generator"].with_name("ckpt_last.pt"))
    assert "ckpt_400.pt is missing" in refuses("--model search --data-name pets --num-gen-arch 3 --load-epoch 400")


@pytest.mark.usefixtures("authors_data", "toy_checkpoints")
def test_a_limit_that_fewer_meet_than_are_wanted_needs_no_generating(command, monkeypatch, space):
    monkeypatch.setattr("metad2a.searches.generate.generate", None)
    code, out, err = command("--model search --data-name pets --num-gen-arch 3000 --num-sample 3 --max-flops 12")
    assert code == 0, err
    fitting = sum(space.cost(arch, 5)["flops"] <= 12 for arch in space.all_architectures())
    assert f"{fitting} architectures of nasbench201 are within" in err
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


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("--model_name predictor --num-sampled 3 --imgnet x", "--num-sampled"),
        ("--model_name generator --num-arch 3", "--num-arch"),
        ("--model_name predictor", "--imgnet is missing"),
    ],
)
def test_options_of_the_other_database(capsys, line, option):
    assert run(build_database.build_parser(), build_database.dispatch, line.split()) == 2
    assert option in capsys.readouterr().err


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
    with pytest.raises(SystemExit) as stop:
        main.main(["--model", "search", f"{option}={number}"])
    assert stop.value.code == 2
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
def test_out_of_memory_says_what_to_make_smaller(error, capsys):
    def command(args):
        raise error

    assert run(program.build_parser(), command, ["--model", "search", "--num-draws", "9999"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: Memory is not enough")
    assert "Make smaller: --num-draws." in message


def test_without_a_number_given_what_usually_helps_is_named():
    parser = program.build_parser()
    assert "--batch-size" in smaller_options(parser, parser.parse_args(["--model", "predictor"]))


def test_other_errors_of_the_program_keep_their_traceback():
    def command(args):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError):
        run(program.build_parser(), command, ["--model", "search"])


def in_shell(*words, env=None):
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, errors="replace", env={**os.environ, **(env or {})}
    )


def test_isolated_python_finds_the_program(tmp_path):
    """-I and -P leave the script's folder out of the path."""
    for script in (*PROGRAMS, "get_files/get_mnist.py"):
        result = in_shell("-I", "-P", str(ROOT / script), "--help")
        assert result.returncode == 0, result.stderr
        assert "usage" in result.stdout


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


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_tells_the_version(name, capsys):
    program = importlib.import_module(name.removesuffix(".py").replace("/", "."))
    with pytest.raises(SystemExit) as stop:
        run(program.build_parser(), None, ["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"MetaD2A {metad2a.__version__}\n"


def test_help_and_wrong_options_need_no_pytorch():
    code = (
        "import sys, main\n"
        "assert main.main(['--model', 'search', '--max-epoch', '5']) == 2\n"
        "from metad2a.commands import build_database, process_dataset, train_supernet, evaluate\n"
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


OLD = [path for minor in (7, 8, 9, 10) if (path := shutil.which(f"python3.{minor}")) and works(path)]


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


def test_collecting_takes_no_options_of_building(capsys):
    for options in ("--index 3", "--num-tasks 3", "--num-sampled 3"):
        line = f"--model_name predictor --collect {options}"
        assert run(build_database.build_parser(), build_database.dispatch, line.split()) == 2
        assert "does nothing with --model_name predictor --collect" in capsys.readouterr().err


def test_formats_that_cannot_be_written_are_refused_before_anything_is_ranked(refuses, monkeypatch):
    from metad2a.networks import export

    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    message = refuses("--model predictor --test --data-name cifar10 --train-arch true --export onnx")
    assert "pip install onnx" in message


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
