"""The graph generator: decodes a dataset's latent vector to architecture graphs (MetaD2A section 3.1).

Dimensions: B datasets or graphs, C classes, S images per class, D feature width, H hidden, Z latent.
"""

from dataclasses import dataclass

import torch
import torch.nn as nn

from metad2a.core.errors import UserError
from metad2a.core.published_weights import PublishedModel
from metad2a.graphs.batch import GraphBatch
from metad2a.graphs.decoder import GraphDecoder
from set_encoder.config import ModelConfig
from set_encoder.encoder import DatasetEncoder, Sets

BETA = 0.005  # weight of the KL term (MetaD2A eq. 5)
NOISE_SCALE = 0.01  # scales the noise of the latent in training

PUBLISHED_NAMES = {
    "dataset_encoder.": "",
    "mu.": "fc1.",
    "logvar.": "fc2.",
    "decoder.init_state.": "fc3.",
    "decoder.gru.": "grud.",
    "decoder.message.gate.": "decoding_gate.0.",
    "decoder.message.mapper.": "decoding_mapper.0.",
    "decoder.add_": "add_",
}
PUBLISHED_UNUSED = ("enc_g_mu.", "enc_g_var.", "gate_", "grue_", "hg_unify.", "hv_unify.", "mapper_", "set_fc.")


@dataclass(frozen=True)
class GeneratorConfig(ModelConfig):
    """Sizes of a generator. The published model uses the set vector (Z) as a graph state (H), so H = Z."""

    def __post_init__(self):
        super().__post_init__()
        if self.hs != self.nz:
            raise UserError(
                f"The generator needs --hs equal to --nz (here {self.hs} and {self.nz}); "
                "the published command has --hs 56 --nz 56."
            )


class GeneratorModel(PublishedModel):
    """Amortised posterior of the latent given a dataset, and a graph decoder."""

    published_names, published_unused = PUBLISHED_NAMES, PUBLISHED_UNUSED
    costly = ("set_encode", "decoder.negative_log_likelihood")  # where a training step spends its time

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.config = config
        self.dataset_encoder = DatasetEncoder(config.feature_dim, config.nz)
        self.mu = nn.Linear(config.nz, config.nz)
        self.logvar = nn.Linear(config.nz, config.nz)
        self.decoder = GraphDecoder(config.max_n, config.num_vertex_type, config.hs, config.nz)

    def set_encode(self, x: Sets) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode draws `x`, for example (B, C, S, D), to mean and log variance of the latent, (B, Z) each."""
        v = self.dataset_encoder(x)  # (B, Z)
        return self.mu(v), self.logvar(v)

    def loss(
        self, mu: torch.Tensor, logvar: torch.Tensor, graphs: GraphBatch, rng: torch.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Negative evidence lower bound (MetaD2A eq. 5), summed over the batch.

        Takes `mu` and `logvar` (B, Z) from `set_encode`; in training mode `rng`, on their device, draws the noise.
        Returns the scalars loss = recon + 0.005 * kld, recon, kld.
        """
        z = mu
        if self.training:
            noise = torch.randn(mu.shape, generator=rng, device=mu.device, dtype=mu.dtype)
            z = mu + NOISE_SCALE * noise * torch.exp(logvar / 2)
        recon = self.decoder.negative_log_likelihood(z, graphs)
        kld = -0.5 * torch.sum(1 + logvar - mu.square() - logvar.exp())
        return recon + BETA * kld, recon, kld

    def decode(self, z: torch.Tensor, stochastic: bool, rng: torch.Generator | None = None) -> GraphBatch:
        """Decode latents `z` (B, Z) to B graphs, by sampling or by the most likely decisions."""
        return self.decoder.decode(z, stochastic, rng)
