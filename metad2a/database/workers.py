"""Measure items in this process or on the workers of a Ray cluster, and hand over results as they come."""

import math
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from metad2a import spaces
from metad2a.core.cli import is_out_of_memory
from metad2a.core.environment import keep_freed_memory, peak_gb, random_generator
from metad2a.core.errors import UserError
from metad2a.core.files import ROOT
from metad2a.database.items import Item

MAX_RETRIES = 3  # of an item whose worker died
FEWER = "Use fewer --num-workers or a machine with more memory; finished tasks are kept."


@dataclass(frozen=True)
class EvaluatorOptions:
    """Options of measuring architectures, as a worker process gets them.

    Attributes:
        search_space: its `evaluator` makes one from these options.
        imgnet: folder of images.
        class_names: of the classes that items number.
        supernet: file of its weights, where the space has one.
        num_calibration: training images of a task that calibrate a subnet's batch norm.
        epochs: of networks that are trained from scratch.
        device: of the process that measures.
    """

    search_space: str
    imgnet: str
    class_names: tuple[str, ...]
    supernet: str
    num_calibration: int
    epochs: int
    device: str


@lru_cache(maxsize=1)
def _evaluator(options: EvaluatorOptions) -> Any:
    """A worker's evaluator, kept from one item to the next."""
    keep_freed_memory()
    return spaces.get(options.search_space).evaluator(options)


def measure(options: EvaluatorOptions, item: Item) -> dict[str, Any]:
    """Accuracies (%) of an item's architectures, with the seconds and the peak memory (GB) of this process."""
    start, space = time.perf_counter(), spaces.get(options.search_space)
    evaluator, rng = _evaluator(options), random_generator(item.seed)
    accuracy = [evaluator.evaluate(space.from_text(text), item.classes, rng) for text in item.archs]
    return {"accuracy": accuracy, "seconds": time.perf_counter() - start, "peak_gb": peak_gb()}


def measure_here(options: EvaluatorOptions, items: Iterable[Item]) -> Iterator[tuple[Item, dict[str, Any]]]:
    """Measure items one after the other in this process.

    Raises:
        UserError: an item cannot be measured, for instance because memory is short.
    """
    for item in items:
        try:
            yield item, measure(options, item)
        except (MemoryError, RuntimeError) as error:
            _explain(error)
            raise


def _explain(error: Exception) -> None:
    """Raise the error that a user can solve, where memory is what was missing."""
    if is_out_of_memory(error):
        raise UserError(f"A worker ran out of memory. {FEWER}") from error


def measure_with_ray(
    options: Any,
    items: Iterable[Any],
    num_workers: int,
    address: str | None,
    use_gpus: bool = True,
    measure_item: Callable[[Any, Any], Any] | None = None,
    watch: Callable[[], None] | None = None,
    failed: Callable[[Any, UserError], Any] | None = None,
) -> Iterator[tuple[Any, Any]]:
    """Measure items on the workers of a Ray cluster, in the order they finish.

    An item whose worker dies is measured again by another, up to 3 times.

    Args:
        options: an `EvaluatorOptions`, or another dataclass with a `device`, that `measure_item` takes.
        items: to be measured; their text names them in messages. With `watch` an item is only taken for a free worker.
        num_workers: items measured at once; with an `address` 0 stands for all of the cluster's processors.
        address: of a running cluster whose machines have this folder and the images under the same paths; a cluster of
            `num_workers` processes is started on this machine when None.
        use_gpus: share the cluster's GPUs among the workers, where it has some, instead of measuring on `device`.
        measure_item: from options and item to the result; None for `measure`.
        watch: called about once a second, for example to read what the workers write.
        failed: makes the result of an item from the error if its worker died too often; without it the error is raised.

    Raises:
        UserError: Ray is missing or cannot be reached, or an item cannot be measured.
    """
    with connected(num_workers, address) as (ray, num_workers):
        share = gpu_share(num_workers, int(ray.cluster_resources().get("GPU", 0))) if use_gpus else 0.0
        options = replace(options, device="cuda" if share else "cpu")  # a worker sees its own GPU alone
        task = ray.remote(num_cpus=1, num_gpus=share, max_retries=MAX_RETRIES)(measure_item or measure)
        at_once = num_workers if watch else 2 * num_workers  # each has one to work on and one to go on with
        yield from _stream(ray, task, ray.put(options), iter(items), at_once, watch, failed)


@contextmanager
def connected(num_workers: int, address: str | None) -> Iterator[tuple[Any, int]]:
    """Ray, connected to a running cluster or to one of `num_workers` processes here, and how many may work at once.

    Raises:
        UserError: Ray is missing or cannot be reached.
    """
    ray = load_ray()
    if address:
        where: dict[str, Any] = {"address": address, "runtime_env": {"env_vars": {"PYTHONPATH": str(ROOT)}}}
    else:
        where = {"address": "local", "num_cpus": num_workers, "include_dashboard": False}
        paths = dict.fromkeys([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))  # which the cluster's processes inherit
    _reach(address)
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", **where)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise UserError(f"Ray cannot be started or reached ({str(error).splitlines()[0]}).") from error
    try:
        yield ray, num_workers or int(ray.cluster_resources().get("CPU", 1))
    finally:
        ray.shutdown()


def gpu_share(num_workers: int, num_gpus: int) -> float:
    """The part of a GPU that each worker takes, so that all of them find a place; 0 without GPUs.

    Ray counts in steps of 0.0001, and no worker's part is of two GPUs.
    """
    if num_gpus == 0:
        return 0.0
    workers_of_one = math.ceil(num_workers / num_gpus)
    return math.floor(10_000 / workers_of_one) / 10_000


def _reach(address: str | None) -> None:
    """Refuse a machine that does not answer, which Ray would wait minutes for."""
    found = re.fullmatch(r"(?:ray://)?(?P<host>[^/:]+):(?P<port>\d{1,5})", address or "")
    if found is None:
        return
    try:
        socket.create_connection((found["host"], int(found["port"])), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"Ray cannot be reached at --ray-address {address} ({error}). Start it there with: ray start --head"
        ) from error


def _stream(
    ray: Any,
    task: Any,
    options: Any,
    items: Iterator[Any],
    at_once: int,
    watch: Callable[[], None] | None,
    failed: Callable[[Any, UserError], Any] | None,
) -> Iterator[tuple[Any, Any]]:
    running: dict[Any, Any] = {}
    while True:
        while len(running) < at_once and (item := next(items, None)) is not None:
            running[task.remote(options, item)] = item
        if not running:
            return
        ready, _ = ray.wait(list(running), timeout=1 if watch else None)
        for reference in ready:
            item = running.pop(reference)
            try:
                result = _result(ray, reference, item)
            except UserError as error:
                if failed is None:
                    raise
                result = failed(item, error)
            yield item, result
        if watch is not None:
            watch()


def _result(ray: Any, reference: Any, item: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # the worker's own exception
        _explain(error.cause or error)
        raise (error.cause or error) from error
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        raise UserError(
            f"The worker measuring {item} died {MAX_RETRIES + 1} times, probably for want of memory. {FEWER} "
            "Continue with the same command."
        ) from error


def load_ray() -> Any:
    """Ray, which only commands with workers need.

    Raises:
        UserError: it is not installed.
    """
    os.environ.setdefault("RAY_task_oom_retries", str(MAX_RETRIES))  # Ray's default is to try again for ever
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "--num-workers needs Ray, which is not installed: pip install ray. Without it leave the option out, and "
            "everything runs one after the other."
        ) from error
    return ray
