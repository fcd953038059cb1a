"""The graph generator: a dataset's latent vector, decoded to architecture graphs (MetaD2A section 3.1).

Dimensions: B datasets or graphs, C classes, S images of a class, D feature width, H hidden, Z latent.
"""

from dataclasses import dataclass

import torch
import torch.nn as nn

from metad2a.core.errors import UserError
from metad2a.core.published_weights import PublishedModel
from metad2a.graphs.batch import GraphBatch
from metad2a.graphs.decoder import GraphDecoder
from set_encoder.config import ModelConfig
from set_encoder.encoder import DatasetEncoder, RaggedSets

BETA = 0.005  # weight of the KL term (MetaD2A eq. 5)
NOISE_SCALE = 0.01  # of the reparameterised sample in training

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
    """Sizes of a generator. The published model feeds the set vector (Z) where a graph state (H) would go,
    so both widths are one.

    Raises:
        UserError: as `ModelConfig`, or hs differs from nz.
    """

    def __post_init__(self):
        super().__post_init__()
        if self.hs != self.nz:
            raise UserError(
                f"The generator needs --hs equal to --nz (here {self.hs} and {self.nz}); "
                "the published command has --hs 56 --nz 56."
            )


class GeneratorModel(PublishedModel):
    """Amortised posterior over latents given a dataset, and a graph decoder.

    Attributes:
        costly: the methods in which a training step spends its time.
    """

    published_names, published_unused = PUBLISHED_NAMES, PUBLISHED_UNUSED
    costly = ("set_encode", "decoder.negative_log_likelihood")

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.config = config
        self.dataset_encoder = DatasetEncoder(config.feature_dim, config.nz)
        self.mu = nn.Linear(config.nz, config.nz)
        self.logvar = nn.Linear(config.nz, config.nz)
        self.decoder = GraphDecoder(config.max_n, config.num_vertex_type, config.hs, config.nz)

    def set_encode(self, x: torch.Tensor | RaggedSets) -> tuple[torch.Tensor, torch.Tensor]:
        """Draws `x`, (B, C, S, D) or ragged, to the mean and log variance of the latent, (B, Z) each."""
        return self._posterior(self.dataset_encoder(x))

    def set_encode_draws(self, images: torch.Tensor, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`set_encode(images[index])` for images (M, D) and index (B, C, S), each image projected once."""
        return self._posterior(self.dataset_encoder.encode_draws(images, index))

    def _posterior(self, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.mu(v), self.logvar(v)

    def loss(
        self, mu: torch.Tensor, logvar: torch.Tensor, graphs: GraphBatch, rng: torch.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Negative evidence lower bound (MetaD2A eq. 5), summed over the batch.

        Args:
            mu, logvar: (B, Z), from `set_encode`.
            rng: random generator of the noise, on the device of `mu`; used in training mode alone.

        Returns:
            loss = recon + 0.005 * kld, recon, kld: scalars.
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
