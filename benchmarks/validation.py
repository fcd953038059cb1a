"""Correlation of a predictor on the 400 meta-validation tuples: python benchmarks/validation.py

With one draw of each task, as training validates, and with more, as a search scores.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from scipy import stats

import search_spaces
from engine.cli import gpu_option, run
from engine.runs import choose_device, random_generator
from loading import find_checkpoint, load_model
from tasks.draws import TaskDraws
from tasks.features import check_extractor, find_features, load_features
from tasks.meta_train import FEATURES_NAME, load_tuples


@torch.inference_mode()
def measure(args: argparse.Namespace) -> None:
    device, space = choose_device(args.gpu), search_spaces.get("nasbench201")
    path = args.predictor_checkpoint or find_checkpoint("predictor", space, args.save_path, None)
    model, checkpoint = load_model("predictor", space, path, device)
    features = load_features(find_features(FEATURES_NAME, args.data_path), FEATURES_NAME)
    check_extractor(features, checkpoint.extractor, model.config.feature_dim, "predictor")
    tuples = load_tuples("predictor", space, args.data_path, features.num_classes, args.allow_pickle)
    draws = TaskDraws(features, tuples, 20, device)
    rows = tuples.validation.to(device)
    graph_vec = model.encode_graph(space.encode(tuples.archs).to(device)[rows])
    rng = random_generator(args.seed, device)
    truth, total = tuples.accuracy[tuples.validation].numpy(), torch.zeros(len(rows), device=device)
    print(f"{path}, {len(rows)} validation tuples of {tuples.source}")
    for draw in range(1, args.num_draws + 1):
        set_vec = torch.cat([model.encode_set(draws.images(draws.index(b, rng))) for b in rows.split(100)])
        total += model.predict(set_vec, graph_vec)
        if draw in (1, args.num_draws):
            score = total.cpu().numpy()
            figures = {
                "Pearson": stats.pearsonr(score, truth).statistic,
                "Spearman": stats.spearmanr(score, truth).statistic,
                "Kendall": stats.kendalltau(score, truth).statistic,
            }
            print(f"{draw:>3} draws: " + ", ".join(f"{name} {value:.4f}" for name, value in figures.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", default="data")
    parser.add_argument("--save-path", default="results")
    parser.add_argument("--predictor-checkpoint")
    parser.add_argument("--num-draws", type=int, default=10)
    parser.add_argument("--seed", type=int, default=333)
    parser.add_argument("--allow-pickle", action="store_true")
    gpu_option(parser)
    sys.exit(run(parser, measure))
