"""Other search methods on the same networks, data, protocol and clock. `get(name)` is the only door."""

from pkgutil import resolve_name
from typing import TYPE_CHECKING

from metad2a.core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from metad2a.rivals.base import Method

# Name -> module:class of a method, in the order of tables.
METHODS = {
    "random": "metad2a.rivals.random_search:RandomSearch",
    "evolution": "metad2a.rivals.evolution:RegularizedEvolution",
    "assisted-evolution": "metad2a.rivals.assisted_evolution:AssistedEvolution",
    "bayesian": "metad2a.rivals.bayesian:BayesianOptimisation",
    "halving": "metad2a.rivals.halving:SuccessiveHalving",
    "hyperband": "metad2a.rivals.halving:Hyperband",
    "mdenas": "metad2a.rivals.mdenas:Mdenas",
    "nsganetv2": "metad2a.rivals.nsganet:NsgaNet",
    "naswot": "metad2a.rivals.naswot:Naswot",
    "darts": "metad2a.rivals.differentiable:Darts",
    "gdas": "metad2a.rivals.differentiable:Gdas",
    "pc-darts": "metad2a.rivals.differentiable:PCDarts",
    "mdenas-supernet": "metad2a.rivals.mdenas_supernet:MdenasSupernet",
    "lpt": "metad2a.rivals.lpt:Lpt",
    "task-similarity": "metad2a.rivals.fisher:TaskSimilarity",
    "transfer": "metad2a.rivals.transfer:Transfer",
    "budget": "metad2a.rivals.budget_search:BudgetSearch",
    "metad2a": "metad2a.rivals.metad2a:MetaD2A",
    "metad2a-short": "metad2a.rivals.metad2a:MetaD2AShort",
    "metad2a-trained": "metad2a.rivals.metad2a:MetaD2ATrained",
    "metad2a-predictor": "metad2a.rivals.metad2a:MetaD2APredictor",
}


def get(name: str) -> "Method":
    """The method called `name` with its published hyper-parameters.

    Raises:
        UserError: there is no such method.
    """
    if name not in METHODS:
        raise UserError(f"Unknown method {name!r}. {did_you_mean(name, METHODS)}Methods: {', '.join(METHODS)}.")
    return resolve_name(METHODS[name])()
