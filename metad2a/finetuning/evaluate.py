"""Evaluate a MobileNetV3 architecture on a dataset, from its choice to the result file."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from metad2a import spaces
from metad2a.core.environment import TextLog, provenance
from metad2a.core.files import file_digest, identity_key, write_json
from metad2a.core.training_run import TrainingRun
from metad2a.core.values import folder_words
from metad2a.finetuning.architectures import Chosen, first_within, read_model_config, searched
from metad2a.finetuning.data import FineTuningData, load_fine_tuning_data
from metad2a.finetuning.finetune import FineTuning, evaluate_inherited, fine_tune, fine_tuned_network
from metad2a.finetuning.options import FinetuneOptions
from metad2a.spaces.ofa_mbv3.evaluator import output_numbers
from metad2a.spaces.ofa_mbv3.supernet import load_supernet, subnet
from metad2a.training.classifier import Run

space = spaces.get("ofa_mbv3")
PRODUCTS = ("*.pt", "result.json")  # of a run in its folder


def evaluate(options: FinetuneOptions) -> str:
    """Fine-tune a subnet with the supernet's weights and return a report.

    Files go to `<save_path>/ofa_mbv3/evaluation/<dataset>/<key>/`.

    Raises a UserError if the architecture, supernet or images are missing, or an earlier run is in the way.
    """
    protocol = FineTuning(epochs=options.epochs, batch_size=options.batch_size, lr=options.lr)
    supernet, config = load_supernet(options.supernet)
    candidates = choose(options, config.width_mult)
    size = options.image_size or candidates[0].image_size or config.image_size
    images = (options.data_name, options.image_folder, options.data_path, options.mirror)
    data = load_fine_tuning_data(*images, size, protocol.cutout, options.valid_share, options.seed)
    sized = space.sized(size, config.width_mult)
    chosen, cost = first_within(options.bound, candidates, sized, len(data.class_names))
    identity = identify(options, chosen, data, size, protocol)
    history = provenance(options.seed, supernet=options.supernet, images=data.origin, architecture=chosen.source)
    folder = Path(options.save_path) / space.results_folder / "evaluation" / data.name / identity_key(identity)
    torch.manual_seed(options.seed)  # of the classifier's weights
    outputs: list[int] = []
    if options.epochs:
        network = fine_tuned_network(supernet, chosen.arch, len(data.class_names), protocol)
    else:
        outputs = output_numbers(config, data.class_names, options.supernet)
        network = subnet(supernet, chosen.arch)
    network = network.to(options.device)
    sizes = {name: len(getattr(data, name)) for name in ("train", "valid", "test")}
    with TrainingRun(folder, PRODUCTS, options.resume, options.overwrite, may_begin=True) as training:
        training.begin(identity, history)
        if options.epochs:
            run = Run(network, protocol, identity, options.seed, folder / "ckpt_last.pt")
            run.restore()
            figures = fine_tune(run, data, options.num_workers, TextLog(folder / "log.txt"))
        else:
            figures = evaluate_inherited(network, data, outputs, size, options)
        value = {**identity, **cost, **figures, "num_images": sizes, "history": training.history}
        write_json(folder / "result.json", value)
    if options.epochs:
        how = f"at epoch {figures['epoch']}, the best by validation ({figures['valid']:.2f} %)"
    else:
        calibrated = f"batch norm calibrated on {figures['calibrated_on']} training images"
        how = f"with the supernet's weights, {calibrated}; nothing was trained"
    return (
        f"{identity['architecture']} from {chosen.source}\n"
        f"{data.name}: {cost['flops']:.1f} MFLOPs, {cost['params']:.2f} M parameters, {size} px\n"
        f"test accuracy {figures['test']:.2f} % {how}\n"
        f"results are in {folder}"
    )


def choose(options: FinetuneOptions, width_mult: float) -> list[Chosen]:
    """The architecture that the options name, or all candidates of a search, best first."""
    if options.arch:
        return [Chosen(space.from_text(options.arch), "--arch")]
    if options.model_config:
        return [read_model_config(options.model_config, width_mult)]
    folder = Path(options.save_path) / space.results_folder / "meta_test" / options.data_name
    hint = (
        f"Search with: python main.py meta-test --model generator --search-space {space.name} --data-name "
        f"{options.data_name} --num-gen-arch {options.num_gen_arch} --save-path {options.save_path}"
        + (f" --image-folder {shlex.join(folder_words(options.image_folder))}" if options.image_folder else "")
    )
    return searched(folder / str(options.num_gen_arch), hint)


def identify(
    options: FinetuneOptions, chosen: Chosen, data: FineTuningData, image_size: int, protocol: FineTuning
) -> dict[str, Any]:
    """Everything that a result depends on."""
    return {
        "architecture": space.to_text(chosen.arch),
        "dataset": data.name,
        "images": data.fingerprint,
        "image_size": image_size,
        "supernet": file_digest(options.supernet),
        "protocol": asdict(protocol) if protocol.epochs else {"epochs": 0, "num_calibration": options.num_calibration},
        "seed": options.seed,
    }
