"""Numbers alone and in tables: digits that mean something, aligned columns, nothing hidden."""

import math

import pytest

from utils.tables import (
    format_bytes,
    format_count,
    format_number,
    format_share,
    label_of,
    markdown_table,
    mean_std,
    text_table,
    with_std,
)

NAN = math.nan


@pytest.mark.parametrize(("value", "text"), [
    (0.54321, "0.5432"), (12.345678, "12.35"), (123456.7, "123457"), (9.9996, "10.00"),
    (99999.6, "100000"), (1.0, "1.000"), (0.0, "0"),
    (-0.8, "-0.8000"), (-12345.6, "-12346"), (0.0001234567, "0.0001235"), (1.2345e-5, "1.234e-05"),
    (123456789.0, "123456789"), (1.5e12, "1.500e+12"), (16, "16"), (NAN, "-"), (math.inf, "inf"),
])
def test_four_significant_digits(value, text):
    assert format_number(value) == text


@pytest.mark.parametrize(("share", "text"), [(0.0, "0%"), (0.004, "<1%"), (0.126, "13%"),
                                             (0.996, ">99%"), (1.0, "100%")])
def test_shares_are_whole_percents_and_nothing_is_called_all_or_none_that_is_not(share, text):
    assert format_share(share) == text


@pytest.mark.parametrize(("count", "text"), [(950, "950"), (999.6, "1k"), (12345, "12.3k"),
                                             (4.56e6, "4.56M"), (2e9, "2G")])
def test_counts_have_at_most_five_characters(count, text):
    assert format_count(count) == text


def test_mean_and_deviation_leave_nan_out():
    assert mean_std([1.0, 3.0]) == (2.0, math.sqrt(2))
    assert mean_std([1.0, NAN, 3.0]) == (2.0, math.sqrt(2))
    assert mean_std([0.7])[0] == 0.7
    assert math.isnan(mean_std([0.7])[1])
    assert all(map(math.isnan, mean_std([NAN])))
    assert all(map(math.isnan, mean_std([])))


@pytest.mark.parametrize(("mean", "std", "text"), [
    (0.54321, 0.01234, "0.5432 ± 0.0123"), (12.3456, 0.1, "12.35 ± 0.10"),
    (12345.0, 67.8, "12345 ± 68"), (0.5, 0.0, "0.5000 ± 0.0000"),
    (0.5, None, "0.5000"), (0.5, NAN, "0.5000"), (NAN, NAN, "-"),
    (1.5e-6, 2e-7, "1.500e-06 ± 2.000e-07"), (0.0, 0.01, "0 ± 0.01000"),
    (12345.0, 0.2, "12345 ± 0.2000"),
])
def test_the_deviation_has_the_digits_of_the_mean(mean, std, text):
    assert with_std(mean, std) == text


def test_columns_of_a_text_table_are_aligned():
    model = {"miou": 0.4321, "f1": 0.5, "iou_water": NAN}
    table = text_table({"this model": model,
                        "commonest class (residential)": {"miou": 0.0311, "f1": 0.05}},
                       {"this model": {"miou": 0.01, "f1": 0.02, "iou_water": NAN}}, list(model))
    assert table.splitlines() == [
        "                            commonest class",
        "                this model    (residential)",
        "-------------------------------------------",
        "mIoU       0.4321 ± 0.0100          0.03110",
        "F1         0.5000 ± 0.0200          0.05000",
        "IoU water                -                -",
    ]


def test_a_text_table_without_deviations():
    table = text_table({"this model": {"mae": 12.0}}, None, ["mae"])
    assert table.splitlines() == ["     this model", "---------------", "MAE       12.00"]


def test_markdown():
    table = markdown_table(["modality", "mIoU", "tiles"],
                           [["image|osm", "0.4321 ± 0.0100", 16], ["fine", NAN, 1234]])
    assert table.splitlines() == [
        "| modality   |            mIoU | tiles |",
        "| ---------- | --------------: | ----: |",
        "| image\\|osm | 0.4321 ± 0.0100 |    16 |",
        "| fine       |               - |  1234 |",
    ]


def test_a_markdown_table_may_have_no_rows():
    assert markdown_table(["a", "b"], []).splitlines() == ["| a   | b   |", "| --- | --- |"]


@pytest.mark.parametrize(("name", "label"), [("miou", "mIoU"), ("iou_green", "IoU green"),
                                             ("r2", "R²"), ("box_share", "box share")])
def test_names_of_figures_in_prose(name, label):
    assert label_of(name) == label


@pytest.mark.parametrize(("count", "text"), [
    (0, "0 bytes"), (950, "950 bytes"), (12_345, "12.3 kB"), (999_600, "1.0 MB"),
    (3_400_000, "3.4 MB"), (150e6, "150 MB"), (1.23e12, "1,230 GB"), (5e9, "5.0 GB")])
def test_sizes_are_never_shown_as_nothing(count, text):
    assert format_bytes(count) == text
