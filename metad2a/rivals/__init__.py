"""Other search methods on the same networks, data, protocol and clock. `get(name)` is the only door."""

from pkgutil import resolve_name
from typing import Any

TABLE, REAL = "table", "real"  # forms: accuracies are looked up in a table, or networks are trained on images
# Name -> module:class of a method, in the order of tables.
METHODS = {
    "random": "metad2a.rivals.trivial:RandomSearch",
    "evolution": "metad2a.rivals.evolution:RegularizedEvolution",
    "assisted-evolution": "metad2a.rivals.evolution:AssistedEvolution",
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
    "transfer": "metad2a.rivals.trivial:Transfer",
    "budget": "metad2a.rivals.metad2a:BudgetSearch",
    "metad2a": "metad2a.rivals.metad2a:MetaD2A",
    "metad2a-short": "metad2a.rivals.metad2a:MetaD2AShort",
    "metad2a-trained": "metad2a.rivals.metad2a:MetaD2ATrained",
    "metad2a-predictor": "metad2a.rivals.metad2a:MetaD2APredictor",
}


def get(name: str) -> Any:
    """The `metad2a.rivals.base.Method` called `name`, with its published hyper-parameters."""
    return resolve_name(METHODS[name])()
