"""Every command that the README, a docstring or an error message tells the user to type is one that the program takes,
and those that need nothing but what is shipped run."""

import argparse
import ast
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from test_train_arch import write_images

import main
from metad2a.commands import COMMANDS
from metad2a.commands.base import Command
from metad2a.core.options import MISSING, flag, option_fields

SOURCES = [path for path in ROOT.rglob("*.py") if not {"tests", ".venv"} & set(path.relative_to(ROOT).parts)]
DOCUMENTS = [ROOT / "README.md", ROOT / "data" / "README.md", *sorted(ROOT.glob("docs/*.md"))]
# What the fields of a message stand for, by the end of their expression; anything else is a name.
FIELDS = {
    "kind": "generator",
    "model": "generator",
    "space.name": "ofa_mbv3",
    "epoch)": "40",
    "num_gen_arch": "50",
    "num_runs": "3",
    "'all'": "all",
    "[1])": "3",
    "command": "study.py",
    "features.name": "cifar10",
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


def of_readme():
    """Commands of the consoles and code spans of the README and its pages, also those that begin with torchrun."""
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for console in re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL):
            for line in re.findall(r"^\$ (?:python|torchrun --nproc-per-node 4) (.*)$", console, flags=re.MULTILINE):
                yield line.partition("    #")[0]
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL).replace("\n", " ")
        yield from re.findall(r"`python ([^`]*)`", prose)


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
    assert len(unique(of_readme())) > 30
    assert len(unique(of_sources())) > 30
    text = "It is gone. Build it with: python main.py --model build --seed 3, or (python a/b.py --x 1 ...)."
    assert list(commands_in(text)) == ["main.py --model build --seed 3", "a/b.py --x 1"]


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
@pytest.mark.parametrize("command", unique([*of_readme(), *of_sources()]))
def test_a_command_is_one_that_its_program_takes(command, monkeypatch):
    if "|" in command and "'" not in command:  # "generator | predictor"
        command = re.sub(r"(\w+) \| \w+", r"\1", command)
    words = shlex.split(command.replace("<script>", "get_mnist"), comments=True)
    if words[0] != "-m":
        assert (ROOT / words[0]).is_file()
    if len(words) <= 1 + (words[0] == "-m") or "--help" in words:
        return  # a program is named without its options
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
    known |= {"--help", "--version", "--quiet", "--debug", "--test", "--head", "--no-deps"}  # also of Ray and pip
    for path, part in texts.items():
        named = {name for text in part for name in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z](?![\w-])", text)}
        assert named <= known, path
    fetching = ("search", "meta-test", "train", "compare", "process-dataset", "finetune", "get-files")
    assert all("mirror" in option_fields(COMMANDS[name].options) for name in fetching)  # errors of fetching name it


def test_searches_of_the_readme_run(capsys):
    """In their order, with nothing but what is shipped and a folder of images."""
    write_images(Path("path/to/images"), n=6)
    searches = [c for c in unique(of_readme()) if re.match(r"main.py (.*--model search|.*--test|search|meta-test)", c)]
    searches = [c for c in searches if "--budget" not in c]  # half an hour; tests/test_budget.py spends seconds
    searches = [shlex.split(c) for c in searches if "ofa_mbv3" not in c and "--num-runs" not in c]
    assert len(searches) >= 4
    for words in searches:
        assert main.main(words[1:]) == 0, (words, capsys.readouterr().err)
