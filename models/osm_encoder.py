"""The OSM encoder: graph attention over the objects of each tile, and the readout of a tile.

Everything is computed in float32, whatever the autocast: it is a small share of the work, and both
norm and softmax sum over nodes.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch
from torch_geometric.nn import GATConv, LayerNorm
from torch_geometric.utils import scatter, softmax

from models.neighbours import nearest_edges
from models.position import node_code
from utils.errors import ModelError

RELATION_CODES = 4  # touch 2, overlap or cross 3, contains 4, within 5
FIRST_RELATION = 2
NEAR = FIRST_RELATION + RELATION_CODES  # the code of edges between neighbours that do not intersect


class Readout(nn.Module):
    """Set2Set (Vinyals et al., ICLR 2016), with the parameters and result of PyG's `Set2Set`.

    query = LSTM([query, read]); read = sum of the set's members weighted by softmax(member .
    query). The LSTM runs step by step: torch.nn.LSTM is slower for sequences of one, and cannot be
    compiled.
    """

    def __init__(self, width: int, steps: int):
        super().__init__()
        self.steps = steps
        self.lstm = nn.ParameterDict(dict(nn.LSTM(2 * width, width).named_parameters()))

    def forward(self, x: Tensor, index: Tensor, sets: int) -> Tensor:
        """Return [sets, 2 * width] of x [N, width] in the sets `index` [N]; empty ones read 0."""
        weights = [self.lstm[f"{name}_l0"]
                   for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        query = cell = read = x.new_zeros(sets, x.shape[1])
        for _ in range(self.steps):
            query, cell = torch.lstm_cell(torch.cat([query, read], dim=1), (query, cell), *weights)
            scores = (x * query[index]).sum(1, keepdim=True)                             # [N, 1]
            read = scatter(softmax(scores, index, num_nodes=sets) * x, index, dim_size=sets)
        return torch.cat([query, read], dim=1)


class OsmEncoder(nn.Module):
    """One or two graph attention layers over a tile's OSM objects, with positions on the image's
    patch grid (Rose section 3.2.2).

    h = LayerNorm(GATConv(x + P(in_dim, columns * cx, rows * cy))), where x are the first `in_dim`
    columns of a node, and one learned vector in the rows of masked nodes. The label code, the last
    column, is never read. A second layer, which the paper does not have, is residual:
    LayerNorm(h + GATConv(GELU(h))).

    Args:
        in_dim: node width F without the label code, 524 in the paper; its last two columns are the
            centroid.
        out_dim: embedding width, 128 in the paper.
        norm_scope: "tile" normalises each tile's nodes by their own statistics, "batch" (release)
            by those of the whole batch.
        relation_edges: feed a one-hot of each edge's relation code to the attention; with
            neighbours also "near" as a code of its own, and the distance of the centroids in tile
            units.
        neighbours: edges from so many nearest objects by centroid, where there is none.
        layers: 1 or 2.

    Attributes:
        embed: computes `forward` of given edges; the part that torch.compile can trace.
    """

    def __init__(self, in_dim: int = 524, out_dim: int = 128, norm_scope: str = "tile",
                 relation_edges: bool = False, neighbours: int = 0, layers: int = 1):
        super().__init__()
        self.in_dim, self.out_dim = in_dim, out_dim
        self.norm_scope, self.relation_edges = norm_scope, relation_edges
        self.neighbours = neighbours
        columns = RELATION_CODES + 2 * bool(neighbours) if relation_edges else None
        self.mask_token = nn.Parameter(torch.zeros(1, in_dim))
        # a self loop has no relation
        self.conv = GATConv(in_dim, out_dim, edge_dim=columns, fill_value=0.0)
        self.norm = LayerNorm(out_dim, mode="graph")
        self.readout = Readout(out_dim, steps=5)
        self.conv2 = self.norm2 = None
        if layers == 2:
            self.conv2 = GATConv(out_dim, out_dim, edge_dim=columns, fill_value=0.0)
            self.norm2 = LayerNorm(out_dim, mode="graph")

    def forward(self, graphs: Batch, grid: tuple[int, int],
                *node_masks: Tensor | None) -> tuple[Tensor, ...]:
        """Return nodes [N, out_dim] of `graphs` (x [N, in_dim + 1]) for each mask, in one pass.

        A mask [N] bool hides the nodes that are True; None hides none.
        """
        with torch.autocast(graphs.x.device.type, enabled=False):
            return self.embed(graphs, *self._joined(graphs), grid, node_masks)

    def embed(self, graphs: Batch, edges: Tensor, relations: Tensor | None, grid: tuple[int, int],
              node_masks: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
        """Return `forward` of nodes joined by edges [2, E], of which the attention reads relations
        [E, columns]."""
        x, count, copies = self.features(graphs), len(graphs.x), range(len(node_masks))  # [N, F]
        token = self.mask_token.to(x.dtype)
        x = torch.cat([x if mask is None else torch.where(mask[:, None], token, x)
                       for mask in node_masks])                                    # [copies * N, F]
        x = x + node_code(self.in_dim, self.centroids(graphs), grid).repeat(len(node_masks), 1)
        if relations is not None:
            relations = relations.repeat(len(node_masks), 1)
        edges = torch.cat([edges + copy * count for copy in copies], dim=1)
        normalise = partial(self._normalise, graphs=graphs, copies=copies)
        x = normalise(self.norm, self.conv(x, edges, relations))             # [copies * N, out_dim]
        if self.conv2 is not None:
            x = normalise(self.norm2, x + self.conv2(F.gelu(x), edges, relations))
        if not count:  # DDP waits for the gradient of every parameter, even if it is 0
            x = x + 0 * sum(parameter.sum() for conv in (self.conv, self.conv2) if conv is not None
                            for parameter in conv.parameters())
        return x.split(count) if count else tuple(x for _ in copies)

    def _normalise(self, norm: LayerNorm, x: Tensor, graphs: Batch, copies: range) -> Tensor:
        """Return `copies` of all nodes, [copies * N, out_dim], normalised by `norm_scope`."""
        count, tiles = len(graphs.x), graphs.num_graphs
        if self.norm_scope == "batch" and count:  # no nodes have no statistics
            return torch.cat([norm(nodes) for nodes in x.split(count)])
        return norm(x, torch.cat([graphs.batch + copy * tiles for copy in copies]),
                    tiles * len(copies))

    def read_out(self, nodes: Tensor, graphs: Batch) -> Tensor:
        """Return [B, 2 * out_dim] of nodes [N, out_dim]; a tile without any has the empty
        set's."""
        with torch.autocast(nodes.device.type, enabled=False):
            return self.readout(nodes, graphs.batch, graphs.num_graphs)

    def features(self, graphs: Batch) -> Tensor:
        """Return [N, in_dim], what the network sees and reconstructs of the nodes."""
        return graphs.x[:, : self.in_dim]

    def centroids(self, graphs: Batch) -> Tensor:
        """Return [N, 2] centroids x, y in tile units. A mask hides what a node is, not where."""
        return graphs.x[:, self.in_dim - 2 : self.in_dim]

    def check(self, graphs: Batch, batch_size: int | None = None) -> None:
        """Raise ModelError if `graphs` is not a PyG Batch (of `batch_size` tiles) with nodes of
        this encoder's width."""
        if getattr(graphs, "batch", None) is None or not isinstance(graphs, Batch):
            raise ModelError(f"graphs: {type(graphs).__name__}; expected a torch_geometric Batch, "
                             "made by Batch.from_data_list")
        if batch_size is not None and graphs.num_graphs != batch_size:
            raise ModelError(f"graphs: {graphs.num_graphs} graphs for {batch_size} images; give "
                             "one graph per image, empty ones included")
        if graphs.x.ndim != 2 or graphs.x.shape[1] != self.in_dim + 1:
            raise ModelError(f"graphs.x: shape {list(graphs.x.shape)}; expected [N, "
                             f"{self.in_dim + 1}] (graph_in_dim={self.in_dim} columns and a label "
                             "code)")
        if self.relation_edges:
            codes = graphs.edge_attr.reshape(-1)                                         # [E]
            wrong = codes[(codes < FIRST_RELATION) | (codes >= FIRST_RELATION + RELATION_CODES)]
            if wrong.numel():
                raise ModelError(f"graphs.edge_attr: relation code {wrong[0]:g}; with "
                                 "relation_edges=true every edge needs 2, 3, 4 or 5")

    def _joined(self, graphs: Batch) -> tuple[Tensor, Tensor | None]:
        """Return edges [2, E], and what the attention reads of them: the relation of each as a
        one-hot [E, 4], with neighbours [E, 6]; None if nothing."""
        near = self._near(graphs)
        edges = torch.cat([graphs.edge_index, near], dim=1)                              # [2, E]
        if not self.relation_edges:
            return edges, None
        codes = F.pad(graphs.edge_attr.reshape(-1), (0, near.shape[1]), value=NEAR)         # [E]
        kinds = torch.arange(FIRST_RELATION, NEAR + bool(self.neighbours), device=codes.device)
        relations = (codes[:, None] == kinds).to(graphs.x.dtype)
        if self.neighbours:
            source, target = self.centroids(graphs)[edges]                            # [E, 2] each
            distance = torch.linalg.vector_norm(source - target, dim=1, keepdim=True)    # [E, 1]
            relations = torch.cat([relations, distance], dim=1)
        return edges, relations

    def _near(self, graphs: Batch) -> Tensor:
        """Return edges [2, E] from the nearest objects of each that do not intersect it."""
        if not self.neighbours:
            return graphs.edge_index[:, :0]
        near = nearest_edges(self.centroids(graphs), graphs.batch, graphs.num_graphs,
                             self.neighbours)
        count = len(graphs.x)
        known = torch.isin(near[0] * count + near[1],
                           graphs.edge_index[0] * count + graphs.edge_index[1])
        return near[:, ~known]
