"""The program takes every command in the documents, docstrings and error messages. Every command in the README and its
pages runs here, or `TOO_LONG` says why not."""

import argparse
import ast
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import torch
from helpers import ROOT
from helpers.images import write_images

import main
from metad2a.commands.base import Command
from metad2a.commands.registry import COMMANDS
from metad2a.core.options import MISSING, flag, option_fields

SOURCES = [path for path in ROOT.rglob("*.py") if not {"tests", ".venv"} & set(path.relative_to(ROOT).parts)]
PAGES = [ROOT / "docs" / f"{name}.md" for name in ("search", "train", "compare", "reproduction", "mobilenetv3")]
PAGES += [path for path in sorted(ROOT.glob("docs/*.md")) if path not in PAGES]
DOCUMENTS = [*PAGES, ROOT / "README.md", ROOT / "data" / "README.md"]  # in an order in which their commands run
DOCUMENTS += [ROOT / "RESULTS.md", *sorted(ROOT.glob("docs/results/*.md"))]
RECORD = re.compile(r"Made by `[^`]*`")  # commands of earlier releases
# The start of a command, as a pattern -> why it does not run here
TOO_LONG = {
    r"main.py predict .*results/search/breeds": "it needs the network of the search above it, minutes",
    r"main.py search .*--budget": "minutes; tests/test_budget.py searches with small budgets",
    r"main.py search cifar10 --ranking predictor --num-runs": "ten searches; tests/test_search.py makes two",
    r"main.py train (?!.*--epochs 20)": "hours: 200 epochs, three seeds",
    r"main.py meta-test .*--train-arch": "hours: 200 epochs, three seeds",
    r"main.py compare (?!.*--num-seeds 2)": "half a minute to hours; tests/test_compare*.py run small comparisons",
    r"main.py meta-train": "hours; tests/test_train.py trains small models",
    r"main.py --gpu 0 --model (generator|predictor) (?!.*--test)": "the same, in the published spelling",
    r"main.py build-database": "minutes, or needs ImageNet; tests/test_database.py builds small ones",
    r"build_database.py": "the same, in the published spelling",
    r"main.py (train-supernet|finetune|mobilenetv3 (?!.*--dry-run))": "needs ImageNet; tests/test_evaluation.py",
    r"evaluation/main.py": "the same, in the published spelling",
    r"main.py process-dataset .*(imagenet32|imgnet32|imagenet16)": "needs ImageNet; tests/test_process_dataset.py",
    r"(main.py get-files|get_files/)(?!.*--list)": "needs a network; tests/test_download.py has a small server",
    r"-m metad2a.(rankings|metatrain|spaces|data)": "minutes or foreign files; each has its test",
    r"benchmarks/": "measurements of minutes to hours; tests/test_benchmarks.py",
    r".*\b(NAME|DIR|FILE|COMMAND)\b": "a pattern of a command",
}
# What the fields of a message stand for, by the end of their expression; anything else is a name.
FIELDS = {
    "split('-')[0]": "resnet18",
    "kind": "generator",
    "model": "generator",
    "space.name": "ofa_mbv3",
    "epoch)": "40",
    "num_gen_arch": "50",
    "num_runs": "3",
    "'all'": "all",
    "options.runs)": "3",
    "[1])": "3",
    "command": "study.py",
    "features.name": "cifar10",
    "'_')": "mnist",
    "name": "resnet18",
}


class _Parsed(BaseException):
    """A program has parsed its arguments, and goes no further."""


def field_text(node):
    expression = ast.unparse(node)
    return next((value for end, value in FIELDS.items() if expression.endswith(end)), "cifar10")


def literals(tree):
    """The texts of a module as the user sees them, each once, with examples for their fields."""
    if isinstance(tree, ast.JoinedStr):
        yield "".join(v.value if isinstance(v, ast.Constant) else field_text(v.value) for v in tree.values)
    elif isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        yield tree.value
    else:
        for child in ast.iter_child_nodes(tree):
            yield from literals(child)


def commands_in(text):
    """The commands of a text: from `python` to the end of the clause, the code span or the line."""
    for line in text.splitlines():
        for match in re.findall(r"\bpython ((?:-m [\w.]+|[\w/]+\.py)\b.*)", line):
            for part in match.split("python "):
                command = re.split(r"  | or, |`|, | \(|\) |; | \.\.\.|\. |\s#| or | : |: | \[", part)[0]
                yield command.rstrip(".,;:)' ")


def of_documents():
    """Commands in the consoles and code spans of the README and its pages."""
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for console in re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL):
            for line in re.findall(r"^\$ python (.*)$", console, flags=re.MULTILINE):
                yield line.partition("    #")[0].strip()
        prose = RECORD.sub("", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        yield from (" ".join(span.split()) for span in re.findall(r"`python ([^`]*)`", prose))


def of_sources():
    for path in SOURCES:
        for text in literals(ast.parse(path.read_text())):
            for command in commands_in(text):
                yield f"{command}  # {path.relative_to(ROOT)}"


def unique(commands):
    return list(dict.fromkeys(commands))


def parse(words, monkeypatch):
    """Start a program as typed, up to the point where its options are read; returns the command and the values."""
    parse_args, read, seen = argparse.ArgumentParser.parse_args, Command.read, []

    def stop(self, args=None, namespace=None):
        seen.append((None, parse_args(self, args, namespace)))
        raise _Parsed

    def stop_command(self, words, others):
        seen.append((self, read(self, words, others)))
        raise _Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(Command, "read", stop_command)
    as_module = words[0] == "-m"
    monkeypatch.setattr(sys, "path", [str(ROOT), *([] if as_module else [str((ROOT / words[0]).parent)]), *sys.path])
    monkeypatch.setattr(sys, "argv", words[1:] if as_module else words)
    start, program = (runpy.run_module, words[1]) if as_module else (runpy.run_path, str(ROOT / words[0]))
    with pytest.raises(_Parsed):
        start(program, run_name="__main__")
    return seen[0]


def test_commands_are_found():
    """The collectors see what they are for."""
    assert len(unique(of_documents())) > 30
    assert len(unique(of_sources())) > 30
    text = "It is gone. Build it with: python main.py --model build --seed 3, or (python a/b.py --x 1 ...)."
    assert list(commands_in(text)) == ["main.py --model build --seed 3", "a/b.py --x 1"]


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
@pytest.mark.parametrize("command", unique([*of_documents(), *of_sources()]))
def test_a_command_is_one_that_its_program_takes(command, monkeypatch):
    if "|" in command and "'" not in command:  # "generator | predictor"
        command = re.sub(r"(\w+) \| \w+", r"\1", command)
    words = shlex.split(command.replace("KIND", "generator"), comments=True)
    if words[0] != "-m":
        assert (ROOT / words[0]).is_file()
    if not is_whole(command.partition("  #")[0]):
        return
    Path("photos").mkdir()  # some options need a folder
    command, given = parse(words, monkeypatch)
    if command is not None and "--dry-run" not in words:
        missing = {"arch": "x", "data_name": "mnist", "network": "x", "images": "x", "imgnet": "x", "dataset": "x"}
        needed = {n for n, s in option_fields(command.options).items() if s.default is MISSING}
        command.prepare({n: v for n, v in missing.items() if n in needed} | given)  # parts of commands are examples


def messages(path):
    """The texts of a module that are no documentation, piece by piece."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    documentation = {node.value for node in nodes if isinstance(node, ast.Expr)}
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and node not in documentation]
    return [text for text in texts if isinstance(text, str)]


def test_options_that_messages_name_are_ones_of_a_program():
    texts = {path: messages(path) for path in SOURCES}
    known = {flag(name) for one in COMMANDS.values() for name in option_fields(one.options)}
    known |= {
        name for one in COMMANDS.values() for s in option_fields(one.options).values() for name in s.metadata["names"]
    }
    known |= {text for part in texts.values() for text in part if re.fullmatch(r"--[a-z][\w-]*", text)}  # add(...)
    known |= {"--help", "--version", "--quiet", "--debug", "--test"}
    known |= {"--head", "--no-deps", "--screenshot", "--window-size"}  # of Ray, pip and Chromium
    for path, part in texts.items():
        named = {name for text in part for name in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z](?![\w-])", text)}
        assert named <= known, path
    fetching = ("search", "meta-test", "train", "compare", "process-dataset", "finetune", "get-files")
    assert all("mirror" in option_fields(COMMANDS[name].options) for name in fetching)  # errors of fetching name it


def is_whole(command):
    """Whether a document shows a command with its words. Others are only named."""
    return not re.fullmatch(r"(main.py [\w-]+|[\w/]+\.py|-m [\w.]+)\s*", command) and "--help" not in command


def fill(words):
    """Words of a document with the key of a folder that is there."""
    for word in words:
        if re.search(r"\bKEY\b|0123456789ab", word):
            ((trained),) = Path("results/train_arch").glob("*/*/seed_*/network.pt")
            word = str(trained if word.endswith(".pt") else trained.parents[1])
        yield word


def run(command):
    """Run a command in this process; returns its exit code."""
    words = list(fill(shlex.split(command)))
    if words[0] == "main.py":
        return main.main(words[1:])
    as_module = words[0] == "-m"
    sys.argv = words[as_module:]
    start, program = (runpy.run_module, words[1]) if as_module else (runpy.run_path, str(ROOT / words[0]))
    with pytest.raises(SystemExit) as stop:
        start(program, run_name="__main__")
    return stop.value.code


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
def test_commands_of_the_documents_run(capsys, monkeypatch):
    """In the order of `DOCUMENTS`, with nothing but what is shipped and a folder of images."""
    for folder in ("photos", "new-photos", "path/to/images"):
        write_images(Path(folder), n=6)
    monkeypatch.setattr(sys, "argv", sys.argv)
    commands = [command for command in unique(of_documents()) if is_whole(command)]
    left_out = {pattern: [c for c in commands if re.match(pattern, c)] for pattern in TOO_LONG}
    assert all(left_out.values()), "a pattern of TOO_LONG fits no command"
    short = [command for command in commands if not any(re.match(pattern, command) for pattern in TOO_LONG)]
    assert len(short) >= 15
    for command in short:
        assert not run(command), (command, capsys.readouterr().err)


@pytest.mark.parametrize("page", ["search", "train"])
def test_python_of_the_documents_runs(page):
    write_images(Path("photos"), n=6)
    if page == "train":
        run("main.py train --arch '|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|' --data-name photos "
            "--image-folder photos --epochs 1 --num-runs 1")  # fmt: skip
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(), flags=re.DOTALL)
    key = next((path.parents[1].name for path in Path("results/train_arch").glob("*/*/seed_777/network.pt")), "")
    exec(code.replace("KEY", key), {"images": torch.rand(2, 3, 32, 32)})
