"""Small worlds to test in: data in the authors' formats, and toy models."""

import contextlib
import re
import shutil
from dataclasses import asdict

import pytest
import torch
from helpers.authors import NUM_CLASSES, TASK_SIZE, authors_features, authors_tuples
from helpers.ofa import ofa

import main
from generator.model import GeneratorConfig, GeneratorModel
from metad2a import spaces
from metad2a.__main__ import find_command
from metad2a.core.errors import UserError
from metad2a.core.options import flag, option_fields
from metad2a.metatrain.checkpoints import Checkpoint
from predictor.model import PredictorConfig, PredictorModel


def pytest_addoption(parser):
    parser.addoption("--may-skip", metavar="MARKS", help="A skipped test without one of these marks fails.")


def fail_if_skipped(report, config, marks):
    allowed = config.getoption("--may-skip")
    if allowed is not None and report.outcome == "skipped" and not marks & set(allowed.split(",")):
        report.outcome, report.longrepr = "failed", f"This must not be skipped: {report.longrepr[2]}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return fail_if_skipped((yield), item.config, {mark.name for mark in item.iter_markers()})


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return fail_if_skipped((yield), collector.config, set())


@pytest.fixture(scope="session")
def space():
    return spaces.get("nasbench201")


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


@pytest.fixture(autouse=True)
def _one_folder_a_test(tmp_path, monkeypatch):
    """Commands write to `data` and `results` of the current folder: give every test its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.delenv("METAD2A_ALLOW_PICKLE", raising=False)


@pytest.fixture
def one_thread():
    """Sums in the order in which a subprocess with one thread makes them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def command(capsys):
    """Run `main.py` in this process: command("--model search ...") -> exit code, standard output, standard error."""

    def run(line):
        try:
            code = main.main(line.split())
        except SystemExit as stop:  # argparse
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def check_remedies(words, message):
    """Options that a message names, beside those that the user typed and whole commands, are ones of this command."""
    with contextlib.suppress(UserError):
        chosen, _ = find_command(words)
        fields = option_fields(chosen.options)
        own = {flag(name) for name in fields} | {name for spec in fields.values() for name in spec.metadata["names"]}
        own |= {"--help", "--model", "--test"}
        prose = re.sub(r"(python|metad2a) .*", "", message.partition(" has no option")[0])
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", prose))
        typed = {word.partition("=")[0].replace("_", "-") for word in words}
        assert named - typed <= own, message


@pytest.fixture
def refuses(command):
    """Run a command that must fail as bad input does: code 2, one paragraph, no traceback; returns the message.

    What the message advises must be an option of the command that failed.
    """

    def run(line):
        code, _, err = command(line)
        errors = [text for text in err.splitlines() if text.startswith("error: ")]
        assert code == 2
        assert len(errors) == 1
        assert "Traceback" not in err
        check_remedies(line.split(), errors[0])
        return errors[0]

    return run


@pytest.fixture
def authors_data(tmp_path, space):
    """`data` as the authors' get_files script leaves it, but small."""
    data = tmp_path / "data"
    data.mkdir()
    torch.save(authors_features(), data / "imgnet32bylabel.pt")
    torch.save(authors_features(10, 25, seed=1), data / "cifar10bylabel.pt")
    torch.save(authors_features(5, 9, seed=2), data / "pets.pt".replace(".pt", "bylabel.pt"))
    rng = torch.Generator().manual_seed(3)
    tasks = [(torch.randperm(NUM_CLASSES, generator=rng)[:TASK_SIZE] + 1).tolist() for _ in range(6)]
    torch.save(tasks, data / "meta_train_task_lst.pt")
    for kind in ("generator", "predictor"):
        tuples, split = authors_tuples(space)
        torch.save(tuples, data / f"meta_train_tasks_{kind}.pt")
        torch.save(split, data / f"meta_train_tasks_{kind}_idx.pt")
    return data


@pytest.fixture
def toy_checkpoints(tmp_path, space):
    """Untrained small models for ResNet-18 features, where a training run would leave them."""
    torch.manual_seed(0)
    sizes = {"max_n": space.max_n, "num_vertex_type": space.num_vertex_type, "nz": 8}
    generator = GeneratorModel(GeneratorConfig(hs=8, **sizes))
    with torch.no_grad():
        generator.decoder.add_edge[2].bias.fill_(3)  # many edges, so that untrained graphs are often valid
        generator.decoder.add_vertex[2].bias[:2] = -5
    models = {"generator": generator, "predictor": PredictorModel(PredictorConfig(hs=16, **sizes))}
    paths = {}
    for (kind, model), name in zip(models.items(), ("ckpt_400.pt", "ckpt_max_corr.pt"), strict=True):
        paths[kind] = tmp_path / "results" / kind / "model" / name
        target = {"mean": 70.0, "std": 5.0} if kind == "predictor" else {}
        config = asdict(model.config)
        Checkpoint(kind, space.name, config, model.state_dict(), "resnet18-32px", target, 400).save(paths[kind])
    return paths


@pytest.fixture(scope="session")
def browser():
    """Chromium of the system, driven by Playwright."""
    sync_api = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def ofa_checkpoints(tmp_path):
    """Untrained models of MobileNetV3 under the names of a training run; the generator makes shallow stages."""
    torch.manual_seed(0)
    sizes = {"max_n": ofa.max_n, "num_vertex_type": ofa.num_vertex_type, "nz": 56}
    generator = GeneratorModel(GeneratorConfig(hs=56, **sizes))
    with torch.no_grad():
        generator.decoder.add_edge[2].bias.fill_(3)
        generator.decoder.add_vertex[2].bias[:] = -20
        generator.decoder.add_vertex[2].bias[2:11] = 0  # the nine operations of depth 2
    models = {"generator": generator, "predictor": PredictorModel(PredictorConfig(hs=512, **sizes))}
    paths = {}
    for (kind, model), name in zip(models.items(), ("ckpt_120.pt", "ckpt_max_corr.pt"), strict=True):
        paths[kind] = tmp_path / "results" / "ofa_mbv3" / kind / "model" / name
        target = {"mean": 50.0, "std": 9.0} if kind == "predictor" else {}
        Checkpoint(kind, ofa.name, asdict(model.config), model.state_dict(), "resnet18-32px", target, 120).save(
            paths[kind]
        )
    return paths
