"""Rose written out literally from the method, without any shortcut: the reference that the network
is compared with.

It takes every parameter from a `Rose`. Where the network has no query and key projections, because
attention to a single key does not depend on them, random ones are used: they must not matter.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch

from models.fusion import HEADS, Attention, SingleKeyAttention
from models.rose import Rose


def code_1d(width: int, position: float) -> list[float]:
    omega = [10000 ** (-k / (width / 2)) for k in range(width // 2)]
    return [math.sin(position * o) for o in omega] + [math.cos(position * o) for o in omega]


def position_code(width: int, u: float, v: float) -> Tensor:
    return torch.tensor(code_1d(width // 2, u) + code_1d(width // 2, v))


def token_codes(width: int, rows: int, cols: int) -> Tensor:
    return torch.stack([torch.zeros(width),
                        *(position_code(width, c, r) for r in range(rows) for c in range(cols))])


def attend(attn: Attention | SingleKeyAttention, q: Tensor, k: Tensor,
           v: Tensor) -> tuple[Tensor, Tensor]:
    """Multi-head attention of [B, Tq, D] over [B, Tk, D]; the output and the weights [B, heads,
    Tq, Tk]."""
    inner = attn.v_proj.out_features
    if isinstance(attn, SingleKeyAttention):
        q_proj, k_proj = nn.Linear(q.shape[-1], inner), nn.Linear(q.shape[-1], inner)
    else:
        q_proj, k_proj = attn.q_proj, attn.k_proj
    q, k, v = (proj(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
               for proj, x in ((q_proj, q), (k_proj, k), (attn.v_proj, v)))
    weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
    return attn.out_proj((weights @ v).transpose(1, 2).flatten(2)), weights


def block(module: nn.Module, query: Tensor, keys: Tensor, query_pe: Tensor,
          key_pe: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The four lines of the method: Q [B, Tq, D], K [B, Tk, D] and the weights of A_k2q."""
    k, q = keys, query
    k = module.norm1(k + attend(module.self_attn, k + key_pe, k + key_pe, k)[0])
    q = module.norm2(q + attend(module.q2k_attn, q + query_pe, k + key_pe, k)[0])
    out, weights = attend(module.k2q_attn, k + key_pe, q + query_pe, q)
    k = module.norm3(k + out)
    return q, module.norm4(module.mlp(k)), weights


def vit_block(module: nn.Module, x: Tensor) -> Tensor:
    """A ViT's pre-norm block of [B, T, D]."""
    attn, mlp = module.attn, module.mlp
    q, k, v = attn.qkv(module.norm1(x)).unflatten(-1,
                                                  (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
    x = x + attn.proj((weights @ v).transpose(1, 2).flatten(2))
    return x + mlp.fc2(F.gelu(mlp.fc1(module.norm2(x))))


def encode_image(rose: Rose, images: Tensor, mask: Tensor | None = None) -> Tensor:
    """[B, 1 + V, D] tokens, image by image, patch by patch."""
    rows, cols = rose.image_encoder.grid(images)
    codes = token_codes(rose.width, rows, cols)[1:]
    encoded = []
    for b, image in enumerate(images):
        patches = rose.image_encoder.patch_embed.proj(image[None]).flatten(2)[0].T + codes
        if mask is not None:
            patches = patches[~mask[b]]
        tokens = torch.cat([rose.image_encoder.cls_token[0], patches])[None]
        for layer in rose.image_encoder.blocks:
            tokens = vit_block(layer, tokens)
        encoded.append(rose.image_encoder.norm(tokens)[0])
    return torch.stack(encoded)


def encode_osm(rose: Rose, graphs: Batch, grid: tuple[int, int],
               node_mask: Tensor | None = None) -> Tensor:
    """[N, out] graph attention and norm, as loops over nodes and tiles."""
    encoder, (rows, cols) = rose.osm_encoder, grid
    x = graphs.x[:, : encoder.in_dim].clone()
    for n in range(len(x)):
        cx, cy = x[n, -2:].tolist()
        shown = encoder.mask_token[0] if node_mask is not None and node_mask[n] else x[n]
        x[n] = shown + position_code(encoder.in_dim, cols * cx, rows * cy)
    h = x @ encoder.conv.lin.weight.T
    out = []
    for n in range(len(x)):
        sources = [*graphs.edge_index[0][(graphs.edge_index[1]
                                          == n) & (graphs.edge_index[0] != n)].tolist(), n]
        score = torch.stack([(h[s] * encoder.conv.att_src[0, 0]).sum()
                             + (h[n] * encoder.conv.att_dst[0, 0]).sum() for s in sources])
        out.append((F.leaky_relu(score, 0.2).softmax(0)[:, None] * h[sources]).sum(0)
                   + encoder.conv.bias)
    h = torch.stack(out) if out else h.new_zeros(0, encoder.out_dim)
    groups = graphs.batch if encoder.norm_scope == "tile" else torch.zeros_like(graphs.batch)
    normed = h.clone()
    for group in groups.unique():
        part = h[groups == group]
        centred = part - part.mean()
        normed[groups == group] = centred / (centred.square().mean() + encoder.norm.eps).sqrt()
    return normed * encoder.norm.weight + encoder.norm.bias


def losses(rose: Rose, images: Tensor, graphs: Batch, image_mask: Tensor,
           node_mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """image_loss, osm_loss, image_pred [B, L, p * p * 3], osm_pred [M, F]."""
    grid = rose.image_encoder.grid(images)
    codes = token_codes(rose.width, *grid)
    image_pred = image_from_osm(rose, images, graphs, image_mask, grid, codes)
    osm_pred = osm_from_image(rose, images, graphs, node_mask, grid, codes)
    target = rose.patchify(images)
    image_loss = F.mse_loss(image_pred[image_mask], target[image_mask])
    truth = graphs.x[node_mask, : rose.osm_encoder.in_dim]
    osm_loss = F.mse_loss(osm_pred, truth) if len(truth) else osm_pred.sum()
    return image_loss, osm_loss, image_pred, osm_pred


def image_from_osm(rose: Rose, images: Tensor, graphs: Batch, mask: Tensor, grid: tuple[int, int],
                   codes: Tensor) -> Tensor:
    visible = rose.token_proj(encode_image(rose, images, mask))
    tokens = rose.image_mask_token.repeat(len(images), 1 + mask.shape[1], 1)
    for b in range(len(images)):
        tokens[b,
               torch.cat([torch.zeros(1, dtype=torch.bool), mask[b]]).logical_not()] = visible[b]
    readout = rose.osm_encoder.read_out(encode_osm(rose, graphs, grid), graphs)
    token = rose.graph_token_proj(readout)[:, None]
    keys = block(rose.image_block, token, tokens, token, codes)[1]
    return rose.image_pred(rose.image_decoder_norm(vit_block(rose.image_decoder,
                                                             keys + codes)[:, 1:]))


def osm_from_image(rose: Rose, images: Tensor, graphs: Batch, mask: Tensor, grid: tuple[int, int],
                   codes: Tensor) -> Tensor:
    nodes = mask.nonzero()[:, 0]
    keys = attend_image(rose, encode_image(rose, images), encode_osm(rose, graphs, grid, mask),
                        graphs, nodes, grid, codes)[1]
    return rose.osm_pred(rose.osm_decoder_norm(keys[:, 0]))


def attend_image(rose, tokens, embeddings, graphs, nodes, grid,
                 codes) -> tuple[Tensor, Tensor, Tensor]:
    """The OSM block with one batch entry a node: Q [M, T, D], K [M, 1, D], weights [M, heads, 1,
    T]."""
    centroids = graphs.x[nodes, rose.osm_encoder.in_dim - 2 : rose.osm_encoder.in_dim]
    codes_of_nodes = [position_code(rose.width, grid[1] * x, grid[0] * y)
                      for x, y in centroids.tolist()]
    key_pe = torch.stack(codes_of_nodes) if codes_of_nodes else centroids.new_zeros(0, rose.width)
    queries = rose.token_proj(tokens)[graphs.batch[nodes]]
    return block(rose.osm_block, queries, rose.node_proj(embeddings[nodes])[:, None],
                 codes[-queries.shape[1]:], key_pe[:, None])


def fuse_fine(rose: Rose, images: Tensor, graphs: Batch) -> Tensor:
    """[B, L, D] fine fusion, tile by tile and node by node."""
    grid = rose.image_encoder.grid(images)
    codes = token_codes(rose.width, *grid)
    tokens = encode_image(rose, images)[:, 1:]
    if rose.fine_input == "double":
        tokens = rose.token_proj(tokens)
    embeddings = encode_osm(rose, graphs, grid)
    fused = []
    for b in range(len(images)):
        nodes = (graphs.batch == b).nonzero()[:, 0]
        if not len(nodes):
            fused.append(rose.osm_block.norm2(rose.token_proj(tokens[b])))
            continue
        # [m, L, D]
        queries = attend_image(rose, tokens, embeddings, graphs, nodes, grid, codes)[0]
        centroids = graphs.x[nodes, rose.osm_encoder.in_dim - 2 : rose.osm_encoder.in_dim].tolist()
        raw = torch.stack(
            [(position_code(rose.width, grid[1] * x, grid[0] * y) * codes[1:]).sum(-1)
             for x, y in centroids])
        scaled = (raw - raw.amin(1, keepdim=True)) / (raw.amax(1, keepdim=True)
                                                      - raw.amin(1, keepdim=True))
        weights = (scaled / 0.5).exp()[..., None]
        fused.append((queries * weights).sum(0) / weights.sum(0))
    return torch.stack(fused)
