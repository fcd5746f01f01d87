"""Built-up quarters: the core, terraces, detached houses, slabs, industry, campus and business
park, railway yard."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from datasets.sample_city.buildings import FLAT, ROOFS, Colour, vary
from datasets.sample_city.geometry import Ground, rectangle
from datasets.sample_city.site import LAWN, Site, fit

Span = tuple[float, float]
WAGONS = ((120, 84, 66), (96, 100, 104), (140, 138, 130), (84, 98, 90))


def shop(site: Site, lot: Ground, box: Ground) -> None:
    """Map what a house of the core is known for."""
    site.scene.osm("amenity", site.rng.choice(("bank", "restaurant", "cinema", "pharmacy")), box)


def cars(site: Site, lot: Ground, box: Ground) -> None:
    """Park a car in front of the house, at the kerb."""
    start, u, length, _ = lot.front
    site.car(start + u * complex(site.rng.uniform(2, length - 2), -2.4), u)


def drive(site: Site, lot: Ground, box: Ground) -> None:
    """Pave a drive beside the house, with a garage or a car."""
    start, u, length, _ = lot.front
    gate = start + u * length * (0.9 if ((box.centre - start) / u).real < length / 2 else 0.1)
    way, garage = rectangle(gate + 4.5j * u, u, 3.2, 14), rectangle(gate + 13.5j * u, u, 4, 6.5)
    if not site.dry(way, 5):
        return
    site.paint(way, site.rng.choice(("paving", "asphalt", "gravel")), 1.4, spread=8)
    if lot.contains(garage) and not any(box.contains([z], -1) for z in garage):
        site.house(garage, "flat", 1, "other", "garage")
    else:
        site.car(gate + 4j * u, 1j * u)


def pool(site: Site, lot: Ground, box: Ground) -> None:
    """Build a pool behind the house."""
    u = lot.front.u
    back = lot.centre + 7j * u
    terrace, basin = rectangle(back, u, 10.5, 6.5), rectangle(back, u, 8, 4)
    if lot.contains(terrace) and not box.contains([back], -6) and site.dry(terrace):
        site.paint(terrace, "paving", 2.2, (190, 184, 172))
        tag = ("leisure", "swimming_pool") if site.rng.random() < 0.35 else None
        site.ground(basin, "water", 2.3, (104, 168, 182), tag)


def car_park(site: Site, lot: Ground, box: Ground) -> None:
    """Pave a car park beside an apartment slab."""
    u = lot.front.u
    ground = rectangle(box.centre + 16 * u, u, 17, 36)
    if lot.contains(ground, -8) and site.dry(ground):
        site.parking(ground, 0.7, mapped=site.rng.random() < 0.6)


def lorries(site: Site, lot: Ground, box: Ground) -> None:
    """Park lorries at a hall."""
    for _ in range(site.rng.randrange(6, 30)):
        z = lot.scatter(site.rng, 0.5)
        if lot.contains([z], 7) and not box.contains([z], -6):
            site.car(z, 1j * lot.front.u, truck=True)


def school(site: Site, block: Ground) -> None:
    """Build a school: two flat-roofed wings, a court, trees; amenity=school is mapped on the
    grounds or on the house itself."""
    rng, scene = site.rng, site.scene
    site.ground(block, "grass", 1, use="institution")
    value = rng.choice(("school", "school", "kindergarten"))
    wings = [fit(block, block.at(-0.16, 0.12), block.u, min(52, block.axis[1] * 0.4), 15),
             fit(block, block.at(0.2, -0.16), block.u, 26, 18)]
    for wing in wings:
        site.house(wing, "flat", 2.5, "institution", value if rng.random() < 0.8 else "yes")
    scene.osm("amenity", value, block if rng.random() < 0.6 else wings[0])
    court = rectangle(block.at(-0.26, -0.3), block.u, 30, 16)
    if block.contains(court, 1) and site.dry(court):
        site.pitch(court.centre, block.u, large=False)
    site.hedge(block.inset(2), 0.8)
    site.grove(block, 14, avoid=filter(None, wings))


def pocket_park(site: Site, block: Ground) -> None:
    """Lay out a neighbourhood park with a playground and a path."""
    value = site.rng.choice(("park", "garden"))
    site.ground(block, "grass", 1, site.rng.choice(LAWN[:3]), ("leisure", value), "green")
    playground = rectangle(block.at(0.18), block.u, 17, 12)
    site.ground(playground, "soil", 2, (196, 178, 142), ("leisure", "playground"))
    site.street(block.split(block.u, 0.4)[2], "footway")
    site.grove(block, 62, avoid=[playground])


@dataclass(frozen=True)
class Style:
    """How a quarter is built lot by lot; lengths in metres, drawn between two bounds."""

    block: float                        # m2 of the largest block
    lot: Span                           # width
    setback: Span                       # from the street
    depth: Span
    roofs: tuple[str, ...]
    storeys: Span
    values: tuple[str, ...]             # of the OSM tag building
    trees: tuple[float, float, float]   # per hectare, smallest and largest radius
    extras: tuple[Callable[[Site, Ground, Ground], None], ...]      # each on 3 of 10 lots
    width: Span | None = None           # None: from neighbour to neighbour
    use: str = "residential"
    landuse: tuple[str, ...] = ("residential",)         # values of the OSM tag
    whole: float = 0.4                  # probability that it is mapped for the quarter, not a block
    street: str = "residential"
    ground: tuple[str, ...] = ("grass",)                # materials
    hedge: float = 0.0                  # fraction of the lot's edges
    special: tuple[Callable[[Site, Ground], None], ...] = (school, pocket_park)     # other blocks


CORE = Style(
    use="commercial", landuse=("commercial", "retail", "commercial"), whole=0, block=8200,
    lot=(22, 34), ground=("paving", "asphalt", "gravel"), setback=(1.5, 3), depth=(13, 22),
    roofs=("flat", "flat", "flat", "flat", "hip"), storeys=(3, 8), trees=(6, 1.6, 3),
    values=("commercial", "office", "retail", "office", "apartments", "hotel", "yes"),
    extras=(shop, cars), special=(pocket_park, Site.parking))
TERRACES = Style(
    block=5300, lot=(7, 9), setback=(3, 6), depth=(9, 11.5), roofs=("row",), storeys=(2, 3),
    values=("house", "house", "terrace"), trees=(60, 1.3, 3.6), extras=(cars,))
DETACHED = Style(
    block=6600, lot=(15, 21), setback=(5, 8.5), depth=(8.5, 12.5), width=(9.5, 14),
    roofs=("gable", "gable", "hip"), storeys=(1.5, 2.6), trees=(55, 1.5, 4.2), hedge=0.24,
    values=("detached", "house", "house", "yes"), extras=(drive, drive, pool))
SLABS = Style(
    block=17000, lot=(28, 36), setback=(5, 8), depth=(36, 48), width=(11.5, 14), roofs=("flat",),
    storeys=(4, 9), values=("apartments", "apartments", "residential", "yes"),
    trees=(48, 2.4, 5.2), hedge=0.1, extras=(car_park, car_park))
INDUSTRY = Style(
    use="industrial", landuse=("industrial",), whole=1, block=21000, street="service",
    lot=(48, 74), ground=("gravel", "asphalt", "soil"), setback=(7, 12), depth=(26, 52),
    width=(30, 60), roofs=("hall",), storeys=(2.4, 4), trees=(4, 2.2, 4.8), hedge=0.15,
    values=("industrial", "warehouse", "yes"), extras=(lorries, lorries), special=())


def build_up(site: Site, ring: Ground, style: Style) -> None:
    """Fill a quarter with blocks of one style, special blocks among them."""
    rng, scene = site.rng, site.scene
    site.paint(ring, style.ground[0], 0)
    blocks = site.blocks(ring, style.block, style.street)
    whole = rng.random() < style.whole
    if whole:
        scene.osm("landuse", rng.choice(style.landuse), ring)
    count = 1 + len(blocks) // 8 if len(blocks) > 4 and style.special else 0
    special = {k: style.special[min(n, len(style.special) - 1)]
               for n, k in enumerate(rng.sample(range(len(blocks)), count))}
    for k, block in enumerate(blocks):
        if site.riverside(block):
            continue
        if k in special:
            special[k](site, block)
            continue
        if not whole:
            scene.osm("landuse", rng.choice(style.landuse), block)
        rgb = rng.choice(ROOFS[style.roofs[0]])
        setback, depth = rng.uniform(*style.setback), rng.uniform(*style.depth)
        houses = [build_lot(site, lot, style, rgb, setback, depth)
                  for lot in block.lots(rng.uniform(*style.lot), rng)]
        site.grove(block, *style.trees, avoid=filter(None, houses))


def build_lot(site: Site, lot: Ground, style: Style, rgb: Colour, setback: float,
              depth: float) -> Ground:
    """Build on one lot: ground, a house along the street, what belongs to it; return the house.
    The houses of a row share the colour of their roofs."""
    rng = site.rng
    site.paint(lot, rng.choice(style.ground), 1.1, spread=8)
    roof, value = rng.choice(style.roofs), rng.choice(style.values)
    box = Ground()
    if lot.front and rng.random() < 0.95:
        box = footprint(lot, setback, depth, style.width, roof, rng)
    use = "residential" if value == "apartments" else style.use
    if site.house(box, roof, rng.uniform(*style.storeys), use, value,
                  rgb if roof == "row" else None):
        for extra in style.extras:
            if rng.random() < 0.3:
                extra(site, lot, box)
    site.hedge(lot, style.hedge)
    return box


def footprint(lot: Ground, setback: float, depth: float, width: Span | None, roof: str,
              rng: random.Random) -> Ground:
    """Return a house's ground behind the street: a rectangle, made smaller until it fits the lot,
    or under a flat roof from neighbour to neighbour a strip along all its streets; nothing where
    none fits."""
    start, u, length, _ = lot.front
    if width is None and roof == "flat":
        ring = lot.cut(start + 1j * u * (depth + setback), -u)
        for edge in ring.edges:
            if edge.street > 0:
                ring = ring.cut(edge.start + 1j * edge.u * setback, edge.u)
        return ring if ring.area > 90 else Ground()
    across = min(rng.uniform(*width), length - 2.4) if width else length
    shift = rng.random()                         # of a house that is narrower than its lot
    for scale in (1.0, 0.85, 0.7, 0.55):
        w, d = across * scale if width else length, depth * scale
        s = w / 2 + (1.2 + shift * (length - 2.4 - w) if width else 0)
        box = rectangle(start + u * complex(s, setback + d / 2), u, w, d)
        if w >= 4.5 and lot.contains(box, -0.05):
            return box
    return Ground()


def pavilions(site: Site, ring: Ground, values: tuple[str, ...], use: str) -> None:
    """Build large flat roofs on lawns with car parks. Campus and business park look the same:
    only their tags distinguish them."""
    rng = site.rng
    site.paint(ring, "grass", 0)
    for block in site.blocks(ring, 11500, "service"):
        if site.riverside(block):
            continue
        rest, house = sorted(block.split(block.u, rng.uniform(0.62, 0.74))[:2],
                             key=lambda ground: ground.area)
        u, long, short = house.axis
        rgb = rng.choice(FLAT)
        wings = [fit(house, house.centre, u, long * 0.78, short * rng.uniform(0.3, 0.55))]
        if rng.random() < 0.7:
            wings.append(fit(house, house.at(rng.choice((-0.27, 0.27)), -0.22), 1j * u,
                             short * 0.42, long * 0.2))
        for wing in wings:
            site.house(wing, "flat", rng.uniform(2.5, 5.5), use, rng.choice(values), rgb)
        if rng.random() < 0.75:
            site.parking(rest.inset(5), mapped=rng.random() < 0.7)
        site.grove(house, 40, avoid=filter(None, wings))
        site.grove(rest, 10)


def campus(site: Site, ring: Ground) -> None:
    """Build a university or a hospital. Its kind is drawn apart from `rng`, so that nothing on the
    ground gives it away."""
    draw = site.scene.memory
    value = draw.choice(("university", "hospital", "university"))
    site.scene.osm("amenity", value, ring)
    if draw.random() < 0.4:
        site.scene.osm("landuse", "institutional", ring)
    pavilions(site, ring, (value, value, "public", "yes"), "institution")


def business(site: Site, ring: Ground) -> None:
    """Build a business park."""
    site.scene.osm("landuse", "commercial", ring)
    pavilions(site, ring, ("office", "office", "commercial", "yes"), "commercial")


def yard(site: Site, ring: Ground) -> None:
    """Build a railway yard of parallel tracks, the station, car parks and the bus station."""
    rng = site.rng
    site.ground(ring, "gravel", 0, (128, 121, 112), ("landuse", "railway"))
    u = max(site.quarter.ring.edges, key=lambda edge: edge.street).u    # the railway is widest
    tracks, depot, _ = ring.split(1j * u, 0.5)
    for row in range(-14, 15):
        if rng.random() < 0.85:
            track(site, tracks.inset(6), tracks.centre + 6.2j * u * row, u)
    bus_station, station, *parks = [block for block in site.blocks(depot, 9000, "service")
                                    if site.dry(block, 5)] + [Ground()] * 2
    if bus_station:
        site.ground(bus_station, "asphalt", 1, osm=("amenity", "bus_station"))
        for z in (bus_station.centre + 11 * s * u for s in range(-3, 4)):
            site.house(rectangle(z, 1j * u, 32, 3.2), "flat", 1.3, "other", "roof")
            site.car(z + 4 * u, 1j * u, truck=True)
    if station:
        site.house(rectangle(station.centre, u, 60, 22), "hall", 3, "other", "train_station")
    for block in parks:
        site.parking(block.inset(3), 0.75)
    site.hedge(ring.inset(2), 0.5)


def track(site: Site, ring: Ground, middle: complex, u: complex) -> None:
    """Lay one track on its sleepers, here and there a train of wagons."""
    rng = site.rng
    for offset, width, material, rgb in ((0, 2.8, "gravel", (104, 96, 88)),
                                         (-0.75, 0.35, "line", (158, 152, 146)),
                                         (0.75, 0.35, "line", (158, 152, 146))):
        rail = rectangle(middle + 1j * u * offset, u, 2000, width).clipped(ring)
        site.paint(rail, material, 2, rgb)
    wagons, rgb = 0, rng.choice(WAGONS)
    for k in range(-30, 31):
        wagons = wagons - 1 if wagons else rng.choice((0, 0, 0, 0, 0, 9))
        if wagons and ring.contains([middle + 14 * k * u], 2):
            site.vehicle(middle + 14 * k * u, u, 12.6, 2.9, vary(rgb, rng, 12))
