"""The candidates of a search: all architectures, or distinct valid ones that the generator makes for the dataset
(MetaD2A section 3.1, meta-test).

Dimensions: R draws of the dataset, B graphs decoded at a time, C classes, S images of a class, Z latent.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from generator.model import GeneratorModel
from metad2a.core.environment import random_generator
from metad2a.core.errors import UserError
from metad2a.core.messages import counted, log
from metad2a.core.progress import progress
from metad2a.data.features import Features, draw_dataset
from metad2a.searches.session import Session
from metad2a.spaces.base import SearchSpace
from set_encoder.encoder import SharedImages

DRAWS_PER_ROUND = 50
GRAPHS_PER_ROUND = 1000
PATIENCE = 20  # rounds without a new architecture before the generator counts as exhausted


def generate_candidates(session: Session, run: int) -> tuple[list[Any], dict[str, float]]:
    """The candidates of a run, and the shares of graphs that were valid and distinct. Raises a UserError if there are
    no candidates, or the space has fewer than the options ask for."""
    o, space, limits = session.options, session.space, session.limits
    wanted, listed = o.num_gen_arch, None
    if wanted is None:
        return limits.select(space.all_architectures(), space.name), {}
    if wanted > space.size:
        raise UserError(f"--num-gen-arch {wanted}: {space.name} has only {space.size} architectures. Ask for fewer.")
    if limits and space.architectures is not None:
        listed = limits.select(space.all_architectures(), space.name)
        if len(listed) <= wanted:  # the generator cannot make more
            log.info(f"Ranking all {counted(len(listed), 'architecture')} of {space.name} within {limits}.")
            return listed, {}
    if limits:
        log.info(f"Generating until {counted(wanted, 'candidate')} are within {limits}.")
    rng, model = random_generator(o.seed + run, o.device), session.models["generator"]
    made = generate(model, space, session.features, wanted, o.num_sample, rng, o.num_class, limits.allow)
    if len(made.archs) < wanted and listed:
        log.info(
            f"Only {len(made.archs)} of {made.num_distinct} generated architectures are within {limits}: "
            f"ranking all {len(listed)} of {space.name} that are."
        )
        return listed, {}
    if not made.archs:
        raise _nothing_generated(session, made)
    if len(made.archs) < wanted:
        log.info(
            f"The generator produced only {len(made.archs)} of {wanted} distinct valid architectures in "
            f"{made.num_decoded} graphs; going on with these."
        )
    shares = {
        "decoded": made.num_decoded,
        "valid": made.num_valid / made.num_decoded,
        "distinct_among_valid": made.num_distinct / made.num_valid,
    }
    return made.archs, shares


@dataclass(frozen=True)
class Generated:
    """Distinct accepted architectures in the order they appeared, and counts of all decoded graphs."""

    archs: list[Any]
    num_decoded: int
    num_valid: int
    num_distinct: int


def _nothing_generated(session: Session, made: Generated) -> UserError:
    """The error for no candidate: none is within the limits, or none is valid."""
    space, limits = session.space, session.limits
    if made.num_valid:
        return UserError(
            f"{limits}: none of {made.num_distinct} generated architectures meets this limit. Raise the limit; the "
            f"smallest of {space.name} have {limits.smallest}."
        )
    return UserError(
        f"The generator {session.sources['generator']} produced no valid architecture in {made.num_decoded} "
        f"graphs. Train it longer with: python main.py meta-train --model generator --search-space {space.name} "
        f"--resume --max-epoch {2 * max(1, session.checkpoints['generator'].epoch)} (and the options of its first "
        "command), or use the shipped one with --generator-checkpoint shipped."
    )


@torch.inference_mode()
def generate(
    model: GeneratorModel,
    space: SearchSpace,
    features: Features,
    num_arch: int,
    num_sample: int,
    rng: torch.Generator,
    num_class: int | None = None,
    accept: Callable[[Any], bool] = lambda arch: True,
) -> Generated:
    """Draw the dataset, encode, decode stochastically, until `num_arch` distinct valid architectures are accepted.

    It stops earlier after 20 rounds of 1,000 graphs without a new architecture. A draw has `num_sample` images (S) of
    `num_class` random classes, or of all; `features` and `rng` are on the model's device.
    """
    model.eval()
    seen: set[str] = set()
    candidates: list[Any] = []
    num_decoded = num_valid = idle = 0
    with progress(total=num_arch, desc="candidates", leave=False, delay=1, miniters=0) as bar:
        while len(candidates) < num_arch and idle < PATIENCE:
            decoded, before = decode_round(model, space, features, num_sample, rng, num_class), len(candidates)
            valid = [arch for arch in decoded if arch is not None]
            for arch in valid:
                if (text := space.to_text(arch)) not in seen:
                    seen.add(text)
                    if accept(arch):
                        candidates.append(arch)
            num_decoded += len(decoded)
            num_valid += len(valid)
            idle = idle + 1 if len(candidates) == before else 0
            bar.set_postfix(graphs=num_decoded, refresh=False)
            bar.update(len(candidates) - before)
    return Generated(candidates[:num_arch], num_decoded, num_valid, len(seen))


@torch.inference_mode()
def decode_round(
    model: GeneratorModel,
    space: SearchSpace,
    features: Features,
    num_sample: int,
    rng: torch.Generator,
    num_class: int | None = None,
) -> list[Any]:
    """Decode 1,000 graphs of 50 draws of the dataset stochastically; None for each graph that is not valid."""
    index = draw_dataset(features, DRAWS_PER_ROUND, num_sample, rng, num_class)  # (R, C, S)
    mu, _ = model.set_encode(SharedImages(features.images, index))  # (R, Z), z = mu at test
    z = mu.repeat_interleave(GRAPHS_PER_ROUND // DRAWS_PER_ROUND, 0)  # (B, Z)
    return space.decode(model.decode(z, stochastic=True, rng=rng))
