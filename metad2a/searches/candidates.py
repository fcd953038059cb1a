"""The candidates of a search: all architectures of the space, or generated ones within the limits."""

from typing import Any

from metad2a.core.environment import random_generator
from metad2a.core.errors import UserError
from metad2a.core.messages import log
from metad2a.searches.generate import Generated, generate
from metad2a.searches.session import Session


def generate_candidates(session: Session, run: int) -> tuple[list[Any], dict[str, float]]:
    """Return the candidates of a run, and the shares of graphs that were valid and distinct."""
    o, space, limits = session.options, session.space, session.limits
    if o.num_gen_arch is None:
        return limits.select(space.all_architectures(), space.name), {}
    if o.num_gen_arch > space.size:
        raise UserError(f"--num-gen-arch {o.num_gen_arch}: {space.name} has {space.size} architectures.")
    rng = random_generator(o.seed + run, o.device)
    if limits and space.architectures is not None:
        archs = limits.select(space.all_architectures(), space.name)
        if len(archs) <= o.num_gen_arch:  # no generating makes more of them
            log.info(f"{len(archs)} architectures of {space.name} are within {limits}: ranking all.")
            return archs, {}
    if limits:
        log.info(f"Generating until {o.num_gen_arch} candidates are within {limits}.")
    made = generate(
        session.models["generator"],
        space,
        session.features,
        o.num_gen_arch,
        o.num_sample,
        rng,
        o.num_class,
        limits.allow,
    )
    if len(made.archs) < o.num_gen_arch and limits and space.architectures is not None:
        log.info(
            f"Only {len(made.archs)} of {made.num_distinct} generated architectures are within {limits}: "
            f"ranking all {len(archs)} of {space.name} that are."
        )
        return archs, {}
    if not made.archs:
        raise _nothing_generated(session, made)
    if len(made.archs) < o.num_gen_arch:
        log.info(
            f"The generator produced only {len(made.archs)} of {o.num_gen_arch} distinct valid architectures in "
            f"{made.num_decoded} graphs; going on with these."
        )
    shares = {
        "decoded": made.num_decoded,
        "valid": made.num_valid / made.num_decoded,
        "distinct_among_valid": made.num_distinct / made.num_valid,
    }
    return made.archs, shares


def _nothing_generated(session: Session, made: Generated) -> UserError:
    """Explain that no candidate was generated: none is within the limits, or none is valid."""
    space, limits = session.space, session.limits
    if made.num_valid:
        return UserError(
            f"{limits}: none of {made.num_distinct} generated architectures is that small. Raise the limit; "
            f"the smallest of {space.name} have {limits.smallest}."
        )
    return UserError(
        f"The generator {session.sources['generator']} produced no valid architecture in {made.num_decoded} "
        f"graphs. Train it longer with: python main.py --model generator --search-space {space.name} "
        f"--resume --max-epoch {2 * max(1, session.checkpoints['generator'].epoch)} (and the options of its first "
        "command), or rank the shipped one's with --generator-checkpoint."
    )
