"""Other search methods on the same networks, data, protocol and clock. `get(name)` is the only door."""

from pkgutil import resolve_name
from typing import TYPE_CHECKING

from engine.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from baselines.base import Method

# Name -> module:class of a method, in the order of tables.
METHODS = {
    "random": "baselines.random_search:RandomSearch",
    "evolution": "baselines.evolution:RegularizedEvolution",
    "assisted-evolution": "baselines.assisted_evolution:AssistedEvolution",
    "bayesian": "baselines.bayesian:BayesianOptimisation",
    "halving": "baselines.halving:SuccessiveHalving",
    "hyperband": "baselines.halving:Hyperband",
    "mdenas": "baselines.mdenas:Mdenas",
    "nsganetv2": "baselines.nsganet:NsgaNet",
    "naswot": "baselines.naswot:Naswot",
    "darts": "baselines.differentiable:Darts",
    "gdas": "baselines.differentiable:Gdas",
    "pc-darts": "baselines.differentiable:PCDarts",
    "mdenas-supernet": "baselines.mdenas_supernet:MdenasSupernet",
    "lpt": "baselines.lpt:Lpt",
    "task-similarity": "baselines.fisher:TaskSimilarity",
    "transfer": "baselines.transfer:Transfer",
    "metad2a": "baselines.metad2a:MetaD2A",
    "metad2a-short": "baselines.metad2a:MetaD2AShort",
    "metad2a-trained": "baselines.metad2a:MetaD2ATrained",
    "metad2a-predictor": "baselines.metad2a:MetaD2APredictor",
}


def get(name: str) -> "Method":
    """The method called `name` with its published hyper-parameters.

    Raises:
        UserError: there is no such method.
    """
    if name not in METHODS:
        raise UserError(f"Unknown method {name!r}. {did_you_mean(name, METHODS)}Methods: {', '.join(METHODS)}.")
    return resolve_name(METHODS[name])()
