"""Reading the parameter names of the authors' checkpoints."""

import torch
import torch.nn as nn

from metad2a.core.errors import UserError
from metad2a.core.schema import describe


def published_name(name: str, renames: dict[str, str]) -> str:
    """The authors' name of our parameter `name`; `renames` maps our prefixes to theirs."""
    for ours, theirs in renames.items():
        if name.startswith(ours):
            return theirs + name[len(ours) :]
    return name


class PublishedModel(nn.Module):
    """A model that can have the parameters of an authors' checkpoint.

    Attributes:
        published_names: our prefixes of the parameters' names -> theirs.
        published_unused: their prefixes of parameters that never receive a gradient in the published model. They are
            skipped, and nothing else is.
    """

    published_names: dict[str, str]
    published_unused: tuple[str, ...]

    def load_published(self, state_dict: dict[str, torch.Tensor]) -> list[str]:
        """Load the authors' parameters; returns the names that were skipped, sorted.

        Raises:
            UserError: a parameter is missing, unknown, of another shape, or of integers.
        """
        wanted = {published_name(name, self.published_names): tensor for name, tensor in self.state_dict().items()}
        extra = sorted(set(state_dict) - set(wanted))
        skipped = [name for name in extra if name.startswith(self.published_unused)]
        problems = [f"unknown {name}" for name in extra if name not in skipped]
        problems += [f"missing {name}" for name in sorted(set(wanted) - set(state_dict))]
        problems += [
            f"{name} is {describe(state_dict[name])}, expected {tuple(tensor.shape)}"
            for name, tensor in wanted.items()
            if name in state_dict
            and (state_dict[name].shape != tensor.shape or not state_dict[name].is_floating_point())
        ]
        if problems:
            raise UserError(f"Not a published checkpoint of this {type(self).__name__}: " + "; ".join(problems[:4]))
        with torch.no_grad():
            for name, tensor in wanted.items():
                tensor.copy_(state_dict[name])
        return skipped
