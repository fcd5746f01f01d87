"""The files of a pretraining run's folder that are written for its report alone."""

ATTENTION = "attention.json"            # utils/attention_record.py
ATTENTION_FORMAT = "rose-attention-1"
RECONSTRUCTION = "reconstruction.json"  # utils/report.py
