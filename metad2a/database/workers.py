"""Measure items in this process or on the workers of a Ray cluster; yield each result when it is finished."""

import math
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from metad2a import spaces
from metad2a.core.cli import is_out_of_memory
from metad2a.core.environment import keep_freed_memory, peak_gb, random_generator
from metad2a.core.errors import UserError
from metad2a.core.files import ROOT
from metad2a.database.items import Item
from metad2a.database.trainings import Training, TrainingsEvaluator

MAX_RETRIES = 3  # for an item whose worker died
FEWER = "Use fewer --num-workers or a machine with more memory. Finished tasks are kept."


@dataclass(frozen=True)
class EvaluatorOptions:
    """What a worker process needs to measure architectures."""

    search_space: str
    imgnet: str  # folder of images
    class_names: tuple[str, ...]  # names of the classes that items number
    supernet: str  # file of the supernet's weights; unused by spaces without a supernet
    num_calibration: int  # training images that calibrate a subnet's batch norm
    epochs: int  # for networks that are trained from scratch
    device: str
    data_name: str = ""  # of a folder of images to train on by the protocol of `train`; empty for ImageNet's tasks
    data_path: str = ""


@lru_cache(maxsize=1)
def _evaluator(options: EvaluatorOptions) -> Any:
    """The evaluator of this process, kept from one item to the next."""
    space = spaces.get(options.search_space)
    return TrainingsEvaluator(space, options) if options.data_name else space.evaluator(options)


def measure(options: EvaluatorOptions, item: Item | Training) -> dict[str, Any]:
    """Measure accuracies (%) of an item's architectures, the seconds and the peak memory (GB) of this process."""
    start, evaluator = time.perf_counter(), _evaluator(options)
    if isinstance(item, Training):
        result = evaluator.train(item)
    else:
        space, rng = spaces.get(options.search_space), random_generator(item.seed)
        archs = [space.from_text(text) for text in item.archs]
        result = {"accuracy": [evaluator.evaluate(arch, item.classes, rng) for arch in archs]}
    return result | {"seconds": time.perf_counter() - start, "peak_gb": peak_gb()}


def measure_here(options: EvaluatorOptions, items: Iterable[Item]) -> Iterator[tuple[Item, dict[str, Any]]]:
    """Measure items one after the other in this process. Raises a UserError if memory is too small."""
    for item in items:
        try:
            yield item, measure(options, item)
        except (MemoryError, RuntimeError) as error:
            _explain(error)
            raise


def _explain(error: Exception) -> None:
    """Raise a UserError if the error means that memory was too small."""
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
    """Measure items on the workers of a Ray cluster, in the order in which they finish.

    If a worker dies, another worker measures its item again, up to 3 times.

    Args:
        options: an `EvaluatorOptions`, or another dataclass with a `device`, for `measure_item`.
        items: what to measure; messages show their text. With `watch` an item is only taken for a free worker.
        num_workers: number of items at a time; 0, with an `address`, for all processors of the cluster.
        address: of a running cluster whose machines have this folder and the images under the same paths; None starts
            `num_workers` processes on this machine.
        use_gpus: share the cluster's GPUs, if any, among the workers; otherwise they use CPUs.
        measure_item: takes options and item, returns the result; None for `measure`.
        watch: called about once a second, for example to read what the workers write.
        failed: makes the result of an item whose worker died too often; without it the error is raised.
    """
    ray = load_ray()
    _connect(ray, num_workers, address)
    try:
        running: dict[Any, Any] = {}
        resources = ray.cluster_resources()
        num_workers = num_workers or int(resources.get("CPU", 1))
        share = gpu_share(num_workers, int(resources.get("GPU", 0))) if use_gpus else 0.0
        # With a part of a GPU, Ray would by default end a worker after each task
        remote = ray.remote(num_cpus=1, num_gpus=share, max_retries=MAX_RETRIES, max_calls=0)
        task = remote(_in_worker(measure_item or measure))
        options = ray.put(replace(options, device="cuda" if share else "cpu"))  # a worker sees only its own GPU
        waiting = iter(items)
        at_once = num_workers if watch else 2 * num_workers  # each has one to work on and one to go on with
        while True:
            while len(running) < at_once and (item := next(waiting, None)) is not None:
                running[task.remote(options, item)] = item
            if not running:
                return
            for reference in ray.wait(list(running), timeout=1 if watch else None)[0]:
                item = running.pop(reference)
                try:
                    result = _result(ray, reference, item)
                except Exception as error:  # the worker's own, too
                    if failed is None:
                        raise
                    result = failed(item, UserError(str(error) or type(error).__name__))
                yield item, result
            if watch is not None:
                watch()
    finally:
        ray.shutdown()


def _in_worker(work: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The work of a process that does nothing else, under the same name."""

    def call(options: Any, item: Any) -> Any:
        keep_freed_memory()
        return work(options, item)

    call.__name__ = call.__qualname__ = work.__name__
    return call


def _connect(ray: Any, num_workers: int, address: str | None) -> None:
    """Connect to a running cluster, or start `num_workers` processes here."""
    if address:
        where: dict[str, Any] = {"address": address, "runtime_env": {"env_vars": {"PYTHONPATH": str(ROOT)}}}
    else:
        where = {"address": "local", "num_cpus": num_workers, "include_dashboard": False}
        paths = dict.fromkeys([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))  # the cluster's processes inherit it
    _check_reachable(address)
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", **where)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise UserError(f"Ray cannot be started or reached ({str(error).splitlines()[0]}).") from error


def gpu_share(num_workers: int, num_gpus: int) -> float:
    """The part of a GPU for each worker, so that every worker finds a place on one GPU; 0 without GPUs.

    Ray counts in steps of 0.0001.
    """
    return math.floor(10_000 / math.ceil(num_workers / num_gpus)) / 10_000 if num_gpus else 0.0


def _check_reachable(address: str | None) -> None:
    """Raise a UserError if the machine does not answer; Ray would wait for minutes."""
    match = re.fullmatch(r"(?:ray://)?(?P<host>[^/:]+):(?P<port>\d{1,5})", address or "")
    if match is None:
        return
    try:
        socket.create_connection((match["host"], int(match["port"])), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"Ray cannot be reached at --ray-address {address} ({error}). Start it there with: ray start --head"
        ) from error


def _result(ray: Any, reference: Any, item: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # the worker's own exception
        _explain(error.cause or error)
        raise (error.cause or error) from error
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        raise UserError(
            f"The worker for {item} died {MAX_RETRIES + 1} times, probably for want of memory. {FEWER} Continue with "
            "the same command."
        ) from error


def load_ray() -> Any:
    """Import Ray, which only commands with workers need; a missing Ray raises a UserError."""
    os.environ.setdefault("RAY_task_oom_retries", str(MAX_RETRIES))  # by default Ray tries for ever
    try:
        import ray
    except ImportError as error:
        raise UserError(
            '--num-workers needs Ray: pip install ".[ray]" in the clone. Or leave the option out: tasks are then '
            "measured one after the other."
        ) from error
    return ray
