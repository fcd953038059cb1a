"""The choices of Once-for-All MobileNetV3's layers (Cai et al., ICLR 2020)."""

KERNELS, EXPANSIONS, DEPTHS = (3, 5, 7), (3, 4, 6), (2, 3, 4)
NUM_STAGES, MAX_DEPTH = 5, 4
NUM_LAYERS = NUM_STAGES * MAX_DEPTH
FIRST_OPERATION_TYPE = 2

# The choices of each layer or stage, and the number of layers or stages
CHOICES = {"ks": (KERNELS, NUM_LAYERS), "e": (EXPANSIONS, NUM_LAYERS), "d": (DEPTHS, NUM_STAGES)}
Arch = dict[str, list[int]]

SMALLEST, LARGEST = (
    {"ks": [KERNELS[i]] * NUM_LAYERS, "e": [EXPANSIONS[i]] * NUM_LAYERS, "d": [DEPTHS[i]] * NUM_STAGES} for i in (0, -1)
)
IMAGE_SIZE = 224  # side in pixels of the published supernet's images
