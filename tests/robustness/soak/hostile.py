"""Files that want to run code, write elsewhere, read other files or reach the network, in every
place where a script takes a file."""

import http.server
import io
import json
import os
import pickle
import shutil
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from tests.robustness.soak import warm
from tests.robustness.soak.inputs import PATIENCE_S, Slot, judge, own_work, place_with, slots
from tests.robustness.soak.jobs import Workshop, outputs


class _Touch:
    """Unpickling it makes a file: the sign that code was run."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def hostile_files(canary: Path, url: str, secret: Path) -> Iterator[tuple[str, bytes]]:
    """Yield hostile contents.

    Args:
        canary: what running code would make.
        url: of a server that counts requests.
        secret: a file that nothing may copy.
    """
    payload = pickle.dumps(_Touch(canary))
    yield "pickle", payload
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as file:
        file.writestr("archive/data.pkl", payload)
        file.writestr("archive/version", "3")
    yield "torch zip of a pickle", zipped.getvalue()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, "
                      b"'shape': (1,), }".ljust(128) + payload)
    yield "npz of objects", archive.getvalue()
    yield "npy of objects", (b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, "
                             b"'shape': (1,), }".ljust(127) + b"\n" + payload)
    yield "yaml object", f"!!python/object/apply:os.mkdir [{canary}]\n".encode()
    yield "hydra target", f"_target_: os.mkdir\n_args_: [{canary}]\n".encode()
    yield "interpolation", b"a: ${oc.env:HOME}\n"
    yield "ogr vrt", (f'<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>{url}/a.geojson'
                      "</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>").encode()
    yield "ogr vrt of a path", (f'<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>{secret}'
                                "</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>").encode()
    band = ('<VRTRasterBand dataType="Byte" band="{}"><SimpleSource><SourceFilename>{}'
            "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>")
    place = ('<SRS>EPSG:32633</SRS><GeoTransform>500000, 1, 0, 5500000, 0, -1</GeoTransform>')
    urls = {"vrt of a url": f"/vsicurl/{url}/a.tif", "vrt of http": f"{url}/a.tif"}
    for name, source in urls.items():
        bands = "".join(band.format(number, source) for number in (1, 2, 3))
        yield name, (f'<VRTDataset rasterXSize="672" rasterYSize="672">{place}{bands}'
                     "</VRTDataset>").encode()
    code = ("<PixelFunctionType>f</PixelFunctionType><PixelFunctionLanguage>Python"
            "</PixelFunctionLanguage><PixelFunctionCode><![CDATA[import os\n"
            f"os.mkdir({str(canary)!r})\ndef f(*a, **k): pass]]></PixelFunctionCode>")
    yield "vrt with python", (
        f'<VRTDataset rasterXSize="672" rasterYSize="672">{place}' + "".join(
            f'<VRTRasterBand dataType="Byte" band="{number}" subClass="VRTDerivedRasterBand">'
            f"{code}</VRTRasterBand>" for number in (1, 2, 3)) + "</VRTDataset>").encode()
    yield "wms", (f'<GDAL_WMS><Service name="TMS"><ServerUrl>{url}/${{z}}/${{x}}/${{y}}.png'
                  "</ServerUrl></Service></GDAL_WMS>").encode()
    yield "geojson of a url", json.dumps({
        "type": "FeatureCollection", "features": [], "crs": {
            "type": "link", "properties": {"href": f"{url}/crs", "type": "proj4"}}}).encode()
    yield "xml entity", (f'<?xml version="1.0"?><!DOCTYPE osm [<!ENTITY a SYSTEM "file://{secret}">'
                         '<!ENTITY b SYSTEM "' + url + '/b">]><osm version="0.6">'
                         '<node id="1" lat="1" lon="1"><tag k="amenity" v="&a;&b;"/></node></osm>'
                         ).encode()
    yield "names that climb", f"../../{canary.name}_0_0\n{canary}_0_0\nok_0_0\n".encode()
    yield "a record that climbs", json.dumps({
        "moves": [f"../../{canary.name}", str(canary)], "replaced": ["../raw", str(secret)],
        "request": {}, "files": [], "made": ["../raw/city.tif", str(secret)],
        "label_names": ["<script>alert(1)</script>"]}).encode()
    yield "markup", f'<script>fetch("{url}/x")</script>"><img src=x onerror=alert(1)>'.encode()


class _Counting(http.server.BaseHTTPRequestHandler):
    requests: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.requests.append(self.path)
        self.send_error(404)

    do_HEAD = do_POST = do_GET

    def log_message(self, *arguments: object) -> None:
        """Stay quiet."""


def try_hostile(workshop: Workshop, folder: Path) -> Counter:
    """Put every hostile content into every place; return the counts of faults."""
    folder.mkdir(parents=True, exist_ok=True)
    canary, secret = folder / "canary", folder / "secret"
    secret.write_text("nothing may copy this text: 1ff9a7")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Counting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    faults: Counter = Counter()
    untouched = outputs(workshop.folder / "raw") | outputs(workshop.folder / "tiles")
    for slot in slots(workshop) + own_work(workshop):
        for what, content in hostile_files(canary, url, secret):
            faults["hostile files"] += 1
            fault = _try(workshop, folder, slot, content, canary)
            if _Counting.requests:
                fault = f"request: {_Counting.requests[:2]}"
                _Counting.requests.clear()
            if fault:
                faults[fault.split(":")[0]] += 1
                print(f"hostile: {slot.job}, {slot.path}, {what}: {fault}", flush=True)
    if untouched != outputs(workshop.folder / "raw") | outputs(workshop.folder / "tiles"):
        faults["written outside"] += 1
    server.shutdown()
    return faults


def _try(workshop: Workshop, folder: Path, slot: Slot, content: bytes,
         canary: Path) -> str | None:
    place = folder / "inside" / "case"
    job = place_with(workshop, place, slot, content)
    done = warm.run(job.command, place, PATIENCE_S)
    fault = judge(done)
    made = place / job.out
    if canary.exists():
        canary.rmdir() if canary.is_dir() else canary.unlink()
        fault = "executed or written outside:"
    elif {path.name for path in (folder / "inside").iterdir()} != {"case"}:
        fault = "written outside: beside the folder"
    elif made.is_dir() and any(b"1ff9a7" in path.read_bytes() for path in made.rglob("*")
                               if path.is_file() and not path.is_symlink()):
        fault = "copied: the secret"
    elif any(b"<script>alert(1)" in path.read_bytes() for path in made.rglob("*.html")):
        fault = "markup: let through"
    shutil.rmtree(folder / "inside")
    return fault
