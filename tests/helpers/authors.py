"""Data in the authors' formats."""

import torch

NUM_CLASSES, NUM_IMAGES, TASK_SIZE, NUM_TUPLES = 12, 7, 4, 24


def authors_features(num_classes=NUM_CLASSES, num_images=NUM_IMAGES, dim=512, seed=0):
    """The authors' format: class -> [FloatTensor(n, 512)]."""
    rng = torch.Generator().manual_seed(seed)
    return {c: [torch.randn(num_images, dim, generator=rng)] for c in range(num_classes)}


def authors_tuples(space, n=NUM_TUPLES, seed=0):
    """The authors' layout, igraph graphs and all, and its split."""
    import igraph

    rng = torch.Generator().manual_seed(seed)
    archs = space.sample(n, rng)
    graphs = []
    for types, adj in zip(*(getattr(space.encode(archs), name).tolist() for name in ("types", "adj")), strict=True):
        graph = igraph.Graph(directed=True)
        graph.add_vertices(len(types))
        graph.vs["type"] = types
        graph.add_edges([(u, v) for u, row in enumerate(adj) for v, edge in enumerate(row) if edge])
        graphs.append(graph)
    accuracy = [50 + 10 * value for value in torch.rand(n, generator=rng).tolist()]
    tasks = torch.randint(5, (n,), generator=rng).tolist()
    return {"acc": accuracy, "task": tasks, "graph": graphs}, torch.randperm(n, generator=rng)
