"""The authors' names of parameters, for checkpoints as they would have saved them."""

import re

import torch

# our names -> the authors', the inverse of what is tested
TO_RELEASE = [
    (r"^image_encoder\.cls_token", "cls_token"), (r"^image_encoder\.norm\.", "img_norm."),
    (r"^image_encoder\.", "img_encoder."),
    (r"^osm_encoder\.mask_token", "osm_mask_token"), (r"^osm_encoder\.norm", "osm_norm"),
    (r"^osm_encoder\.readout", "osm_read_out"),
    (r"^osm_encoder\.conv", "osm_encoder.gcn1"), (r"^token_proj", "img_decoder_mlp"),
    (r"^graph_token_proj", "osm_decoder_mlp"),
    (r"^node_proj", "osm_node_decoder_mlp"), (r"^image_mask_token", "img_mask_token"),
    (r"^image_block", "img_cross_modal_encoder.0"),
    (r"^osm_block", "osm_cross_modal_encoder.0"), (r"q2k_attn", "cross_attn_token_to_image"),
    (r"k2q_attn", "cross_attn_image_to_token"),
    (r"^image_decoder_norm", "img_decoder_norm"),
    (r"^image_decoder\.", "img_cross_modal_decoder.0."), (r"^image_pred", "img_decoder_pred"),
    (r"^osm_pred", "osm_decoder_pred"),
]


def release_of(rose: torch.nn.Module, old_pyg: bool = False) -> dict[str, torch.Tensor]:
    """`rose` as the authors would have saved it, dead parameters included."""
    state = {}
    for name, value in rose.state_dict().items():
        for ours, theirs in TO_RELEASE:
            name = re.sub(ours, theirs, name)
        state[name] = value
    width = rose.width
    state |= {"img_pos_embed": torch.zeros(1, 197, width),
              "cross_img_pos_embed": torch.zeros(1, 197, width),
              "img_encoder.cls_token": torch.zeros(1, 1, width),
              "img_encoder.norm.weight": torch.ones(width),
              "patch_embed.proj.bias": torch.zeros(width),
              "osm_cross_modal_encoder.0.self_attn.q_proj.weight": torch.zeros(width, width),
              "img_cross_modal_encoder.0.cross_attn_image_to_token.k_proj.bias": torch.zeros(
                  width // 2)}
    if old_pyg:
        state["osm_encoder.gcn1.lin_src.weight"] = state[
            "osm_encoder.gcn1.lin_dst.weight"] = state.pop("osm_encoder.gcn1.lin.weight")
    return state
