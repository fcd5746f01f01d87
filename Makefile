# make pretrain   a small Rose on the sample city: two minutes after the install
# make evaluate   land use and population with that network: a minute
# make demo       all of Rose on the sample city, from raw files to maps and one page: five minutes
# make test       all tests
# make soak       kills, damaged and hostile files, wrong values: an hour on 2 cores
# make lint       style
# make bench      all benchmarks to benchmarks/results.md; half an hour on 2 idle cores
# make bench-gpu  pretraining steps on one CUDA GPU; ARGS="--batch 128" changes the options
# make prepare RASTER=city.tif OSM=osm.gpkg OUT=data/mine CITY=mine   tiles of your own city

PYTHON ?= python3
BIN = .venv/bin
SUM = $(shell cat requirements-optional.txt requirements.txt | cksum | cut -d' ' -f1)
READY = .venv/.installed-$(SUM)
TESTABLE = .venv/.testable-$(SUM)

.PHONY: pretrain evaluate demo test soak lint bench bench-gpu prepare install clean

pretrain: $(READY)
	$(BIN)/python train_rose.py experiment=sample

evaluate: $(READY)
	$(BIN)/python evaluate_seg_fusion.py
	$(BIN)/python evaluate_pop_fusion.py

SAMPLE = runs/sample_city_12/raw
SCENE = raster=$(SAMPLE)/city.tif osm=$(SAMPLE)/osm.gpkg
ZONES = zones=$(SAMPLE)/districts.gpkg
LANDUSE = runs/sample_seg_fusion_finetune
PEOPLE = runs/sample_pop_fusion_finetune
FEATURES = fusion=fine out=runs/demo/features
PAGE = out=runs/demo/report.html picture=runs/demo/maps.jpg title="Rose on the sample city"
RUNS = runs/demo/landuse runs/demo/people runs/demo/features $(LANDUSE) $(PEOPLE) runs/sample
demo: $(READY)
	$(BIN)/python train_rose.py experiment=sample
	$(BIN)/python evaluate_seg_fusion.py
	$(BIN)/python evaluate_pop_fusion.py
	$(BIN)/python predict_scene.py $(SCENE) checkpoint=$(LANDUSE) out=runs/demo/landuse overlap=0.75
	$(BIN)/python predict_scene.py $(SCENE) checkpoint=$(PEOPLE) out=runs/demo/people $(ZONES)
	$(BIN)/python extract_features.py $(SCENE) checkpoint=runs/sample $(FEATURES)
	$(BIN)/python make_report.py $(RUNS) $(PAGE)

test: $(TESTABLE)
	$(BIN)/python -m pytest

soak: $(TESTABLE)
	$(BIN)/python -m tests.robustness.soak $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .

bench: $(TESTABLE)
	$(BIN)/python benchmarks/all.py

bench-gpu: $(READY)
	$(BIN)/python benchmarks/gpu.py $(ARGS)

NEEDS = make prepare needs RASTER= OSM= OUT= CITY=
prepare: $(READY)
	$(foreach name,RASTER OSM OUT CITY,$(if $($(name)),,$(error $(NEEDS), and $(name) is missing)))
	$(BIN)/python prepare_dataset.py raster='$(RASTER)' osm='$(OSM)' out='$(OUT)' city='$(CITY)'

install: $(READY)

TOO_OLD = 'Python 3.11 or newer is needed, this is ' + sys.version.split()[0] + \
	'; name another with PYTHON='
# a new requirements.txt, or an install that broke off, installs again
$(READY): requirements.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and $(TOO_OLD))"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	rm -f .venv/.installed-* && touch $@

$(TESTABLE): $(READY) requirements-optional.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-optional.txt
	rm -f .venv/.testable-* && touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache
