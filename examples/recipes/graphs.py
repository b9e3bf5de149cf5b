"""Graphs of PyTorch Geometric: a number for every graph, or a class for some nodes of one graph.

A loader of graphs goes in as it is. A batch is one object that holds everything, and its target is `.y`. A graph with
masks is a single batch, in a list; `forward=` says which nodes count.
"""

import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GCNConv, global_mean_pool

import lossatlas as la


class Network(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.first, self.second = GCNConv(3, 16), GCNConv(16, outputs)

    def forward(self, graph):
        nodes = self.second(self.first(graph.x, graph.edge_index).tanh(), graph.edge_index)
        return nodes if graph.batch is None else global_mean_pool(nodes, graph.batch)[:, 0]


def ring(size):
    there, back = torch.arange(size), torch.arange(size).roll(1)
    x = torch.randn(size, 3)
    return Data(x=x, edge_index=torch.stack([torch.cat([there, back]), torch.cat([back, there])]), y=x.sum()[None])


torch.manual_seed(0)
graphs = [ring(size) for size in range(4, 54)]
model = Network(outputs=1)
loss = la.Loss.of(model, DataLoader(graphs, batch_size=16), nn.MSELoss())  # the last batch has two graphs
print(loss, float(loss(loss.theta)))

large, classifier = ring(200), Network(outputs=4)
large.y, large.train_mask = torch.randint(4, (200,)), torch.rand(200) < 0.5
of_nodes = la.Loss.of(
    classifier,
    [large],
    nn.CrossEntropyLoss(),
    forward=lambda module, graph: (module(graph)[graph.train_mask], graph.y[graph.train_mask]),
)
print(la.spectrum(of_nodes, of_nodes.theta, k=3, generator=torch.Generator().manual_seed(0)).eigenvalues.values)
