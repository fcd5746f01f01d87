"""The paper's studies, one command each: python -m studies.NAME."""
