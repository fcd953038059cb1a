"""Models that can load the authors' checkpoints, whose parameters have other names."""

from typing import Any

import torch
import torch.nn as nn

from metad2a.core.tensors import check_state

WRAPPERS = ("state_dict", "model_state_dict", "model")
BEGINNINGS = ("module.", "_orig_mod.")


def published_name(name: str, renames: dict[str, str]) -> str:
    """The authors' name of our parameter `name`; `renames` maps our prefixes to theirs."""
    for ours, theirs in renames.items():
        if name.startswith(ours):
            return theirs + name[len(ours) :]
    return name


def plain_state(value: Any) -> Any:
    """The parameters in a file of a training script, without the dictionary around them and the beginnings that
    DataParallel and `torch.compile` give to all names."""
    for name in WRAPPERS:
        if isinstance(value, dict) and isinstance(value.get(name), dict):
            value = value[name]
            break
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        return value
    while value and (start := next((s for s in BEGINNINGS if all(n.startswith(s) for n in value)), "")):
        value = {name.removeprefix(start): tensor for name, tensor in value.items()}
    return value


class PublishedModel(nn.Module):
    """A model that can load the parameters of an authors' checkpoint."""

    published_names: dict[str, str] = {}  # our prefixes of parameter names -> the authors' prefixes
    published_unused: tuple[str, ...] = ()  # the authors' prefixes of parameters that never receive a gradient

    def our_names(self, published: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Rename the authors' parameters to ours and leave the unused parameters out."""
        names = {published_name(name, self.published_names): name for name in self.state_dict()}
        return {
            names.get(name, name): tensor
            for name, tensor in published.items()
            if name in names or not name.startswith(self.published_unused)
        }

    def load_published(self, state_dict: dict[str, torch.Tensor]) -> list[str]:
        """Load the authors' parameters but the unused ones; return the sorted names of these.

        Raises a UserError if a parameter is missing, unknown or of another shape or type.
        """
        ours = self.our_names(state_dict)
        model = f"a published {type(self).__name__}"
        check_state("The state dict", ours, self, model, "Give a checkpoint of the authors.")
        self.load_state_dict(ours)
        known = {published_name(name, self.published_names) for name in ours}
        return sorted(state_dict.keys() - known)
